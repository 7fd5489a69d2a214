"""Who is at the other end of a request, with and without proxies in between."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from adapters.http.forwarded import MAX_FORWARDED_LENGTH, MAX_HOPS
from adapters.http.origins import parse_allowed_origin
from adapters.http.peer import SHOWN_LENGTH, Network, PeerPolicy
from tests.doubles import RecordingTelemetry

ALLOWED = [
    parse_allowed_origin(text)
    for text in ("https://App.example:443", "capacitor://localhost", "https://*.pages.example")
]
PROXIES: list[Network] = [IPv4Network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("::1")]


def request(
    *headers: tuple[str, str],
    peer: str | None = "10.0.0.1",
    protocol: str = "http",
    host: str = "notifications.example",
) -> HTTPServerRequest:
    """As Tornado makes it of what came over a connection from ``peer``."""
    fields = HTTPHeaders()
    for name, value in (("Host", host), *headers):
        fields.add(name, value)
    context: Any = SimpleNamespace(remote_ip=peer, protocol=protocol)
    connection: Any = SimpleNamespace(context=context)
    return HTTPServerRequest(
        start_line=RequestStartLine("GET", "/socket.io/", "HTTP/1.1"), headers=fields, connection=connection
    )


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", value) for value in values]


@pytest.mark.parametrize(
    ("peer", "values", "address"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["2001:db9::7"], "2001:db9::7"),
        ("2001:db8::1", ["203.0.113.7"], "203.0.113.7"),
        ("::1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.300"], "10.0.0.1"),
        ("10.0.0.1", [", ,203.0.113.7, ,"], "203.0.113.7"),
        ("10.0.0.1", ["<script>"], "10.0.0.1"),
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("203.0.113.9", ["10.0.0.1"], "203.0.113.9"),
        ("11.0.0.1", ["1.1.1.1"], "11.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, unix"], "10.0.0.1"),
        ("", ["1.1.1.1"], ""),
        (None, ["1.1.1.1"], ""),
        ("10.0.0.1", ["203.0.113.7:5678"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:5678, 10.0.0.2:80"], "203.0.113.7"),
        ("10.0.0.1", ['"203.0.113.7"'], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:_hidden"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db9::7]"], "2001:db9::7"),
        ("10.0.0.1", ["[2001:db9::7]:5678"], "2001:db9::7"),
        ("10.0.0.1", ['"[2001:DB9:0::7]:5678", [2001:db8::2]:1'], "2001:db9::7"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["[fe80::1%25eth0]:80"], "fe80::1"),
        ("10.0.0.1", ["fe80::1%<script>"], "fe80::1"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, [::ffff:10.0.0.2]:80"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, _obfuscated"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.7:port"], "10.0.0.1"),
        ("10.0.0.1", ["[203.0.113.7"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7]:80"], "10.0.0.1"),
        ("203.0.113.9", ["1.1.1.1:80"], "203.0.113.9"),
        ("203.0.113.9", ["[2001:db9::7]"], "203.0.113.9"),
    ],
)
def test_the_address_is_the_last_one_that_is_no_trusted_proxy(peer: str, values: list[str], address: str) -> None:
    policy = PeerPolicy(trusted_proxies=PROXIES)
    assert policy.address(request(*forwarded(*values), peer=peer)) == address


@pytest.mark.parametrize(
    ("trusted", "values", "address", "scheme"),
    [
        ([], ["203.0.113.7"], "unix", "http"),
        (PROXIES, ["203.0.113.7"], "unix", "http"),
        (["unix"], [], "unix", "https"),
        (["unix"], ["203.0.113.7"], "203.0.113.7", "https"),
        (["unix"], ["203.0.113.7, 10.0.0.2"], "10.0.0.2", "https"),
        ([*PROXIES, "unix"], ["203.0.113.7, 10.0.0.2"], "203.0.113.7", "https"),
        (["unix"], ["203.0.113.7, unix"], "unix", "https"),
    ],
)
def test_whoever_comes_over_a_unix_socket(trusted: list[Network], values: list[str], address: str, scheme: str) -> None:
    policy = PeerPolicy(trusted_proxies=trusted)
    asked = request(*forwarded(*values), ("X-Forwarded-Proto", "https"), peer="unix")
    assert (policy.address(asked), policy.scheme(asked)) == (address, scheme)


def test_nobody_is_the_unix_socket_who_does_not_come_over_it() -> None:
    policy = PeerPolicy(trusted_proxies=["unix"])
    asked = request(*forwarded("203.0.113.7"), ("X-Forwarded-Proto", "https"), peer="127.0.0.1")
    assert (policy.address(asked), policy.scheme(asked)) == ("127.0.0.1", "http")


def test_without_trusted_proxies_nobody_is_believed() -> None:
    policy = PeerPolicy()
    asked = request(*forwarded("1.1.1.1"), ("X-Forwarded-Proto", "https"), peer="127.0.0.1")
    assert (policy.address(asked), policy.scheme(asked)) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    ("peer", "protocol", "values", "scheme"),
    [
        ("10.0.0.1", "http", [], "http"),
        ("10.0.0.1", "https", [], "https"),
        ("10.0.0.1", "http", ["https"], "https"),
        ("10.0.0.1", "http", ["HTTPS"], "https"),
        ("10.0.0.1", "https", ["http"], "http"),
        ("10.0.0.1", "http", ["wss"], "https"),
        ("10.0.0.1", "https", ["ws"], "http"),
        ("10.0.0.1", "http", ["Wss"], "https"),
        ("10.0.0.1", "http", ['"https"'], "https"),
        ("10.0.0.1", "http", ["https,https"], "https"),
        ("10.0.0.1", "http", ["https", "https"], "https"),
        ("10.0.0.1", "http", [", https ,"], "https"),
        ("10.0.0.1", "http", [""], "http"),
        ("10.0.0.1", "http", ["ftp"], "http"),
        ("10.0.0.1", "http", ["https, ftp"], "http"),
        ("203.0.113.9", "http", ["https"], "http"),
        ("203.0.113.9", "http", ["wss"], "http"),
        ("203.0.113.9", "http", ["https,https"], "http"),
        ("203.0.113.9", "https", ["http"], "https"),
    ],
)
def test_the_scheme(peer: str, protocol: str, values: list[str], scheme: str) -> None:
    headers = [("X-Forwarded-Proto", value) for value in values]
    assert PeerPolicy(trusted_proxies=PROXIES).scheme(request(*headers, peer=peer, protocol=protocol)) == scheme


@pytest.mark.parametrize(
    ("addresses", "schemes", "scheme"),
    [
        # One proxy, which appends to what a client made up.
        ("203.0.113.7", "https", "https"),
        ("1.1.1.1, 203.0.113.7", "https, http", "http"),
        # Two, each of which appends: TLS ends at the outer one.
        ("203.0.113.7, 10.0.0.2", "https, http", "https"),
        ("203.0.113.7, 10.0.0.2", "https, https", "https"),
        ("203.0.113.7, 10.0.0.2", "http, https", "http"),
        ("1.1.1.1, 203.0.113.7, 10.0.0.2", "https, http, http", "http"),
        ("1.1.1.1, 203.0.113.7, 10.0.0.2", "http, https, http", "https"),
        # Two, of which one leaves a single element.
        ("203.0.113.7, 10.0.0.2", "https", "https"),
        # Two of which only the inner one is trusted: the outer one is its client.
        ("203.0.113.7, 198.51.100.1", "https, http", "http"),
        # What the inner one says is unreadable: nobody looks past it.
        ("203.0.113.7, unknown", "https, http", "http"),
        ("203.0.113.7, 10.0.0.2", "https, ftp", "http"),
    ],
)
def test_the_scheme_that_counts_is_the_outermost_trusted_proxys(addresses: str, schemes: str, scheme: str) -> None:
    asked = request(("X-Forwarded-For", addresses), ("X-Forwarded-Proto", schemes))
    assert PeerPolicy(trusted_proxies=PROXIES).scheme(asked) == scheme


@pytest.mark.parametrize(
    ("peer", "values", "address", "scheme"),
    [
        ("10.0.0.1", ["for=203.0.113.7"], "203.0.113.7", "http"),
        ("10.0.0.1", ["for=203.0.113.7;proto=https"], "203.0.113.7", "https"),
        ("10.0.0.1", ["For=203.0.113.7 ; PROTO=WSS ;by=10.0.0.1"], "203.0.113.7", "https"),
        ("10.0.0.1", ['for="[2001:db9::7]:5678";proto="https";host=a.example'], "2001:db9::7", "https"),
        ("10.0.0.1", ["for=[2001:db9::7]:5678;proto=https"], "2001:db9::7", "https"),
        ("10.0.0.1", ['for="203.0.113\\.7:80"'], "203.0.113.7", "http"),
        ("10.0.0.1", ["for=1.1.1.1;proto=http, for=203.0.113.7;proto=https"], "203.0.113.7", "https"),
        ("10.0.0.1", ["for=203.0.113.7;proto=https, for=10.0.0.2;proto=http"], "203.0.113.7", "https"),
        ("10.0.0.1", ["for=203.0.113.7;proto=https", "for=10.0.0.2"], "203.0.113.7", "https"),
        ("10.0.0.1", ["proto=https"], "10.0.0.1", "https"),
        ("10.0.0.1", ["for=1.1.1.1, proto=https"], "10.0.0.1", "https"),
        ("10.0.0.1", ['by="a,b;c=d";for=203.0.113.7, ,'], "203.0.113.7", "http"),
        ("10.0.0.1", ["for=unknown;proto=https"], "10.0.0.1", "https"),
        ("10.0.0.1", ["for=_hidden"], "10.0.0.1", "http"),
        ("10.0.0.1", [""], "10.0.0.1", "http"),
        # A line that is none ends what can be known, and a client cannot make the proxy's own part into a quotation.
        ("10.0.0.1", ['for="1.1.1.1'], "10.0.0.1", "http"),
        ("10.0.0.1", ['for=1.1.1.1;by=", for="[2001:db9::7]:5678";proto=https'], "10.0.0.1", "http"),
        ("10.0.0.1", ["for=1.1.1.1;for=203.0.113.7;proto=https"], "10.0.0.1", "http"),
        ("10.0.0.1", ["203.0.113.7"], "10.0.0.1", "http"),
        ("10.0.0.1", ["for=1.1.1.1;proto=https", "rubbish", "for=10.0.0.2"], "10.0.0.2", "http"),
        ("10.0.0.1", ["rubbish", "for=203.0.113.7;proto=https"], "203.0.113.7", "https"),
        ("10.0.0.1", ["," + " " * 2000 + "for=203.0.113.7" + ";" * 2000], "203.0.113.7", "http"),
        ("203.0.113.9", ["for=1.1.1.1;proto=https"], "203.0.113.9", "http"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_says(peer: str, values: list[str], address: str, scheme: str) -> None:
    asked = request(*(("Forwarded", value) for value in values), peer=peer)
    policy = PeerPolicy(trusted_proxies=PROXIES)
    assert (policy.address(asked), policy.scheme(asked)) == (address, scheme)


@pytest.mark.parametrize("header", [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "http")])
def test_forwarded_is_not_mixed_with_the_older_headers(header: tuple[str, str]) -> None:
    asked = request(("Forwarded", "for=1.1.1.1;proto=https"), header)
    policy = PeerPolicy(trusted_proxies=PROXIES)
    assert policy.address(asked) in ("203.0.113.7", "10.0.0.1")
    assert policy.scheme(asked) == "http"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://notifications.example", True),
        ("HTTP://Notifications.Example", True),
        ("https://notifications.example", False),
        ("http://notifications.example:80", True),
        ("http://notifications.example.", True),
        ("ws://notifications.example", True),
        ("WS://notifications.example:80", True),
        ("wss://notifications.example", False),
        ("http://notifications.example:8000", False),
        ("http://notifications.example/", False),
        ("http://notifications.example.evil", False),
        ("http://other.example", False),
        ("https://app.example", True),
        ("https://APP.example", True),
        ("https://app.example:443", True),
        ("https://app.example.", True),
        ("capacitor://localhost", True),
        ("capacitor://localhost.evil", False),
        ("ionic://localhost", False),
        ("https://a.pages.example", True),
        ("https://pages.example", False),
        ("file://", False),
        ("https://app.example:8443", False),
        ("http://app.example", False),
        ("https://app.example.evil", False),
        ("https://evil-app.example", False),
        ("null", False),
        ("", False),
        ("*", False),
    ],
)
def test_origins(origin: str, allowed: bool) -> None:  # noqa: FBT001 (a column of the table)
    policy = PeerPolicy(trusted_proxies=PROXIES, origins=ALLOWED)
    assert policy.allows_origin(request(("Origin", origin))) is allowed


@pytest.mark.parametrize(
    ("host", "protocol", "origin"),
    [
        ("notifications.example:80", "http", "http://notifications.example"),
        ("notifications.example:443", "https", "https://notifications.example"),
        ("notifications.example:443", "https", "wss://notifications.example:443"),
        ("Notifications.Example.", "http", "http://notifications.example"),
        ("[::1]:8000", "http", "http://[0:0:0:0:0:0:0:1]:8000"),
        ("localhost:8000", "http", "ws://localhost:8000"),
    ],
)
def test_the_own_origin_however_it_is_written(host: str, protocol: str, origin: str) -> None:
    asked = request(("Origin", origin), protocol=protocol, host=host)
    assert PeerPolicy().allows_origin(asked)
    assert not PeerPolicy().allows_origin(request(("Origin", origin), protocol=protocol, host="other.example"))


@pytest.mark.parametrize("origin", ["null", "file://"])
def test_pages_without_an_origin_of_their_own_are_let_in_by_name(origin: str) -> None:
    asked = request(("Origin", origin))
    assert PeerPolicy(origins=[parse_allowed_origin(origin)]).allows_origin(asked)
    other = "null" if origin == "file://" else "file://"
    assert not PeerPolicy(origins=[*ALLOWED, parse_allowed_origin(other)]).allows_origin(asked)
    assert not PeerPolicy().allows_origin(request(("Origin", origin), host=""))


def test_who_is_no_browser_has_no_origin() -> None:
    assert PeerPolicy().allows_origin(request())


def test_two_origins_are_none() -> None:
    origin = ("Origin", "http://notifications.example")
    assert PeerPolicy().allows_origin(request(origin))
    assert not PeerPolicy().allows_origin(request(origin, origin))


@pytest.mark.parametrize(("peer", "allowed"), [("10.0.0.1", True), ("203.0.113.9", False)])
def test_behind_a_proxy_that_ends_tls_the_own_origin_is_https(peer: str, allowed: bool) -> None:  # noqa: FBT001
    asked = request(("Origin", "https://notifications.example"), ("X-Forwarded-Proto", "https"), peer=peer)
    assert PeerPolicy(trusted_proxies=PROXIES).allows_origin(asked) is allowed


@pytest.mark.parametrize("lines", [1, 100])
def test_a_chain_has_an_end(lines: int) -> None:
    hops = [f"10.0.{n // 256}.{n % 256}" for n in range(1000)]
    values = [", ".join(hops[n::lines]) for n in range(lines)]
    policy = PeerPolicy(trusted_proxies=PROXIES)
    chain = ",".join(values).split(",")
    assert policy.address(request(*forwarded(*values))) == chain[-MAX_HOPS].strip()
    elements = [("Forwarded", f"for={hop}") for hop in hops]
    assert policy.address(request(*elements)) == hops[-MAX_HOPS]
    long = ("Forwarded", "for=203.0.113.7".ljust(MAX_FORWARDED_LENGTH + 1, ";"))
    assert policy.address(request(long)) == "10.0.0.1"
    assert policy.scheme(request(("X-Forwarded-Proto", "https," + "http," * 5000), *forwarded(*values))) == "http"


OWN = "http://notifications.example"
ADD = "if these pages are yours, add the origin"


@pytest.mark.parametrize(
    ("peer", "headers", "origin", "own", "setting", "advice"),
    [
        ("10.0.0.1", [], "https://app.example", OWN, "cors_origins", ADD),
        ("10.0.0.1", [], "null", OWN, "cors_origins", ADD),
        ("10.0.0.1", [("X-Forwarded-Proto", "https")], OWN, OWN.replace("http", "https"), "cors_origins", ADD),
        (
            "203.0.113.9",
            [("X-Forwarded-Proto", "https")],
            "https://notifications.example",
            OWN,
            "trusted_proxies",
            "what 203.0.113.9 forwards is not believed: add it if it is your proxy",
        ),
        (
            "unix",
            [("Forwarded", "for=203.0.113.7;proto=https")],
            "https://notifications.example",
            OWN,
            "trusted_proxies",
            "what unix forwards is not believed: add it if it is your proxy",
        ),
        (
            "10.0.0.1",
            [("X-Forwarded-For", "203.0.113.7, 198.51.100.1"), ("X-Forwarded-Proto", "https, http")],
            "https://notifications.example",
            OWN,
            "trusted_proxies",
            "what 198.51.100.1 forwards is not believed: add it if it is your proxy",
        ),
        (
            "10.0.0.1",
            [],
            "https://notifications.example",
            OWN,
            "trusted_proxies",
            "if a proxy ends TLS, have it send X-Forwarded-Proto, and add its address",
        ),
        (
            "10.0.0.1",
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "public.example")],
            "https://public.example",
            OWN.replace("http", "https"),
            "cors_origins",
            "X-Forwarded-Host is not read: have the proxy pass Host on, or add the origin",
        ),
        ("203.0.113.9", [("X-Forwarded-Proto", "https")], "https://app.example", OWN, "cors_origins", ADD),
        (
            "10.0.0.1",
            [],
            "app.example",
            OWN,
            "",
            "this is no origin: no browser sends it, and no setting allows it",
        ),
    ],
)
def test_a_refused_origin_is_reported_with_the_setting_that_would_allow_it(
    peer: str, headers: list[tuple[str, str]], origin: str, own: str, setting: str, advice: str
) -> None:
    telemetry = RecordingTelemetry()
    policy = PeerPolicy(trusted_proxies=PROXIES, telemetry=telemetry)
    asked = request(("Origin", origin), *headers, peer=peer)
    assert not policy.allows_origin(asked)
    assert telemetry.named("origin_refused") == [(policy.address(asked), origin, own, setting, advice)]


def test_what_is_reported_is_short_and_printable() -> None:
    telemetry = RecordingTelemetry()
    policy = PeerPolicy(telemetry=telemetry)
    host = "b" * 9000
    assert not policy.allows_origin(request(("Origin", "a\x85\xa0" + "a" * 9000), host=host))
    ((_, origin, own, _, _),) = telemetry.named("origin_refused")
    for text in (origin, own):
        assert text.isprintable()
        assert len(text) <= SHOWN_LENGTH + len("...")


def test_who_is_let_in_is_not_reported() -> None:
    telemetry = RecordingTelemetry()
    policy = PeerPolicy(origins=ALLOWED, telemetry=telemetry)
    assert policy.allows_origin(request())
    assert policy.allows_origin(request(("Origin", OWN)))
    assert policy.allows_origin(request(("Origin", "https://app.example")))
    assert telemetry.calls == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"]),
            st.text('fortpby=:;,"\\[]._% 0123456789abchs', max_size=60).map(str.strip),
        ),
        max_size=4,
    )
)
def test_nothing_that_is_forwarded_breaks_a_request_or_is_believed_of_a_stranger(
    headers: list[tuple[str, str]],
) -> None:
    policy = PeerPolicy(trusted_proxies=PROXIES)
    asked = request(*headers)
    assert ip_address(policy.address(asked))
    assert policy.scheme(asked) in ("http", "https")
    stranger = request(*headers, peer="203.0.113.9")
    assert (policy.address(stranger), policy.scheme(stranger)) == ("203.0.113.9", "http")
