"""How to run several servers, as the page says it: by hand word for word, by compose as far as that goes without it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from entrypoints.settings import Settings
from entrypoints.settings_reading import load_settings
from tests.documents import ROOT, block
from tests.e2e.conftest import Serve
from tests.e2e.newcomer import Newcomer, Terminal, free_port, newcomer
from tests.e2e.proxy import find_nginx
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.postgresql import PostgresqlServer, programs, running_server
from tests.processes import ONE_SECRET, SECRET, token

PAGE = "docs/how-to/cluster.md"
DEPLOY = ROOT / "deploy"
OF_THE_PAGE = "postgresql://synkrone@127.0.0.1/synkrone"


def made_as_the_page_says(server: PostgresqlServer) -> str:
    """The URL of the database."""
    statements = block(PAGE, "bash", "CREATE ROLE").partition("<<EOF\n")[2].partition("EOF\n")[0]
    for statement in statements.strip().split(";\n"):
        server.execute(statement)
    return server.url("synkrone", "synkrone")


async def typed_by_hand(reader: Newcomer, store: str) -> None:
    """The settings of both nodes, and nginx's."""
    settings = block(PAGE, "bash", "cat > synkrone.toml")
    assert OF_THE_PAGE in settings
    terminal = await reader.types(settings.replace(OF_THE_PAGE, store))
    assert await terminal.process.wait() == 0, terminal.text
    (reader.folder / "deploy").mkdir()
    (reader.folder / "deploy" / "nginx.conf").write_text(reader.adapted((DEPLOY / "nginx.conf").read_text()))


async def served_by(reader: Newcomer, port: str) -> Terminal:
    node = await reader.types(block(PAGE, "bash", f"SYNKRONE_PORT={port}"))
    await node.until(lambda text: "is listening on" in text)
    return node


async def published(reader: Newcomer, title: str) -> None:
    text = block(PAGE, "bash", "synkrone-socket publish")
    terminal = await reader.types(text.replace("You have a new mission", title))
    assert await terminal.process.wait() == 0, terminal.text


def titles(listening: str) -> list[str]:
    return re.findall(r'"title": "([^"]*)"', listening)


@pytest.mark.check
@pytest.mark.gen_test(timeout=180)
async def test_two_nodes_behind_nginx_by_hand(tmp_path: Path) -> None:
    find_nginx()
    with running_server(18) as database:
        store = made_as_the_page_says(database)
        async with newcomer(tmp_path) as reader:
            reader.ports |= {"8001": free_port(), "8002": free_port()}
            await typed_by_hand(reader, store)
            nodes = [await served_by(reader, port) for port in ("8001", "8002")]
            await reader.types(block(PAGE, "bash", "nginx -p"))
            listening = await reader.types(block(PAGE, "bash", "synkrone-socket listen"))
            await listening.until(lambda text: "session.ready" in text)
            expected = []
            for number, node in enumerate(nodes):
                for title in (f"before {number}", f"after {number}"):
                    await published(reader, title)
                    expected.append(title)
                    await listening.until(lambda text: titles(text)[-1:] == [expected[-1]])
                    if title.startswith("before"):
                        os.killpg(node.process.pid, signal.SIGKILL)
                        await node.process.wait()
                await served_by(reader, ("8001", "8002")[number])
            assert titles(listening.text) == expected


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_what_was_restored_refuses_what_it_lost(serve: Serve, tmp_path: Path) -> None:
    found = programs(15)
    with running_server(15) as database:
        assert found is not None
        made_as_the_page_says(database)
        store = database.url("synkrone")
        server = serve(ONE_SECRET | {"SYNKRONE_STORE": store})
        environment = os.environ | {
            "STORE": store,
            "MAINTENANCE": database.url("postgres"),
            "PATH": f"{found}{os.pathsep}{os.environ['PATH']}",
        }
        kept = (await server.publish({"user": "42"}))["cursor"]
        run(tmp_path, block(PAGE, "bash", "pg_dump"), environment)
        lost = (await server.publish({"user": "42"}))["cursor"]
        assert server.stop() == 0
        run(tmp_path, block(PAGE, "bash", "pg_restore"), environment)
        restored = serve(ONE_SECRET | {"SYNKRONE_STORE": store})
        async with http_session() as session:
            again = await restored.publish({"user": "42"}, id="again")
            for cursor, expected in ((kept, (True, None)), (lost, (False, "invalid"))):
                peer = await WebSocketPeer.open(session, restored.url)
                ready, _ = await connected(peer, token("42"), cursor=cursor)
                assert (ready["recovered"], ready.get("reason")) == expected
                assert again["id"] in await peer.next()


