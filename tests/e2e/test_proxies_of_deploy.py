"""``deploy/Caddyfile`` and ``deploy/haproxy.cfg``, run with TLS in front of a node that serves and one that is away."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml

from tests.documents import ROOT
from tests.e2e.certificates import Certificate
from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.curl import Curl
from tests.e2e.expectations import assert_notification
from tests.e2e.newcomer import free_port
from tests.processes import API_KEY, ONE_SECRET, ServerProcess, token
from tests.requirements import require

DEPLOY = ROOT / "deploy"
BEHIND = ONE_SECRET | {"SYNKRONE_TRUSTED_PROXIES": '["127.0.0.1"]'}
FROM_ELSEWHERE = ("--interface", "127.0.0.5")
START_SECONDS = 20.0


def adapted(name: str, changes: Mapping[str, str]) -> str:
    """A file of ``deploy/``, of which only addresses and certificates are others."""
    text = (DEPLOY / name).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def caddy(folder: Path, own: int, nodes: Sequence[int], certificate: Certificate) -> list[str]:
    changes = {
        "grace_period 10s": f"grace_period 1s\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder}",
        "notifications.example {": (
            f"https://127.0.0.1:{own} {{\n\tbind 127.0.0.1\n\ttls {certificate.cert} {certificate.key}"
        ),
        "node-1:8000": f"127.0.0.1:{nodes[0]}",
        "node-2:8000": f"127.0.0.1:{nodes[1]}",
    }
    (folder / "Caddyfile").write_text(adapted("Caddyfile", changes))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def haproxy(folder: Path, own: int, nodes: Sequence[int], certificate: Certificate) -> list[str]:
    both = folder / "both.pem"
    both.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())
    changes = {
        # As far as the descriptors of a test go.
        "maxconn 16384": "maxconn 500",
        "bind :443 ssl crt /etc/haproxy/notifications.example.pem": f"bind 127.0.0.1:{own} ssl crt {both}",
        "node-1:8000": f"127.0.0.1:{nodes[0]}",
        "node-2:8000": f"127.0.0.1:{nodes[1]}",
    }
    (folder / "haproxy.cfg").write_text(adapted("haproxy.cfg", changes))
    return ["haproxy", "-f", str(folder / "haproxy.cfg"), "-db"]


CONFIGURED = {"caddy": caddy, "haproxy": haproxy}


@pytest.fixture(params=CONFIGURED)
def behind_proxy(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate
) -> Iterator[Callable[[ServerProcess], str]]:
    """Starts it in front of a server: its URL."""
    name = request.param
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    require(program, f"{name} is not installed: apt-get install {name}")
    folder = tmp_path / name
    folder.mkdir()
    log = folder / "log"
    started: list[subprocess.Popen[bytes]] = []

    def start(server: ServerProcess) -> str:
        own, away = int(free_port()), int(free_port())
        _, *arguments = CONFIGURED[name](folder, own, [away, server.port], certificate)
        assert program is not None
        with log.open("wb") as output:
            started.append(
                subprocess.Popen(
                    [program, *arguments],
                    env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )
        return f"https://127.0.0.1:{own}"

    yield start
    for process in started:
        process.terminate()
        process.wait(10)
    print(log.read_text()[-4000:] if log.exists() else "")


async def curled(url: str, certificate: Certificate, *options: str) -> tuple[int, bytes]:
    """The status of a GET, 0 where there is no answer, and the body."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-m", "10", "--cacert", str(certificate.cert), "-w", "\n%{http_code}", *options, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    body, _, status = output.rpartition(b"\n")
    return int(status), body


async def serves(url: str, certificate: Certificate) -> None:
    async with asyncio.timeout(START_SECONDS):
        while (await curled(f"{url}/health/ready", certificate))[0] != 200:  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.1)


