"""The recipes of ``docs/how-to`` and the rest of the tutorial, run against a server as their readers run them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from adapters.client.modules import client_modules
from tests.documents import block
from tests.e2e.clients import NODE
from tests.e2e.conftest import Serve
from tests.e2e.element_pages import ElementBrowser, opened_pages
from tests.e2e.inbox_build import MODULE, copy_modules
from tests.e2e.newcomer import PATIENCE, newcomer
from tests.e2e.npm import installed
from tests.in_time import in_time
from tests.processes import API_KEY, ONE_SECRET, environment, port_to_keep, token

pytestmark = pytest.mark.check

FRAMEWORKS = Path(__file__).parent / "frameworks"
ADDRESS = "https://notifications.example"
LOCAL = "http://127.0.0.1:8000"
SUPPORT_KEY = "a key that does not publish, of at least 32 characters"
STORE = f'import {{ createInbox }} from "{MODULE.as_uri()}";\n'
VUE = """
const scope = effectScope();
const { snapshot } = scope.run(() => useInbox(options));
watch(snapshot, () => show(snapshot.value), { flush: "sync" });
const end = () => scope.stop();
"""
SVELTE = """
const { snapshot } = inboxStore(options);
const end = snapshot.subscribe(show);
"""


SURE_IN_PYTHON = """
import json, time
waits = []
time.sleep = waits.append
from surely import notify_surely
try:
    answer = notify_surely("key", "42", "Contract signed", "contract-7-signed")
except Exception as error:
    answer = str(error)
print(json.dumps([answer, waits]))
"""
SURE_IN_NODE = """
import { notifySurely } from "./surely.mjs";
import { waits } from "./timers.mjs";
const notification = { to: { user: "42" }, type: "t", title: "Contract signed", id: "contract-7-signed" };
const answer = await notifySurely("key", notification).catch((error) => error.message);
console.log(JSON.stringify([answer, waits]));
"""
TIMERS_IN_NODE = """
export const waits = [];
export const setTimeout = async (milliseconds) => waits.push(milliseconds / 1000);
"""
CUT = 0


class ScriptedServer:
    """Answers what is published with one status after the other, and cuts the connection for ``CUT``."""

    def __init__(self, statuses: list[int], retry_after: str) -> None:
        self._statuses = statuses
        self._retry_after = retry_after
        self.asked: list[Any] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        status = self._statuses[min(len(self.asked), len(self._statuses)) - 1]
        if status == CUT:
            assert request.transport is not None
            request.transport.abort()
        headers = {"Retry-After": self._retry_after} if status in (429, 503) else None
        return web.json_response({"status": status}, status=status or 500, headers=headers)


@asynccontextmanager
async def scripted(*statuses: int, retry_after: str = "9") -> AsyncIterator[tuple[ScriptedServer, str]]:
    """The server, and where it is."""
    server = ScriptedServer(list(statuses), retry_after)
    application = web.Application()
    application.router.add_post("/v1/notifications", server.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield server, "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


class Program:
    """A program of a recipe that runs: what it prints, a line at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        assert line, "the program has ended"
        return line.decode().rstrip("\n")

    async def until(self, condition: Callable[[Any], object]) -> list[Any]:
        """The JSON values that it prints, up to the first one of which that is true."""
        printed: list[Any] = []
        while not printed or not condition(printed[-1]):
            printed.append(json.loads(await self.line()))
        return printed

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def ends(self) -> int:
        """Close its stdin, and wait for its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def program(folder: Path, *command: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment({"PYTHONUNBUFFERED": "1"}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def script(folder: Path, name: str, text: str) -> tuple[str, str]:
    """A module of Node's in that folder, and the command that runs it."""
    (folder / name).write_text(text)
    return str(NODE), name


def evaluated(folder: Path, text: str) -> Any:
    """What a module of Node's prints as JSON."""
    command = script(folder, "recipe.mjs", text)
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return json.loads(done.stdout)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110, a file of another process's tells of nothing
            await asyncio.sleep(0.02)


