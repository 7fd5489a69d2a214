"""What the pages for operators tell to type, and what they say of the program."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from adapters.store.postgresql.schema import MIGRATIONS as OF_DATABASES
from adapters.store.sqlite.schema import MIGRATIONS as OF_FILES
from entrypoints.settings_access import SCOPES
from tests.documents import ROOT, block, page
from tests.e2e.certificates import make_certificate
from tests.e2e.conftest import Serve
from tests.e2e.newcomer import Newcomer, free_port, newcomer
from tests.postgresql import Servers
from tests.processes import API_KEY, ONE_SECRET
from tests.requirements import require

OPERATE = "docs/how-to/operate.md"
UPGRADE = "docs/how-to/upgrade.md"
SECURITY = "docs/explanation/security.md"
SIZE = "docs/how-to/size.md"
SETTINGS = f"""
port = %s
[auth]
secret = "{ONE_SECRET["SYNKRONE_AUTH__SECRET"]}"
[internal]
port = %s
[[api.keys]]
name = "operator"
key = "{API_KEY}"
scopes = ["publish", "connections:read"]
"""

HOME = "/var/lib/synkrone"
SECRETS = "/etc/synkrone"
PROGRAM = "/opt/synkrone/.venv/bin/"


async def typed(reader: Newcomer, text: str) -> str:
    """What it printed; it has to succeed."""
    terminal = await reader.types(text)
    assert await terminal.process.wait() == 0, terminal.text
    return terminal.text


async def serving(reader: Newcomer) -> None:
    reader.ports |= {"8001": free_port()}
    (reader.folder / "synkrone.toml").write_text(SETTINGS % (reader.ports["8000"], reader.ports["8001"]))
    server = await reader.types("synkrone-socket serve")
    await server.until(lambda text: "is listening on" in text)


async def served_as_a_service(reader: Newcomer) -> str:
    """What the page has pasted first: the command with the settings of the service, which it then is."""
    reader.ports |= {"8001": free_port()}
    etc = reader.folder / "etc"
    etc.mkdir()
    (etc / "synkrone.toml").write_text(f"port = {reader.ports['8000']}\n[internal]\nport = {reader.ports['8001']}\n")
    (etc / "auth_secret").write_text(ONE_SECRET["SYNKRONE_AUTH__SECRET"])
    (etc / "api_key").write_text(API_KEY)
    pasted = block(OPERATE, "bash", "synkrone()").replace("synkrone doctor\n", "")
    for path, here in ((HOME, str(reader.folder)), (SECRETS, str(etc)), (PROGRAM, "")):
        assert path in pasted
        pasted = pasted.replace(path, here)
    server = await reader.types(f"{pasted}\nsynkrone serve")
    await server.until(lambda text: "is listening on" in text)
    assert (reader.folder / "synkrone.db").exists()
    return f"{pasted}\n"


@pytest.mark.gen_test(timeout=90)
async def test_the_commands_of_the_page_have_the_settings_of_the_service(tmp_path: Path) -> None:
    async with newcomer(tmp_path) as reader:
        pasted = await served_as_a_service(reader)
        (asked,) = [
            line for line in block(OPERATE, "bash", "synkrone()").splitlines() if line.startswith("synkrone doctor")
        ]
        assert str(tmp_path / "synkrone.db") in await typed(reader, pasted + asked)
        through = block(OPERATE, "bash", "doctor --url").replace(
            "https://notifications.example", "http://127.0.0.1:8000"
        )
        assert "websocket" in await typed(reader, pasted + through)


@pytest.mark.gen_test(timeout=90)
async def test_a_server_with_tls_is_asked_as_well(tmp_path: Path) -> None:
    asking = block(OPERATE, "bash", "/health/ready")
    files = make_certificate(tmp_path)
    async with newcomer(tmp_path) as reader:
        reader.ports |= {"8001": free_port()}
        (tmp_path / "synkrone.toml").write_text(
            f'[auth]\nsecret = "{ONE_SECRET["SYNKRONE_AUTH__SECRET"]}"\n'
            f'[tls]\ncert = "{files.cert}"\nkey = "{files.key}"\n'
        )
        server = await reader.types("synkrone-socket serve")
        await server.until(lambda text: "is listening on" in text)
        assert '"status":"ready"' in (await typed(reader, asking)).replace(" ", "")


@pytest.mark.gen_test(timeout=90)
async def test_somebody_woken_at_night_is_told_what_is_wrong(tmp_path: Path) -> None:
    asking = block(OPERATE, "bash", "/health/ready")
    async with newcomer(tmp_path) as reader:
        reader.ports |= {"8001": free_port()}
        silent = await reader.types(asking)
        assert await silent.process.wait() != 0
        await serving(reader)
        assert '"status":"ready"' in (await typed(reader, asking)).replace(" ", "")


@pytest.mark.gen_test(timeout=90)
async def test_one_user_is_looked_up(tmp_path: Path) -> None:
    async with newcomer(tmp_path) as reader:
        pasted = await served_as_a_service(reader)
        listening = await reader.types(f"{pasted}synkrone listen --token $(synkrone token --user 42 --role x)")
        await listening.until(lambda text: "session.ready" in text)
        post = (
            "curl -sSf http://127.0.0.1:8000/v1/notifications -H 'Content-Type: application/json' "
            f"""-H 'Authorization: Bearer {API_KEY}' -d '{{"to": {{"user": "42"}}, "type": "t", "title": "hello"}}'"""
        )
        await typed(reader, post)
        asked = block(OPERATE, "bash", "/connections").replace("\ncurl", "; echo\ncurl")
        *sentences, connected, blocked = (await typed(reader, pasted + asked)).splitlines()
        assert ": received" in sentences[0] or ": sent" in sentences[0]
        assert [each["transport"] for each in json.loads(connected)["connections"]] == ["websocket"]
        assert json.loads(blocked)["blocked"] is False
        listed = await typed(reader, pasted + block(OPERATE, "bash", "/v1/inbox"))
        assert [item["title"] for item in json.loads(listed)["items"]] == ["hello"]


@pytest.mark.gen_test(timeout=90)
async def test_the_form_of_a_store_is_said(tmp_path: Path) -> None:
    require(shutil.which("sqlite3"), "no sqlite3 is installed: apt-get install sqlite3")
    async with newcomer(tmp_path) as reader:
        await serving(reader)
        assert await typed(reader, block(UPGRADE, "bash", "sqlite3")) == f"{len(OF_FILES)}\n"
        # Beside the server that has the port and the file.
        said = await typed(reader, block(UPGRADE, "bash", "check-config"))
        assert said.startswith("The settings are good")
        assert "is in use by a server that runs" in said


@pytest.mark.check
def test_the_form_of_a_database_is_said(serve: Serve, postgresql: Servers) -> None:
    server = postgresql.of(18)
    database = server.new_database()
    assert serve(ONE_SECRET | {"SYNKRONE_STORE": server.url(database)}).stop() == 0
    with closing(server.connect(database)) as line:
        rows = line.execute(block(UPGRADE, "sql", "schema_versions").encode()).fetchall()
    assert [tuple(row[:2]) for row in rows] == [(each.version, each.usable_from) for each in OF_DATABASES]


def test_the_page_on_security_says_what_each_scope_opens() -> None:
    table = page(SECURITY).partition("## What each key opens")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z]+(?::[a-z]+)?)` \|", table, re.MULTILINE)) >= SCOPES


@pytest.mark.gen_test(timeout=60)
async def test_the_page_for_the_night_names_all_that_can_be_not_ready(serve: Serve) -> None:
    table = page(OPERATE).partition("| in `failures` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `([a-z]+)`|, `([a-z]+)`", table, re.MULTILINE))
    reference = page("docs/reference/http.md").partition("`/health/ready` names what is not ready")[2]
    said = set(re.findall(r"^\| `([a-z]+)` \|", reference.partition("\n## ")[0], re.MULTILINE))
    assert said
    assert {first or second for first, second in named} >= said


FIGURES = {
    "a connection that is idle": ("memory", "idle"),
    "a connection that comes": ("connection",),
    "a publish, one a request": ("publish-cpu@1000",),
    "a publish in a batch, to one user who is connected": ("batch",),
    "a delivery of one that goes to many (a role, everyone)": ("room", "burst"),
    "a return with 10 missed notifications": ("recover-cpu",),
}


@pytest.mark.parametrize("row", FIGURES)
def test_the_figures_are_those_that_were_measured(row: str) -> None:
    measures = json.loads((ROOT / "docs" / "benchmark.json").read_text())["measures"]
    (cell,) = re.findall(rf"^\| {re.escape(row)} \| ([^|]+) \|", page(SIZE), re.MULTILINE)
    figures = [float(text.replace(",", "")) for text in re.findall(r"([\d.,]*\d) (?:KiB|µs)", cell)]
    measured = [measures[name]["servers"]["ours"]["median"] for name in FIGURES[row]]
    assert figures == [pytest.approx(each, rel=0.15) for each in measured]