def run(folder: Path, text: str, environment: dict[str, str]) -> None:
    ended = subprocess.run(
        ["bash", "-euc", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def settings_of(service: dict[str, Any], secrets: Path) -> Settings:
    """What a node of the compose file reads, with its secrets elsewhere."""
    environment = {name: value.replace("/run/secrets", str(secrets)) for name, value in service["environment"].items()}
    return load_settings({"SYNKRONE_HOST": "0.0.0.0"} | environment, Path(os.devnull))  # noqa: S104 (of the image)


def test_the_nodes_of_compose_have_good_settings_and_differ_in_their_address(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    for name in compose["secrets"]:
        (tmp_path / name).write_text(SECRET)
    nodes = {name: settings_of(compose["services"][name], tmp_path) for name in ("node-1", "node-2")}
    for name, settings in nodes.items():
        assert settings.node.address == f"http://{name}:{settings.internal.port}"
        assert settings.store.host == "db"
        assert settings.auth.secret is not None
        assert settings.api.key is not None
    one, two = (settings.model_copy(update={"node": None}) for settings in nodes.values())
    assert one == two


def test_all_that_compose_names_is_there(compose: dict[str, Any]) -> None:
    services, secrets = compose["services"], compose["secrets"]
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        assert set(service.get("secrets", [])) <= set(secrets)
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).is_file()
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
    made = block(PAGE, "bash", "mkdir -m 700").partition("for name in ")[2].partition(";")[0].split()
    assert {f"./secrets/{name}" for name in made} == {secret["file"] for secret in secrets.values()}
    assert (DEPLOY / "secrets").name in (ROOT / ".gitignore").read_text()


def test_the_services_of_compose_have_the_addresses_that_others_expect(compose: dict[str, Any]) -> None:
    (network,) = compose["networks"]["default"]["ipam"]["config"]
    fixed = {
        name: service["networks"]["default"]["ipv4_address"]
        for name, service in compose["services"].items()
        if "networks" in service
    }
    assert set(fixed) == {"node-1", "node-2", "nginx"}
    assert len(set(fixed.values())) == 3
    assert all(ip_address(address) in ip_network(network["subnet"]) for address in fixed.values())
    for name in ("node-1", "node-2"):
        trusted = compose["services"][name]["environment"]["SYNKRONE_TRUSTED_PROXIES"]
        assert trusted == f'["{fixed["nginx"]}"]'


def test_nginx_knows_the_nodes_of_compose(compose: dict[str, Any]) -> None:
    configuration = (DEPLOY / "nginx.conf").read_text()
    upstreams = re.findall(r"^ +server ([\w-]+):8000 ", configuration, re.MULTILINE)
    assert upstreams == [name for name, service in compose["services"].items() if "build" in service]
    assert compose["services"]["nginx"]["ports"] == ["8000:8000"]
    assert "listen 8000;" in configuration


def test_what_the_image_is_made_of_is_let_into_its_context() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    names = " ".join(copied).split()
    let_in = {
        line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert set(names) == let_in
    for name in names:
        assert (ROOT / name).exists()


def test_the_secrets_are_made_as_the_page_says(tmp_path: Path) -> None:
    made = block(PAGE, "bash", "mkdir -m 700").partition("docker compose")[0]
    (tmp_path / "deploy").mkdir()
    run(tmp_path, made, dict(os.environ))
    secrets = sorted((tmp_path / "deploy" / "secrets").iterdir())
    assert [len(secret.read_text()) for secret in secrets] == [64, 64, 64]
    assert len({secret.read_text() for secret in secrets}) == 3
    # A node runs as a user of its own.
    assert {secret.stat().st_mode & 0o777 for secret in secrets} == {0o644}