def module(text: str, name: str) -> ModuleType:
    """A block of Python as the module that a reader saves it as."""
    made = ModuleType(name)
    exec(compile(text, f"{name}.py", "exec"), made.__dict__)  # noqa: S102
    return made


@pytest.mark.gen_test(timeout=60)
async def test_the_backend_of_the_tutorial_publishes_once_and_the_inbox_is_read(tmp_path: Path) -> None:
    async with newcomer(tmp_path) as reader:
        await reader.serves()
        (tmp_path / "backend.py").write_text(reader.adapted(block("docs/tutorial/backend.md", "python", "sys.argv")))
        backend = await reader.types(block("docs/tutorial/backend.md", "bash", "backend.py"))
        assert await backend.process.wait() == 0, backend.text
        answers = [json.loads(line) for line in backend.text.splitlines()]
        assert [answer["duplicate"] for answer in answers] == [False, True]

        before = await reader.types(block("docs/tutorial/read-state.md", "bash", "state=unread"))
        assert await before.process.wait() == 0
        assert '"unread":1' in before.text
        assert before.text.count('"title":"Contract signed"') == 1
        marked = await reader.types(block("docs/tutorial/read-state.md", "bash", "read_all"))
        assert await marked.process.wait() == 0
        assert '"changed":1' in marked.text
        assert '"unread":0' in marked.text


def surely(folder: Path, language: str, url: str) -> tuple[str, ...]:
    """The tutorial's backend that tries again, and the command that has it publish once."""
    backend = "docs/tutorial/backend.md"
    if language == "node":
        text = block(backend, "js", "notifySurely").replace(LOCAL, url)
        (folder / "surely.mjs").write_text(text.replace("node:timers/promises", "./timers.mjs"))
        (folder / "timers.mjs").write_text(TIMERS_IN_NODE)
        return script(folder, "backend.mjs", SURE_IN_NODE)
    (folder / "backend.py").write_text(block(backend, "python", "sys.argv").replace(LOCAL, url))
    (folder / "surely.py").write_text(block(backend, "python", "notify_surely"))
    (folder / "sure.py").write_text(SURE_IN_PYTHON)
    # One that was compiled with another address within the same second would be taken for this one.
    return sys.executable, "-B", "sure.py"


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("language", ["python", "node"])
async def test_a_backend_that_is_to_be_sure_tries_again_and_gives_up_what_cannot_succeed(
    tmp_path: Path, language: str
) -> None:
    async def publishes(*statuses: int, retry_after: str = "9") -> tuple[Any, list[float], int]:
        """What it is told in the end, the seconds of each wait, and how often it has asked."""
        async with (
            scripted(*statuses, retry_after=retry_after) as (server, url),
            program(tmp_path, *surely(tmp_path, language, url)) as backend,
        ):
            answer, waits = json.loads(await backend.line())
        assert [each["id"] for each in server.asked] == ["contract-7-signed"] * len(server.asked)
        return answer, waits, len(server.asked)

    answer, waits, _ = await publishes(CUT, 503, 500, 201)
    assert answer == {"status": 201}
    assert 1 <= waits[0] <= 2
    assert waits[1] == 9
    assert 4 <= waits[2] <= 8
    answer, waits, _ = await publishes(429, 201)
    assert (answer, waits) == ({"status": 201}, [9])
    # A proxy may name a date; that is no reason to lose a notification.
    assert (await publishes(503, 201, retry_after="Fri, 31 Dec 2027 23:59:59 GMT"))[0] == {"status": 201}
    for refused in (401, 409, 422):
        answer, waits, asked = await publishes(refused)
        assert str(refused) in answer
        assert (waits, asked) == ([], 1)
    answer, waits, asked = await publishes(503)
    assert "503" in answer
    assert (len(waits), asked) == (7, 8)
    answer, waits, asked = await publishes(CUT)
    assert (len(waits), asked) == (7, 8)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as database:
        yield database


