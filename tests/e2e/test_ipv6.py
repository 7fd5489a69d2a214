"""On IPv6: addresses in URLs, in the log and behind proxies, and a name that has both kinds."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from entrypoints.settings_reading import load_settings
from tests.e2e.clients import Client, Clients
from tests.e2e.conftest import Serve
from tests.e2e.curl import Curl
from tests.e2e.expectations import assert_notification
from tests.e2e.newcomer import newcomer
from tests.processes import API_KEY, ONE_SECRET, ServerProcess, token
from tests.requirements import require

ON_IPV6 = ONE_SECRET | {"SYNKRONE_HOST": "::1"}
CLIENT = "2001:db8::7"


@pytest.fixture(autouse=True)
def has_ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        require(None, f"this machine has no IPv6 at ::1: {error}")


def addresses(server: ServerProcess, user: str) -> list[str]:
    return [record["address"] for record in server.records("connected") if record["user"] == user]


@pytest.mark.gen_test(timeout=60)
async def test_stock_clients_over_both_transports(serve: Serve, clients: Clients) -> None:
    server = serve(ON_IPV6)
    assert server.url == f"http://[::1]:{server.port}"
    # Over polling the client in Node writes the address without its brackets into Host, which is malformed; browsers
    # and the one in Python do not.
    websocket: dict[str, object] = {"transports": ["websocket"], "extraHeaders": {"Origin": server.url}}
    devices: list[Client] = [
        await clients.python(server.url, {"token": token("42")}),
        await clients.python(server.url, {"token": token("42")}, transports=["polling"]),
        await clients.js(server.url, {"token": token("42")}, websocket),
    ]
    for device in devices:
        await device.ready()
    await devices[0].uses("websocket")
    published = await server.publish({"user": "42"}, title="hello")
    for device in devices:
        assert_notification(
            await device.event("notification.new"), published, audience="user", type="mission.assigned", title="hello"
        )
    assert addresses(server, "42") == ["::1"] * len(devices)
    (serving,) = server.records("serving")
    assert serving["url"] == server.url
    assert server.records("origin refused") == []


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("forwarded", [CLIENT, f"[{CLIENT}]", f"[{CLIENT}]:4711"])
async def test_a_trusted_proxy_says_who_the_client_is(serve: Serve, forwarded: str) -> None:
    trusting = serve(ON_IPV6 | {"SYNKRONE_TRUSTED_PROXIES": '["::1/128"]'})
    distrusting = serve(ON_IPV6 | {"SYNKRONE_TRUSTED_PROXIES": '["fd00::/8"]'})
    for server, expected in ((trusting, CLIENT), (distrusting, "::1")):
        stream = Curl(server.url, token("42"), options=("-g", "-H", f"X-Forwarded-For: {forwarded}"))
        async with stream, aclosing(stream.events()) as events:
            assert (await anext(events))[0] == "session.ready"
        assert addresses(server, "42") == [expected]


@pytest.mark.gen_test(timeout=60)
async def test_a_name_with_both_kinds_of_addresses_is_listened_to_at_both(serve: Serve) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_HOST": "localhost"})
    kinds = {family for family, *_ in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    async with aiohttp.ClientSession() as session:
        for host in [{socket.AF_INET: "127.0.0.1", socket.AF_INET6: "[::1]"}[kind] for kind in kinds]:
            async with session.get(f"http://{host}:{server.port}/health/ready") as answer:
                assert answer.status == 200


@pytest.mark.gen_test(timeout=60)
async def test_the_internal_listener(serve: Serve) -> None:
    server = serve(ON_IPV6 | {"SYNKRONE_INTERNAL__HOST": "::1", "SYNKRONE_INTERNAL__PORT": "0"})
    listening = await asyncio.to_thread(listening_ports, server.pid)
    (internal,) = listening - {server.port}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://[::1]:{internal}/health/ready") as answer,
    ):
        assert answer.status == 200


def listening_ports(pid: int) -> set[int]:
    """Those of a process on IPv6."""
    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp6").read_text().splitlines()[1:]]
    return {
        int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes
    }


@pytest.mark.gen_test(timeout=90)
async def test_the_commands_find_the_server_by_its_settings(tmp_path: Path) -> None:
    file = tmp_path / "synkrone.toml"
    file.write_text('host = "::1"\nport = 8000\n')
    assert load_settings({}, file).address == "[::1]:8000"
    async with newcomer(tmp_path) as reader:
        port = reader.ports["8000"]
        secrets = f'[auth]\nsecret = "{ONE_SECRET["SYNKRONE_AUTH__SECRET"]}"\n[api]\nkey = "{API_KEY}"\n'
        file.write_text(f'host = "::1"\nport = {port}\n{secrets}')
        server = await reader.types("synkrone-socket serve")
        await server.until(lambda text: f"is listening on http://[::1]:{port}\n" in text)
        listening = await reader.types(
            "synkrone-socket listen --token $(synkrone-socket token --user 42 --role freelance)"
        )
        await listening.until(lambda text: "session.ready" in text)
        published = await reader.types("synkrone-socket publish --to user:42 --type t --title hello")
        assert await published.process.wait() == 0, published.text
        await listening.until(lambda text: '"title": "hello"' in text)