def addresses(server: ServerProcess, user: str) -> set[str]:
    return {str(record["address"]) for record in server.records("connected") if record["user"] == user}


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_stock_clients_and_streams_go_through(
    serve: Serve, clients: Clients, certificate: Certificate, behind_proxy: Callable[[ServerProcess], str]
) -> None:
    server = serve(BEHIND)
    url = behind_proxy(server)
    await serves(url, certificate)
    auth = {"token": token("42")}
    # A page of the proxy's own origin, which is the server's own only where X-Forwarded-Proto and Host arrive.
    page = {"extraHeaders": {"Origin": url}}
    devices = [
        await clients.js(url, auth, page, ca=certificate.cert),
        await clients.js(url, auth, page | {"transports": ["polling"]}, ca=certificate.cert),
        await clients.js(url, auth, page | {"transports": ["websocket"]}, ca=certificate.cert),
    ]
    for device in devices:
        await device.ready()
    await devices[0].uses("websocket")
    stream = Curl(url, token("42"), options=("--cacert", str(certificate.cert)))
    async with stream, aclosing(stream.events()) as events:
        assert (await anext(events))[0] == "session.ready"
        published = await server.publish({"user": "42"}, title="hello")
        expected = {"audience": "user", "type": "mission.assigned", "title": "hello"}
        for device in devices:
            assert_notification(await device.event("notification.new"), published, **expected)
        # While the stream goes on: nothing waits for its end, or for more.
        async with asyncio.timeout(5):
            while (event := await anext(events))[0] != "notification.new":
                pass
        assert event[1][0]["id"] == published["id"]
    assert addresses(server, "42") == {"127.0.0.1"}
    assert server.records("origin refused") == []


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_what_others_say_is_not_passed_on_as_the_proxys_own(
    serve: Serve, certificate: Certificate, behind_proxy: Callable[[ServerProcess], str]
) -> None:
    server = serve(BEHIND)
    url = behind_proxy(server)
    await serves(url, certificate)
    forged = ("-H", "X-Forwarded-For: 203.0.113.7", "-H", "Forwarded: for=203.0.113.7;proto=http")
    stream = Curl(url, token("43"), options=("--cacert", str(certificate.cert), *FROM_ELSEWHERE, *forged))
    async with stream, aclosing(stream.events()) as events:
        assert (await anext(events))[0] == "session.ready"
    assert addresses(server, "43") == {"127.0.0.5"}
    handshake = f"{url}/socket.io/?EIO=4&transport=polling"
    for origin, status in ((url, 200), (url.replace("https", "http"), 403), ("https://elsewhere.example", 403)):
        assert (await curled(handshake, certificate, "-H", f"Origin: {origin}"))[0] == status
    for path in ("/admin/nodes", "/metrics", "/ops", "/docs", "/"):
        assert (await curled(f"{url}{path}", certificate))[0] == 404


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_large_batches_go_through_and_no_node_is_a_502_or_503(
    serve: Serve, certificate: Certificate, behind_proxy: Callable[[ServerProcess], str], tmp_path: Path
) -> None:
    server = serve(BEHIND)
    url = behind_proxy(server)
    await serves(url, certificate)
    batch = [{"to": {"user": "42"}, "type": "t", "body": "x" * 60_000} for _ in range(250)]
    (tmp_path / "batch").write_text(json.dumps(batch))
    post = ("--data-binary", f"@{tmp_path / 'batch'}", "-H", "Content-Type: application/json", "-H", "Expect:")
    key = ("-H", f"Authorization: Bearer {API_KEY}")
    status, body = await curled(f"{url}/v1/notifications/batch", certificate, *post, *key)
    assert (status, json.loads(body)["accepted"]) == (200, 250)
    assert server.stop() == 0
    assert (await curled(f"{url}/health/ready", certificate))[0] in (502, 503)


def test_traefiks_says_that_it_was_not_run() -> None:
    text = (DEPLOY / "traefik.yaml").read_text()
    assert text.startswith("#")
    assert "NOT RUN" in text
    routes = yaml.safe_load(text)["http"]
    (rule,) = (router["rule"] for router in routes["routers"].values())
    public = re.findall(r"PathPrefix\(`([^`]+)`\)", rule)
    acl = re.findall(r"acl public path_beg (.+)$", (DEPLOY / "haproxy.cfg").read_text(), re.MULTILINE)
    site = re.findall(r"@public path (.+)$", (DEPLOY / "Caddyfile").read_text(), re.MULTILINE)
    assert [" ".join(public)] == acl == [text.replace("*", "") for text in site]