@pytest.mark.gen_test(timeout=60)
async def test_an_outbox_loses_nothing_and_sends_nothing_twice(serve: Serve, database: sqlite3.Connection) -> None:
    recipe = module(block("docs/how-to/outbox.md", "python", "send_outbox"), "outbox")
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})
    database.executescript(recipe.TABLES)

    async def send() -> int:
        sent: int = await asyncio.to_thread(recipe.send_outbox, database, server.url, API_KEY)
        return sent

    recipe.place_order(database, "1", "42")
    with pytest.raises(sqlite3.IntegrityError):
        recipe.place_order(database, "1", "42")
    waiting = database.execute("SELECT id, body FROM outbox").fetchall()
    server.kill()
    with pytest.raises(OSError, match=r"refused|reset"):
        await send()
    server.start_again()
    await server.ready()
    assert await send() == 1
    # It was killed before it could note that it had sent.
    database.executemany("INSERT INTO outbox (id, body) VALUES (?, ?)", waiting)
    recipe.place_order(database, "2", "no\nuser")
    recipe.place_order(database, "3", "42")
    assert await send() == 2
    ((refused, why),) = database.execute("SELECT id, refused FROM outbox").fetchall()
    assert refused == "order-2-placed"
    assert json.loads(why)["code"] == "invalid_notification"
    items = (await server.inbox(token("42")))["items"]
    assert [item["title"] for item in items] == ["Order 3 is placed", "Order 1 is placed"]


@pytest.mark.gen_test(timeout=60)
async def test_an_outbox_waits_while_its_key_is_wrong(serve: Serve, database: sqlite3.Connection) -> None:
    recipe = module(block("docs/how-to/outbox.md", "python", "send_outbox"), "outbox")
    of_support = {"name": "support", "key": SUPPORT_KEY, "scopes": ["connections:read"]}
    server = serve(ONE_SECRET | {"SYNKRONE_API__KEYS": json.dumps([of_support])})
    database.executescript(recipe.TABLES)
    for order in ("1", "2"):
        recipe.place_order(database, order, "42")
    for key, status in ((f"{API_KEY} of yesterday", 401), (SUPPORT_KEY, 403)):
        with pytest.raises(urllib.error.HTTPError) as raised:
            await asyncio.to_thread(recipe.send_outbox, database, server.url, key)
        raised.value.close()
        assert raised.value.code == status
        waiting = database.execute("SELECT id FROM outbox WHERE refused IS NULL ORDER BY rowid").fetchall()
        assert waiting == [("order-1-placed",), ("order-2-placed",)]
    assert await asyncio.to_thread(recipe.send_outbox, database, server.url, API_KEY) == 2
    items = (await server.inbox(token("42")))["items"]
    assert [item["title"] for item in items] == ["Order 2 is placed", "Order 1 is placed"]


@pytest.mark.gen_test(timeout=60)
async def test_a_python_client_that_keeps_its_cursor_misses_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "client.py").write_text(block("docs/how-to/python.md", "python", "kept"))
    command = (sys.executable, "client.py", server.url, token("42"))
    await server.publish({"user": "42"}, title="before the first start")
    async with program(tmp_path, *command) as client:
        # Nobody has received it: it comes in the list, and as an event before that or after.
        assert [await client.line(), await client.line()] == ["before the first start"] * 2
        place = await server.publish({"user": "42"}, title="kept")
        assert await client.line() == "kept"
        # It notes its place right after it has printed.
        kept = tmp_path / "cursor"
        await until(lambda: kept.exists() and kept.read_text() == place["cursor"])
    await server.publish({"user": "42"}, title="while it was away")
    async with program(tmp_path, *command) as client:
        assert await client.line() == "while it was away"
        await server.publish({"user": "42"}, title="live")
        assert await client.line() == "live"


