"""Origins: which are the same, and which a setting can name."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.http.origins import NULL, Origin, OriginSet, Subdomains, origin_at, origin_sent, parse_allowed_origin
from tests.e2e.clients import NODE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://app.example", "HTTPS://App.EXAMPLE"),
        ("https://app.example", "https://app.example:443"),
        ("http://app.example", "http://app.example:80"),
        ("https://app.example", "wss://app.example"),
        ("http://app.example", "ws://app.example:80"),
        ("http://app.example:8000", "ws://app.example:8000"),
        ("https://app.example", "https://app.example."),
        ("https://app.example:8443", "https://app.example.:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://XN--BCHER-KVA.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://例え。テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"),
        ("http://[2001:DB8::A]", "http://[2001:db8:0:0::a]:80"),
        ("capacitor://localhost", "Capacitor://LOCALHOST"),
        ("null", "NULL"),
        ("file://", "FILE://"),
    ],
)
def test_one_origin_written_in_two_ways(one: str, other: str) -> None:
    assert Origin.parse(one) == Origin.parse(other)
    assert str(Origin.parse(one)) == str(Origin.parse(other))
    assert Origin.parse(str(Origin.parse(one))) == Origin.parse(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://app.example", "http://app.example"),
        ("https://app.example", "https://app.example:80"),
        ("http://app.example", "http://app.example:443"),
        ("https://app.example", "https://app.example.evil"),
        ("https://app.example", "https://www.app.example"),
        ("capacitor://localhost", "ionic://localhost"),
        ("capacitor://localhost", "http://localhost"),
        ("capacitor://localhost", "capacitor://localhost:80"),
        ("null", "file://"),
        ("https://null", "null"),
        ("http://[::1]", "http://localhost"),
        ("https://strasse.example", "https://straße.example"),
    ],
)
def test_two_origins(one: str, other: str) -> None:
    assert Origin.parse(one) != Origin.parse(other)


@pytest.mark.parametrize(
    "text",
    [
        "https://app.example",
        "https://app.example:8443",
        "http://localhost:3000",
        "http://my_service:3000",
        "http://10.0.0.1:8080",
        "http://[::1]:8080",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
        "moz-extension://6c1cd2c5-8bf5-4d37-9f2f-0f6a1ad1b1a5",
        "vscode-webview://0hk2",
        "app://.",
        "app://obsidian.md",
        "content://",
        "file://",
        "null",
    ],
)
def test_what_pages_are_loaded_from(text: str) -> None:
    assert str(parse_allowed_origin(text)) == text
    assert Origin.parse(text) in OriginSet([parse_allowed_origin(text)])
    assert Origin.parse(text) not in OriginSet([parse_allowed_origin("https://other.example")])
    assert Origin.parse(text) not in OriginSet()


@pytest.mark.parametrize(
    ("setting", "inside", "outside"),
    [
        (
            "https://*.example.com",
            ("https://a.example.com", "https://b.a.EXAMPLE.com", "https://a.example.com:443", "wss://a.example.com"),
            (
                "https://example.com",
                "http://a.example.com",
                "https://a.example.com:8443",
                "https://aexample.com",
                "https://a.example.com.evil",
                "https://a.example.org",
                "null",
            ),
        ),
        ("http://*.localhost:3000", ("http://a.localhost:3000",), ("http://a.localhost", "http://localhost:3000")),
        ("https://*.Bücher.example", ("https://a.xn--bcher-kva.example",), ("https://xn--bcher-kva.example",)),
        ("https://*.example.com:443", ("https://a.example.com",), ("https://a.example.com:444",)),
        ("app://*.example.com", ("app://a.example.com",), ("https://a.example.com",)),
    ],
)
def test_a_wildcard_is_every_subdomain(setting: str, inside: tuple[str, ...], outside: tuple[str, ...]) -> None:
    allowed = OriginSet([parse_allowed_origin(setting)])
    assert all(Origin.parse(origin) in allowed for origin in inside)
    assert not any(Origin.parse(origin) in allowed for origin in outside)


PATH = "must be an origin such as https://app.example, with no path"
SCHEME = "must begin with a scheme, as in https://app.example"
HOST = "must have a host, as in https://app.example: this is none"
PORT = "must have a port from 1 to 65535, or none"
STAR = "'*' stands only for subdomains, as in https://*.example.com"
IPV4 = "must have an IPv4 address of four decimal numbers, as browsers write it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", SCHEME),
        ("app.example", SCHEME),
        ("app.example:443", SCHEME),
        ("//app.example", SCHEME),
        ("://app.example", SCHEME),
        ("https:app.example", SCHEME),
        (" https://app.example", SCHEME),
        ("1http://app.example", SCHEME),
        ("https://app.example/", PATH),
        ("https://app.example/chat", PATH),
        ("https://app.example?a", PATH),
        ("https://app.example#a", PATH),
        ("https:///app.example", PATH),
        ("https://app.example\\", PATH),
        ("file:///", PATH),
        ("https://user:pass@app.example", "must be an origin such as https://app.example, with no user or password"),
        ("https://", "must have a host, as in https://app.example"),
        ("https://:443", "must have a host, as in https://app.example"),
        ("https://app example", HOST),
        ("https://app.example\n", HOST),
        ("https://app,example", HOST),
        ("https://" + "a" * 254, HOST),
        ("https://[::1", HOST),
        ("https://::1", "must have a host, as in https://app.example"),
        ("https://a..example", "must have a host without empty parts between its dots"),
        ("https://.example", "must have a host without empty parts between its dots"),
        ("https://\u200d.example", "must have a host that can be written in punycode"),
        ("https://a" + "\u00fc" * 600, "must have at most 512 characters"),
        ("https://app.example:", PORT),
        ("http://app.example:0", PORT),
        ("http://app.example:65536", PORT),
        ("http://app.example:port", PORT),
        ("http://app.example:+80", PORT),
        ("http://app.example:\u0661", PORT),
        ("http://10.0.0.256", IPV4),
        ("http://127.1", IPV4),
        ("http://0x7f.0.0.1", IPV4),
        ("http://app.1", IPV4),
        ("http://[1.2.3.4]", "must have an IPv6 address between its brackets"),
        ("http://[fe80::1%eth0]", "must have an IPv6 address without a zone: browsers send none"),
        ("file://server", "must be file://, with no host: browsers send none"),
        ("*", "'*' would let every page in: name them, as in https://app.example or https://*.example.com"),
        ("*://app.example", STAR),
        ("https://*", STAR),
        ("https://app.*", STAR),
        ("https://*app.example", STAR),
        ("https://a.*.example", STAR),
        ("https://*.*.example", STAR),
        ("http://localhost:*", STAR),
        ("chrome-extension://*", STAR),
        ("*.example.com", STAR),
        ("http://*.10.0.0.1", "'*.' stands before the name of a host, as in https://*.example.com"),
        ("http://*.[::1]", "'*.' stands before the name of a host, as in https://*.example.com"),
        ("app://*.", "'*.' stands before the name of a host, as in https://*.example.com"),
    ],
)
def test_what_no_page_comes_from_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_allowed_origin(text)


def test_an_origin_is_as_browsers_write_it() -> None:
    """Of every setting that is taken, what a browser would make of it is what it matches; Node's URL is theirs."""
    texts = [
        f"{scheme}://{host}{port}"
        for scheme in ("http", "https", "HTTPS")
        for host in (
            "app.example", "APP.Example", "a_b.example", "localhost", "10.0.0.1",
            "bücher.example", "straße.example", "faß.de", "ÅNGSTRÖM.example", "例え。テスト", "xn--bcher-kva.de",
            "[::1]", "[2001:DB8:0:0::A]", "[1:0:0:2:0:0:0:3]",
        )
        for port in ("", ":80", ":443", ":8080", ":65535")
    ]  # fmt: skip
    script = "console.log(JSON.stringify(JSON.parse(process.argv[1]).map((text) => new URL(text).origin)))"
    result = subprocess.run([NODE, "-e", script, json.dumps(texts)], capture_output=True, check=True, timeout=60)
    for text, sent in zip(texts, json.loads(result.stdout), strict=True):
        assert str(Origin.parse(text)) == sent
        origin = origin_sent(sent)
        assert origin is not None
        assert origin in OriginSet([parse_allowed_origin(text)])


