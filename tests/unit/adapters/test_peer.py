"""Who is at the other end of a request, with and without proxies in between."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from adapters.peer import Network, PeerPolicy

PROXIES: list[Network] = [IPv4Network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("::1")]


def request(*headers: tuple[str, str], peer: str | None = "10.0.0.1", protocol: str = "http") -> HTTPServerRequest:
    """As Tornado makes it of what came over a connection from ``peer``."""
    fields = HTTPHeaders()
    for name, value in (("Host", "notifications.example"), *headers):
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
    ("peer", "protocol", "value", "scheme"),
    [
        ("10.0.0.1", "http", None, "http"),
        ("10.0.0.1", "https", None, "https"),
        ("10.0.0.1", "http", "https", "https"),
        ("10.0.0.1", "http", "HTTPS", "https"),
        ("10.0.0.1", "https", "http", "http"),
        ("10.0.0.1", "http", "wss", "http"),
        ("10.0.0.1", "http", "", "http"),
        ("203.0.113.9", "http", "https", "http"),
    ],
)
def test_the_scheme(peer: str, protocol: str, value: str | None, scheme: str) -> None:
    headers = [("X-Forwarded-Proto", value)] if value is not None else []
    assert PeerPolicy(trusted_proxies=PROXIES).scheme(request(*headers, peer=peer, protocol=protocol)) == scheme


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://notifications.example", True),
        ("HTTP://Notifications.Example", True),
        ("https://notifications.example", False),
        ("http://notifications.example:80", False),
        ("http://notifications.example.evil", False),
        ("http://other.example", False),
        ("https://app.example", True),
        ("https://APP.example", True),
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
    policy = PeerPolicy(trusted_proxies=PROXIES, origins=["https://App.example"])
    assert policy.allows_origin(request(("Origin", origin))) is allowed


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