@pytest.mark.gen_test(timeout=60)
async def test_a_page_goes_on_where_its_list_ends(serve: Serve, tmp_path: Path, node_modules: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    server = serve()
    await server.publish({"user": "42"}, title="listed")
    listed = await server.inbox(token("42"))
    await server.publish({"user": "42"}, title="after the list")
    text = block("docs/how-to/list-then-live.md", "js", "asOf").replace(ADDRESS, server.url)
    page = json.dumps({"body": {"dataset": {"asOf": listed["as_of"]}}})
    command = script(
        tmp_path,
        "page.mjs",
        f'import {{ io }} from "socket.io-client";\nconst document = {page}, token = {json.dumps(token("42"))};\n{text}'
        'socket.onAny((name, { recovered, title }) => ["session.ready", "notification.new"].includes(name)'
        " && console.log(JSON.stringify({ recovered, title })));\n",
    )
    async with program(tmp_path, *command) as client:
        heard = await client.until(lambda said: "title" in said)
    assert heard == [{"recovered": True}, {"title": "after the list"}]


@pytest.mark.gen_test(timeout=60)
async def test_another_user_of_a_page_sees_only_their_own(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    for user in ("42", "43"):
        await server.publish({"user": user}, title=f"of {user}")
    text = STORE + block("docs/how-to/switch-users.md", "js", "signOut").replace(ADDRESS, server.url)
    tokens = json.dumps([token("42"), token("43")])
    command = script(
        tmp_path,
        "switch.mjs",
        f"{text}\nconst tokens = {tokens};\n"
        "const shown = () => [inbox.user?.id, ...inbox.items.map(({ title }) => title)];\n"
        "inbox.subscribe(() => console.log(JSON.stringify(shown())));\n"
        'for await (const line of process.stdin) { line.toString() === "out\\n" ? signOut() : '
        "signIn({ token: tokens[Number(line)] }); }\n",
    )
    async with program(tmp_path, *command) as page:
        page.say("0")
        await page.until(lambda shown: shown == ["42", "of 42"])
        page.say("1")
        shown = await page.until(lambda shown: shown == ["43", "of 43"])
        assert ["43", "of 42"] not in shown
        page.say("out")
        await page.until(lambda shown: len(shown) == 1)
        assert await page.ends() == 0


@pytest.mark.gen_test(timeout=60)
async def test_the_store_in_plain_javascript_draws_what_it_keeps(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    await server.publish({"user": "42"}, title="one")
    text = block("docs/how-to/store.md", "js", "sign-out")
    text = text.replace(f"{ADDRESS}/client/synkrone-inbox.js", MODULE.as_uri()).replace(ADDRESS, server.url)
    command = script(
        tmp_path,
        "store.mjs",
        "const elements = {};\n"
        "const document = { getElementById: (id) => (elements[id] ??= {}) };\n"
        f"const session = {{ token: {json.dumps(token('42'))} }};\n{text}\n"
        "inbox.subscribe(() => console.log(JSON.stringify(elements)));\n",
    )
    async with program(tmp_path, *command) as page:
        shown = await page.until(lambda said: said["status"]["textContent"] == "live")
        assert shown[-1] | {"sign-out": {}} == {
            "unread": {"textContent": 1},
            "status": {"textContent": "live"},
            "more": {"hidden": True},
            "sign-out": {},
        }


@pytest.mark.gen_test(timeout=60)
async def test_a_copy_of_the_module_has_all_that_it_loads(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    text = block("docs/how-to/store.md", "bash", "curl").replace(ADDRESS, server.url)
    bash = await asyncio.create_subprocess_exec("bash", "-euo", "pipefail", "-c", text, cwd=tmp_path)
    assert await in_time(bash.wait(), PATIENCE) == 0
    for name, octets in client_modules().items():
        assert (tmp_path / name).read_bytes() == octets
    assert (tmp_path / "synkrone-inbox.d.ts").exists()


def test_a_title_is_in_the_reader_s_language(tmp_path: Path) -> None:
    text = block("docs/how-to/localise.md", "js", "titleOf")
    shown = evaluated(
        tmp_path,
        f"{text}\nconst mission = {{ type: 'mission.assigned', title: 'A mission', data: {{ client: 'Ada' }} }};\n"
        "console.log(JSON.stringify([titleOf(mission, 'fr'), titleOf(mission, 'de'),"
        " titleOf({ type: 'new', title: 'Newer' }, 'fr')]));\n",
    )
    assert shown == ["Ada vous a confié une mission", "Ada has given you a mission", "Newer"]


def test_one_tab_of_several_plays_the_sound(tmp_path: Path) -> None:
    text = block("docs/how-to/tabs.md", "js", "navigator.locks")
    played = evaluated(
        tmp_path,
        "let played = 0;\nclass Audio { async play() { played++; } }\n"
        "const element = new EventTarget();\nconst document = { querySelector: () => element };\n"
        f"{{{text}}}\n{{{text}}}\n"
        # A lock that is asked for after theirs is answered after theirs, too.
        'await navigator.locks.request("of the test", () => {});\n'
        "const after = [3, 4, 4, 2, 3].map((unseen) => {\n"
        '  element.dispatchEvent(new CustomEvent("synkrone-counts", { detail: { unseen } }));\n'
        "  return played;\n});\n"
        "console.log(JSON.stringify(after));\nprocess.exit();\n",
    )
    assert played == [0, 1, 1, 1, 2]


@pytest.mark.gen_test(timeout=60)
async def test_the_component_looks_and_speaks_as_the_page_says(node_modules: Path, tmp_path: Path) -> None:
    async with opened_pages(node_modules) as pages, ElementBrowser("chrome", tmp_path / "profile") as page:
        pages.server = pages.origin
        await page.prefer({"prefers-color-scheme": "dark"})
        await page.visit(pages.origin)
        await page.run(
            "const sheet = new CSSStyleSheet(); sheet.replaceSync(css); document.adoptedStyleSheets.push(sheet);"
            "inbox.store = fakeStore({ number: 3, make: () => ({ title: null }) }).store; inbox.open = true; await 0;",
            css=block("docs/how-to/component.md", "css", "::part"),
        )
        await page.run(block("docs/how-to/component.md", "js", "messages"))
        await page.shows("#readAll", ["Alle als gelesen markieren"])
        await page.shows("[role=tab]", ["Alle", "Unread", "Snoozed", "Archived"])
        await page.shows("li .title", ["invoice paid", "Neuer Auftrag", "Neuer Auftrag"])
        assert await page.run("return one('#bell').ariaLabel") == "Mitteilungen, 2 ungelesene"
        look = (
            "const [panel, badge] = ['#panel', '#badge'].map((selector) => getComputedStyle(one(selector)));"
            "return [panel.width, panel.backgroundColor, panel.color, badge.backgroundColor];"
        )
        dark = ["360px", "rgb(16, 20, 24)", "rgb(241, 243, 245)", "rgb(11, 114, 133)"]
        assert await page.run(look) == dark
        await page.run("inbox.theme = 'light'")
        assert await page.run(look) == [dark[0], "rgb(255, 253, 247)", "rgb(16, 20, 24)", dark[3]]


@pytest.mark.gen_test(timeout=60)
async def test_a_backup_put_back_has_what_was_there_then(serve: Serve) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})

    async def typed(text: str) -> None:
        command = text.replace("synkrone-socket", f"{sys.executable} -m entrypoints.cli")
        bash = await asyncio.create_subprocess_exec(
            "bash", "-euc", command, cwd=server.directory, env=environment(ONE_SECRET)
        )
        assert await in_time(bash.wait(), PATIENCE) == 0

    await server.publish({"user": "42"}, title="before the backup")
    await typed(block("docs/how-to/backup.md", "bash", "backup copy.db"))
    await server.publish({"user": "42"}, title="after the backup")
    assert server.stop() == 0
    await typed(block("docs/how-to/backup.md", "bash", "restore --replace"))
    await typed(block("docs/how-to/backup.md", "bash", "chown").replace("/var/lib/synkrone", str(server.directory)))
    server.start_again()
    await server.ready()
    items = (await server.inbox(token("42")))["items"]
    assert [item["title"] for item in items] == ["before the backup"]


@pytest.mark.gen_test(timeout=180)
async def test_react_renders_on_the_server_hydrates_and_stays_live(serve: Serve, tmp_path: Path) -> None:
    modules = installed(FRAMEWORKS)
    (tmp_path / "node_modules").symlink_to(modules)
    server = serve()
    await server.publish({"user": "42"}, title="listed by the server")
    copy_modules(tmp_path)
    shutil.copy(FRAMEWORKS / "react.jsx", tmp_path)
    (tmp_path / "inbox.jsx").write_text(block("docs/how-to/react.md", "jsx", "useSyncExternalStore"))
    (tmp_path / "list.js").write_text(block("docs/how-to/react.md", "js", "listInbox"))
    element = block("docs/how-to/react.md", "jsx", "<Inbox key=").replace(ADDRESS, server.url)
    (tmp_path / "application.jsx").write_text(
        'import { Inbox } from "./inbox.jsx";\n'
        f"export const application = ({{ user, session, initial }}) => {element.strip()};\n"
    )
    options = ("--bundle", "--packages=external", "--format=esm", "--platform=node", "--jsx=automatic", "--jsx-dev")
    build = (str(NODE), str(modules / "esbuild" / "bin" / "esbuild"), "react.jsx", *options, "--outfile=page.mjs")
    async with program(tmp_path, *build) as building:
        assert await building.ends() == 0

    async with program(tmp_path, str(NODE), "page.mjs", server.url, token("42")) as page:
        heard = await page.until(bool)
        assert heard == [{"titles": ["listed by the server"], "unread": 1}]
        await server.has_connections("42", 1)
        await server.publish({"user": "42"}, title="live")
        heard += await page.until(lambda said: said.get("titles") == ["live", "listed by the server"])
        page.say("live")
        heard += await page.until(lambda said: said.get("unread") == 1)
        assert await page.ends() == 0
    assert not [said for said in heard if "complaint" in said or not said["titles"]]
    assert (await server.inbox(token("42"), "/count"))["counts"]["unread"] == 1


@pytest.mark.gen_test(timeout=180)
@pytest.mark.parametrize(("framework", "mount"), [("vue", VUE), ("svelte", SVELTE)], ids=["vue", "svelte"])
async def test_vue_and_svelte_follow_the_store(serve: Serve, tmp_path: Path, framework: str, mount: str) -> None:
    (tmp_path / "node_modules").symlink_to(installed(FRAMEWORKS))
    server = serve()
    await server.publish({"user": "42"}, title="one")
    copy_modules(tmp_path)
    text = block("docs/how-to/vue-svelte.md", "js", f'from "{framework}')
    own = {"url": server.url}
    command = script(
        tmp_path,
        "page.mjs",
        'import { effectScope, watch } from "vue";\n'
        f"{text}\nconst options = {{ ...{json.dumps(own)}, token: () => {json.dumps(token('42'))} }};\n"
        "const show = ({ items }) => console.log(JSON.stringify(items.map(({ title }) => title)));\n"
        f"{mount}process.stdin.on('end', end).resume();\n",
    )
    async with program(tmp_path, *command) as page:
        await page.until(lambda titles: titles == ["one"])
        await server.publish({"user": "42"}, title="two")
        await page.until(lambda titles: titles == ["two", "one"])
        assert await page.ends() == 0