@pytest.mark.parametrize(
    "text",
    ["", "*", "app.example", "https://app.example/", "https://a, https://b", "https://b\xfccher.example", "x" * 513],
)
def test_what_is_sent_as_an_origin_and_is_none(text: str) -> None:
    assert origin_sent(text) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "http://app.example"),
        ("APP.example.:80", "http://app.example"),
        ("app.example:", "http://app.example"),
        ("app.example:8000", "http://app.example:8000"),
        ("[0:0::1]:8000", "http://[::1]:8000"),
        ("", None),
        ("a/b", None),
        ("user@app.example", None),
    ],
)
def test_where_a_server_is_reached(host: str, origin: str | None) -> None:
    found = origin_at("http", host)
    assert (str(found) if found is not None else None) == origin


@example("app://a..")
@given(st.text(max_size=40) | st.from_regex(r"[a-zA-Z]{1,8}://(\*\.)?[ -~é。]{0,20}(:[0-9]{0,6})?", fullmatch=True))
def test_any_text_is_an_origin_that_can_match_or_is_refused(text: str) -> None:
    try:
        allowed = parse_allowed_origin(text)
    except ValueError:
        return
    origin = allowed if isinstance(allowed, Origin) else replace(allowed.of, host=f"a.{allowed.of.host}")
    assert origin_sent(str(origin)) == origin
    assert origin in OriginSet([allowed])
    assert (origin == NULL) == (text.lower() == "null")
    assert not isinstance(allowed, Subdomains) or "://*." in text
