"""Behind a proxy that ends TLS, and with the server's own TLS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.e2e.certificates import Certificate
from tests.e2e.clients import Client, Clients
from tests.e2e.conftest import Serve
from tests.e2e.expectations import assert_notification
from tests.e2e.proxy import PROXY_ADDRESS, Proxy, find_nginx
from tests.processes import ONE_SECRET, ServerProcess, token

BEHIND_PROXY = ONE_SECRET | {"SYNKRONE_TRUSTED_PROXIES": json.dumps([f"{PROXY_ADDRESS}/32"])}
FORGED = {"X-Forwarded-For": "203.0.113.7"}

APPENDING = "$http_x_forwarded_proto, $scheme"

StartProxy: TypeAlias = Callable[..., Proxy]


@pytest.fixture
def start_proxy(tmp_path: Path, certificate: Certificate) -> Iterator[StartProxy]:
    nginx = find_nginx()
    proxies: list[Proxy] = []

    def start(upstream: ServerProcess | Proxy, scheme: str = "$scheme") -> Proxy:
        directory = tmp_path / f"nginx-{len(proxies)}"
        proxies.append(Proxy(nginx, directory, upstream.url, certificate, scheme=scheme))
        proxies[-1].wait_until_ready()
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


async def assert_delivered(server: ServerProcess, client: Client, user: str) -> None:
    published = await server.publish({"user": user}, title="hello")
    assert_notification(
        await client.event("notification.new"), published, audience="user", type="mission.assigned", title="hello"
    )


def address_of(server: ServerProcess, user: str) -> str:
    """The address that the log names for a user's connection."""
    (record,) = [record for record in server.records("connected") if record["user"] == user]
    return str(record["address"])


@pytest.mark.gen_test(timeout=60)
async def test_the_default_client_behind_a_proxy(
    serve: Serve, start_proxy: StartProxy, clients: Clients, certificate: Certificate
) -> None:
    server = serve(BEHIND_PROXY)
    proxy = start_proxy(server)
    client = await clients.js(proxy.url, {"token": token("42")}, ca=certificate.cert)
    await client.ready()
    await assert_delivered(server, client, "42")
    await client.uses("websocket")
    await assert_delivered(server, client, "42")
    assert address_of(server, "42") == "127.0.0.1"


@pytest.mark.gen_test(timeout=60)
async def test_an_address_is_believed_from_the_proxy_alone(
    serve: Serve, start_proxy: StartProxy, clients: Clients, certificate: Certificate
) -> None:
    server = serve(BEHIND_PROXY)
    proxy = start_proxy(server)
    through = await clients.js(proxy.url, {"token": token("through")}, {"extraHeaders": FORGED}, ca=certificate.cert)
    direct = await clients.js(server.url, {"token": token("direct")}, {"extraHeaders": FORGED})
    for client in (through, direct):
        await client.ready()
    assert address_of(server, "through") == "127.0.0.1"
    assert address_of(server, "direct") == "127.0.0.1"


@pytest.mark.gen_test(timeout=60)
async def test_without_trusted_proxies_the_proxy_is_the_client(
    serve: Serve, start_proxy: StartProxy, clients: Clients, certificate: Certificate
) -> None:
    server = serve(ONE_SECRET)
    proxy = start_proxy(server)
    client = await clients.js(proxy.url, {"token": token("42")}, ca=certificate.cert)
    await client.ready()
    assert address_of(server, "42") == PROXY_ADDRESS


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize(
    "schemes", [["wss"], ["HTTPS"], ["https,https"], [APPENDING, APPENDING], ["$scheme", "$scheme"]]
)
async def test_pages_of_the_own_origin_however_the_proxies_say_https(
    serve: Serve, start_proxy: StartProxy, clients: Clients, certificate: Certificate, schemes: list[str]
) -> None:
    server = serve(BEHIND_PROXY)
    outermost: ServerProcess | Proxy = server
    for scheme in schemes:
        outermost = start_proxy(outermost, scheme=scheme)
    options = {"extraHeaders": {"Origin": outermost.url}}
    page = await clients.js(outermost.url, {"token": token("42")}, options, ca=certificate.cert)
    await page.ready()
    await page.uses("websocket")
    await assert_delivered(server, page, "42")
    assert address_of(server, "42") == "127.0.0.1"
    assert server.records("origin refused") == []


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_pages_of_the_proxys_own_origin_and_no_others(
    serve: Serve, start_proxy: StartProxy, clients: Clients, certificate: Certificate, transport: str
) -> None:
    server = serve(BEHIND_PROXY)
    proxy = start_proxy(server)

    async def page_of(url: str, origin: str, user: str) -> Client:
        return await clients.js(
            url,
            {"token": token(user)},
            {"transports": [transport], "extraHeaders": {"Origin": origin, "X-Forwarded-Proto": "https"}},
            ca=certificate.cert,
        )

    own = await page_of(proxy.url, proxy.url, "own")
    await own.ready()
    await assert_delivered(server, own, "own")
    strangers = [
        await page_of(proxy.url, "https://elsewhere.example", "stranger"),
        await page_of(proxy.url, proxy.url.replace("https", "http"), "stranger"),
        # Straight to the server, whoever asks is no proxy: what it forwards does not make its origin the server's.
        await page_of(server.url, server.url.replace("http", "https"), "stranger"),
    ]
    for stranger in strangers:
        refused = await stranger.expect("connect_error")
        assert "data" not in refused, refused
        assert refused["message"] in ("xhr poll error", "websocket error")
    assert [record["user"] for record in server.records("connected")] == ["own"]
    assert {record["setting"] for record in server.records("origin refused")} == {"cors_origins", "trusted_proxies"}


@pytest.mark.gen_test(timeout=60)
async def test_the_servers_own_tls(serve: Serve, clients: Clients, certificate: Certificate) -> None:
    tls = {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(certificate.key)}
    server = serve(ONE_SECRET | tls, ca=certificate.cert)
    assert server.url.startswith("https://")
    trusting = await clients.js(server.url, {"token": token("42")}, ca=certificate.cert)
    await trusting.ready()
    await trusting.uses("websocket")
    await assert_delivered(server, trusting, "42")
    distrusting = await clients.js(server.url, {"token": token("43")})
    assert (await distrusting.expect("connect_error"))["message"] == "xhr poll error"
