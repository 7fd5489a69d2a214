"""The commands as real processes, as somebody at a terminal meets them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import socketio

from entrypoints import client
from tests.accepting import Acceptor
from tests.e2e.certificates import make_certificate
from tests.engine_io import WebSocketPeer, connected, event, http_session, refused
from tests.forked import CLI, run_forked
from tests.processes import ONE_SECRET, SECRET, ServerProcess, environment, port_to_keep, token
from tests.serving import eventually
from tests.tokens import KeyServer, jwks, key_for, public_jwk

PATIENCE = 15.0
AT_A_TERMINAL = ("-m", CLI)
NOTHING_LISTENS = "nothing listens there (connection refused)"


class Command:
    """A running process, whose lines are read as they come."""

    def __init__(self, process: asyncio.subprocess.Process, folder: str) -> None:
        """``folder`` is where it was started."""
        self._process = process
        self.folder = folder
        self.lines: list[str] = []
        self._errors = asyncio.create_task(self._read_errors())

    async def _read_errors(self) -> str:
        assert self._process.stderr is not None
        return (await self._process.stderr.read()).decode()

    async def line(self, text: str) -> str:
        """The next line of its output with this text."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self._process.stdout.readline()).decode()
                assert line, f"it has ended: {await self._errors}"
                self.lines.append(line.rstrip("\n"))
                if text in line:
                    return self.lines[-1]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> tuple[int, str, str]:
        """Its exit code, what is left of its output, and its errors, in which no traceback may be."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            rest = (await self._process.stdout.read()).decode()
            code = await self._process.wait()
            errors = await self._errors
        assert "Traceback" not in errors, errors
        return code, rest, errors

    def left_behind(self) -> list[str]:
        """The names of the files that it has made."""
        return [path.name for path in Path(self.folder).iterdir()]

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._errors


@asynccontextmanager
async def running(*arguments: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Command]:
    """``python`` with these arguments, in a directory of its own, as some commands leave a store behind."""
    with tempfile.TemporaryDirectory() as directory:
        command = Command(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=directory,
                env=environment(ONE_SECRET if settings is None else settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            ),
            directory,
        )
        try:
            yield command
        finally:
            await command.stop()


async def run(*arguments: str, settings: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """A command from beginning to end: its exit code, output and errors, in which no traceback may be.

    Forked, as there are many; ``running`` starts them as a terminal does.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as outputs:
        ended = await asyncio.to_thread(
            run_forked,
            CLI,
            *arguments,
            directory=Path(folder),
            environment=environment(ONE_SECRET if settings is None else settings),
            outputs=Path(outputs),
            timeout=PATIENCE,
        )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout, ended.stderr.replace(folder, "FOLDER")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"), ONE_SECRET)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.kill()


class Wire:
    """A TCP proxy in front of a server, which can be cut."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_cut = False
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Wire]:
        acceptor = Acceptor(self._serve)
        self.url = f"http://127.0.0.1:{acceptor.port}"
        try:
            yield self
        finally:
            await acceptor.close()

    def cut(self) -> None:
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            return
        self._writers.add(writer)
        up_reader, up_writer = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        self._writers.add(up_writer)
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        finally:
            up_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while octets := await source.read(65_536):
                target.write(octets)
        target.close()


def shown(line: str) -> tuple[str, list[Any]]:
    """The event and arguments of a line of ``listen``."""
    name, _, rest = line.partition(" ")
    decoder, arguments = json.JSONDecoder(), []
    while rest:
        argument, end = decoder.raw_decode(rest)
        arguments.append(argument)
        rest = rest[end:].lstrip()
    return name, arguments


@pytest.mark.gen_test
async def test_a_minted_token_is_accepted_by_the_server(server: ServerProcess) -> None:
    code, output, errors = await run("token", "--user", "42", "--role", "freelance", "--ttl", "10m")
    assert (code, errors) == (0, "")
    async with http_session() as session:
        ready, _ = await connected(await WebSocketPeer.open(session, server.url), output.strip())
        assert ready["user"] == {"id": "42", "role": "freelance"}
        other = {"SYNKRONE_AUTH__SECRET": "another secret, also long enough for HS256"}
        code, output, _ = await run("token", "--user", "42", "--role", "freelance", settings=other)
        assert code == 0
        peer = await WebSocketPeer.open(session, server.url)
        assert (await refused(peer, json.dumps({"token": output.strip()})))["code"] == "invalid_token"


@pytest.mark.gen_test(timeout=40)
async def test_a_certificate_that_has_expired_is_named_with_its_day_and_what_to_do(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, days=-0.5)
    settings = {
        **ONE_SECRET,
        "SYNKRONE_PORT": "0",
        "SYNKRONE_TLS__CERT": str(certificate.cert),
        "SYNKRONE_TLS__KEY": str(certificate.key),
        "SYNKRONE_LOG__FORMAT": "json",
    }
    day = datetime.now(UTC) - timedelta(days=0.5)
    wrong = (
        f"SYNKRONE_TLS__CERT: {certificate.cert} has expired on {day:%Y-%m-%d}, and clients refuse it: "
        "renew it into the same file, which is then used within seconds"
    )
    code, output, errors = await run("check-config", settings=settings)
    assert (code, errors) == (0, "")
    assert f"Warning: {wrong}\n" in output
    code, output, _ = await run("doctor", settings=settings)
    assert code == 1
    assert f"tls.cert {certificate.cert} has expired on {day:%Y-%m-%d}: renew it" in output
    async with running(*AT_A_TERMINAL, "serve", settings=settings) as command:
        await command.line("is listening on")
        command.send(signal.SIGTERM)
        _, _, errors = await command.ended()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["level"] for line in lines if line["event"] == wrong] == ["warning"]


@pytest.mark.gen_test
async def test_without_a_secret_there_is_no_token() -> None:
    assert await run("token", "--user", "42", "--role", "freelance", settings={}) == (
        2,
        "",
        "synkrone-socket: auth.secret: is needed to sign a token (not set; there is no file FOLDER/synkrone.toml)\n",
    )


@pytest.mark.gen_test
async def test_publish_prints_the_answer(server: ServerProcess) -> None:
    async with http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        data = '{"f": 1.0, "e": 1e2, "big": 123456789012345678901234567890}'
        arguments = ["publish", "--url", f"{server.url}/", "--to", "users:42,43", "--type", "mission.assigned"]
        more = ["--title", "é", "--body", "b", "--data", data, "--id", "x-1"]
        async with running(*AT_A_TERMINAL, *arguments, *more) as command:
            code, output, errors = await command.ended()
        assert (code, errors) == (0, "")
        assert json.loads(output)["id"] == "x-1"
        packet = await peer.next()
        assert f'"data":{data},' in packet
        _, (notification, cursor) = event(packet)
        assert (notification["title"], notification["body"]) == ("é", "b")
        assert json.loads(output) == {"id": "x-1", "cursor": cursor, "duplicate": False}
        # What the server refuses goes to the errors, with its answer.
        code, output, errors = await run(*arguments, "--title", "other", "--id", "x-1")
        assert (code, output) == (1, "")
        assert json.loads(errors)["code"] == "conflict"


@pytest.mark.gen_test
async def test_publish_says_when_what_it_publishes_expires(server: ServerProcess) -> None:
    async with http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("expiring"))
        arguments = ["publish", "--url", server.url, "--to", "user:expiring", "--type", "t", "--expires-at"]
        for given, least, most in (("2h", 7_100, 7_201), ("90", 30, 91)):
            assert (await run(*arguments, given))[0] == 0
            _, (notification, _) = event(await peer.next())
            left = datetime.fromisoformat(notification["expires_at"]) - datetime.now(UTC)
            assert least < left.total_seconds() < most
        assert (await run(*arguments, "2130-01-31T12:00:00+01:00"))[0] == 0
        _, (notification, _) = event(await peer.next())
        assert notification["expires_at"] == "2130-01-31T11:00:00.000Z"
        for wrong in ("tomorrow", "2030-01-31", "2030-13-31T12:00:00Z", "-5", "99999d", ""):
            code, output, errors = await run(*arguments[:-1], f"--expires-at={wrong}")
            assert (code, output) == (2, "")
            assert errors.endswith(
                "argument --expires-at: must be a time such as 2030-01-31T12:00:00Z, or how long from now: "
                "90 (seconds), 30m, 7d\n"
            )


@pytest.mark.gen_test
async def test_publish_that_cannot(server: ServerProcess) -> None:
    arguments = ["publish", "--to", "user:42", "--type", "t", "--url"]
    code, output, errors = await run(*arguments, server.url, settings={"SYNKRONE_API__KEY": "x" * 40})
    assert (code, output, json.loads(errors)["code"]) == (1, "", "unauthenticated")
    assert (await run(*arguments, server.url, settings={}))[::2] == (
        2,
        (
            "synkrone-socket: api.key: is required (SYNKRONE_API__KEY), or --key-file FILE "
            "(not set; there is no file FOLDER/synkrone.toml)\n"
        ),
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for wrong, why in (
        (url, NOTHING_LISTENS),
        (url.replace("http:", "https:"), NOTHING_LISTENS),
        (server.url.replace("http:", "https:"), "no TLS connection came about: wrong version number"),
    ):
        code, output, errors = await run(*arguments, wrong)
        assert (code, output, errors) == (1, "", f"synkrone-socket: cannot reach {wrong}: {why}\n")


@pytest.mark.gen_test(timeout=60)
async def test_a_key_of_the_server_alone_is_made_and_used_from_a_file(tmp_path: Path) -> None:
    code, made, _ = await run("key", "--scopes", "publish,deliveries:read", "--json", settings={})
    assert code == 0
    key = json.loads(made)
    hashed = {name: key[name] for name in ("name", "hash", "scopes")}
    server = ServerProcess(tmp_path / "server", ONE_SECRET | {"SYNKRONE_API__KEYS": json.dumps([hashed])})
    file = tmp_path / "backend.key"
    file.write_text(f"{key['key']}\n")
    try:
        server.wait_until_ready()
        address = ["--url", server.url, "--key-file", str(file)]
        # It is that of the file also where the settings have another, which this server would refuse.
        for settings in ({}, {"SYNKRONE_API__KEY": "x" * 40}):
            publish = ["publish", *address, "--to", "user:42", "--type", "t", "--id", "by-a-key"]
            code, output, errors = await run(*publish, settings=settings)
            assert (code, errors, json.loads(output)["id"]) == (0, "", "by-a-key")
            code, output, errors = await run("why", *address, "--user", "42", "--id", "by-a-key", settings=settings)
            assert (code, errors) == (0, "")
            assert output.startswith("by-a-key: waiting\n")
    finally:
        server.kill()


@pytest.mark.gen_test
@pytest.mark.parametrize("name", ["publish", "why"])
async def test_a_file_without_a_key_alone_is_none(tmp_path: Path, name: str) -> None:
    arguments = [name, *(("--to", "user:42", "--type", "t") if name == "publish" else ("--user", "42"))]
    file = tmp_path / "a.key"
    code, output, errors = await run(*arguments, "--key-file", str(file))
    assert (code, output) == (2, "")
    assert f"--key-file: cannot read {file}: No such file or directory: make it" in errors
    for text in ("", "\n", "The key:\n\nsynkrone_abc\n", "synkrone_abc\nsynkrone_abd\n", "Schlüssel\n"):
        file.write_text(text)
        code, output, errors = await run(*arguments, "--key-file", str(file))
        assert (code, output) == (2, "")
        assert f"--key-file: {file} must hold the key, in one line, and nothing else" in errors
        assert "synkrone_ab" not in errors


@pytest.mark.gen_test(timeout=60)
async def test_listen_resumes_after_a_cut_and_misses_nothing(server: ServerProcess) -> None:
    async with Wire(server.url).open() as wire:
        arguments = ["listen", "--url", wire.url, "--token", token("listener")]
        async with running(*AT_A_TERMINAL, *arguments) as listener:
            name, (ready, _) = shown(await listener.line("session.ready"))
            assert (ready["user"]["id"], ready["recovered"]) == ("listener", False)
            published = []
            for cut in range(2):
                before, during = f"before-{cut}", [f"during-{cut}-{number}" for number in range(20)]
                await server.publish({"user": "listener"}, id=before)
                await listener.line(before)
                published += [before, *during]
                wire.cut()
                for identifier in during:
                    await server.publish({"user": "listener"}, id=identifier)
                wire.is_cut = False
                name, (ready, _) = shown(await listener.line("session.ready"))
                assert (name, ready["recovered"], ready["reason"]) == ("session.ready", True, None)
                await listener.line(during[-1])
            events = map(shown, listener.lines)
            notifications = [arguments[0] for name, arguments in events if name == "notification.new"]
            assert [notification["id"] for notification in notifications] == published
            listener.send(signal.SIGINT)
            code, _, errors = await listener.ended()
            assert code == 130
            assert "synkrone-socket: connecting again" in errors


@pytest.mark.gen_test
async def test_who_ends_listen_in_the_moment_that_it_connects_is_heard(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected_to = socketio.AsyncClient._handle_connect

    async def end_then(library: socketio.AsyncClient, *arguments: Any) -> None:
        await connected_to(library, *arguments)
        listening.cancel()

    monkeypatch.setattr(socketio.AsyncClient, "_handle_connect", end_then)
    listening = asyncio.create_task(client.listen(server.url, token("42"), lambda *_: None, notify=lambda _: None))
    await asyncio.wait((listening,), timeout=PATIENCE)
    assert listening.cancelled()


@pytest.mark.gen_test
async def test_who_ends_listen_does_not_wait_for_the_last_word_of_a_server(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ready, for_ever = asyncio.Event(), asyncio.Event()

    async def wait(_: socketio.AsyncClient) -> None:
        await for_ever.wait()

    def show(name: str, _: object) -> None:
        if name == "session.ready":
            is_ready.set()

    monkeypatch.setattr(socketio.AsyncClient, "disconnect", wait)
    listening = asyncio.create_task(client.listen(server.url, token("42"), show, notify=lambda _: None))
    await is_ready.wait()
    listening.cancel()
    await asyncio.wait((listening,), timeout=PATIENCE)
    assert listening.cancelled()


@pytest.mark.gen_test(timeout=60)
async def test_listen_comes_back_to_a_server_that_has_forgotten(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        settings = {**ONE_SECRET, "SYNKRONE_PORT": str(free.getsockname()[1])}
    first = ServerProcess(tmp_path / "first", settings)
    second: ServerProcess | None = None
    try:
        first.wait_until_ready()
        # The address is that of the settings, as for the server.
        async with running(*AT_A_TERMINAL, "listen", "--token", token("42"), settings=settings) as listener:
            await listener.line("session.ready")
            await first.publish({"user": "42"}, id="of-the-first")
            await listener.line("of-the-first")
            first.kill()
            second = ServerProcess(tmp_path / "second", settings)
            second.wait_until_ready()
            _, (ready, _) = shown(await listener.line("session.ready"))
            assert (ready["recovered"], ready["reason"]) == (False, "unknown_epoch")
            await second.publish({"user": "42"}, id="of-the-second")
            await listener.line("of-the-second")
    finally:
        first.kill()
        if second is not None:
            second.kill()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ("nonsense", "synkrone-socket: invalid_token: The token is not valid.\n"),
        (token("42", ttl=-60), "synkrone-socket: token_expired: The token has expired.\n"),
    ],
    ids=["invalid", "expired"],
)
async def test_listen_ends_where_it_is_not_wanted(server: ServerProcess, bad: str, line: str) -> None:
    assert await run("listen", "--url", server.url, "--token", bad) == (1, "", line)


NO_SCHEME = "must begin with http:// or https://"
NO_SERVER = "must be the address of a server, such as https://notifications.example"
COMMANDS_WITH_A_URL: Mapping[str, Sequence[str]] = {
    "publish": ("--to", "everyone", "--type", "t"),
    "why": ("--user", "42"),
    "listen": ("--token", "x"),
    "doctor": (),
    "bench": (),
}


@pytest.mark.gen_test
@pytest.mark.parametrize("name", COMMANDS_WITH_A_URL)
async def test_an_address_that_none_can_have_is_a_wrong_argument(name: str) -> None:
    for wrong, why in (
        ("127.0.0.1:8000", NO_SCHEME),
        ("notifications.example", NO_SCHEME),
        ("ws://127.0.0.1:8000", NO_SCHEME),
        ("http://", NO_SERVER),
        ("http://127.0.0.1:port", NO_SERVER),
        ("http://127.0.0.1:99999", NO_SERVER),
        ("http://[::1", NO_SERVER),
        ("http://127.0.0.1 8000", NO_SERVER),
        ("http://127.0.0.1:8000/?a=b", NO_SERVER),
    ):
        code, output, errors = await run(name, *COMMANDS_WITH_A_URL[name], "--url", wrong)
        assert (code, output, errors.splitlines()[-1]) == (
            2, "", f"synkrone-socket {name}: error: argument --url: {why}",
        ), wrong  # fmt: skip


@pytest.mark.gen_test
async def test_an_origin_that_no_page_has_is_a_wrong_argument() -> None:
    for wrong, why in (
        ("app.example", "must begin with a scheme, as in https://app.example"),
        ("https://app.example/", "must be an origin such as https://app.example, with no path"),
    ):
        code, output, errors = await run("doctor", "--url", "http://127.0.0.1:1", "--origin", wrong)
        assert (code, output, errors.splitlines()[-1]) == (
            2, "", f"synkrone-socket doctor: error: argument --origin: {why}",
        )  # fmt: skip


@pytest.mark.gen_test
async def test_listen_says_why_it_cannot_connect_and_tries_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    said: list[str] = []
    listening = asyncio.create_task(client.listen(url, "of-a-user", lambda *_: None, notify=said.append))
    try:
        await eventually(lambda: len(said) >= 3, within=PATIENCE)
    finally:
        listening.cancel()
    assert said[:3] == [f"cannot connect: {NOTHING_LISTENS}", "connecting again", f"cannot connect: {NOTHING_LISTENS}"]


@pytest.mark.gen_test
async def test_listen_ends_where_the_certificate_cannot_be_verified(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    tls = {
        "SYNKRONE_TLS__CERT": str(certificate.cert),
        "SYNKRONE_TLS__KEY": str(certificate.key),
    }
    server = ServerProcess(tmp_path / "server", ONE_SECRET | tls, ca=certificate.cert)
    try:
        server.wait_until_ready()
        url = f"https://127.0.0.1:{server.port}"
        assert await run("listen", "--url", url, "--token", token("42")) == (
            1,
            "",
            (
                f"synkrone-socket: the certificate of {url} cannot be verified: self-signed certificate: "
                "have the server use a good one, or name its authority in SSL_CERT_FILE\n"
            ),
        )
        trusting = ONE_SECRET | {"SSL_CERT_FILE": str(certificate.cert)}
        async with running(*AT_A_TERMINAL, "listen", "--url", url, "--token", token("42"), settings=trusting) as good:
            await good.line("session.ready")
    finally:
        server.kill()


@pytest.mark.gen_test
async def test_check_config(tmp_path: Path) -> None:
    ports = port_to_keep(), port_to_keep()
    settings = ONE_SECRET | {"SYNKRONE_PORT": str(ports[0])}
    async with running(*AT_A_TERMINAL, "check-config", settings=settings) as command:
        code, output, errors = await command.ended()
        assert (code, errors) == (0, "")
        first, second = output.splitlines()[:2]
        assert first == f"The settings are good: serve would listen on 127.0.0.1:{ports[0]}."
        assert re.fullmatch(r"Settings file: there is no file /.+/synkrone\.toml", second)
        assert command.left_behind() == []
    config = tmp_path / "a file.toml"
    config.write_text(f"port = {ports[1]}\n")
    output = (await run("check-config", "--config", str(config)))[1]
    assert f"127.0.0.1:{ports[1]}" in output
    assert f"Settings file: {config}\n" in output
    internal = f"http://127.0.0.1:{port_to_keep()}"
    key = {"name": "ann", "key": "a key of an operator, of 32 characters", "scopes": ["admin"]}
    operated = settings | {
        "SYNKRONE_INTERNAL__PORT": internal.rpartition(":")[2],
        "SYNKRONE_INTERNAL__OPS": "true",
        "SYNKRONE_API__KEYS": json.dumps([key]),
    }
    output = (await run("check-config", settings=operated))[1]
    assert output.splitlines()[2:] == [f"Internal listener: {internal}", f"Operator's page: {internal}/ops"]
    said = json.loads((await run("check-config", "--json", settings=operated))[1])
    assert (said["internal_url"], said["ops_url"]) == (internal, f"{internal}/ops")


@pytest.mark.gen_test(timeout=40)
async def test_check_config_beside_a_running_server_and_what_it_does_not_try(server: ServerProcess) -> None:
    settings = {
        "SYNKRONE_AUTH__SECRET": SECRET,
        "SYNKRONE_PORT": str(server.port),
        "SYNKRONE_STORE": f"sqlite:///{server.directory}/synkrone.db",
        "SYNKRONE_SOURCE__URL": "https://feed.example/?key=private",
        "SYNKRONE_RETENTION__INBOX": "1d",
        "SYNKRONE_SERVICE_HOST": "10.0.0.1",
    }
    code, output, errors = await run("check-config", settings=settings)
    assert (code, errors) == (0, "")
    assert output.splitlines()[2:] == [
        "Note: not settings, but of an orchestrator, and ignored: SYNKRONE_SERVICE_HOST",
        "Note: SYNKRONE_RETENTION__INBOX was raised to 30d, as items stay no shorter than in the log (retention.log)",
        (f"Note: 127.0.0.1:{server.port} is in use by a server that runs: another one would not start beside it"),
        f"Note: {server.directory}/synkrone.db is in use by a server that runs",
        "Not tried: the feed of source.url.",
    ]
    # It is as well as before.
    await server.publish({"user": "42"})


@pytest.mark.gen_test(timeout=40)
async def test_check_config_asks_the_key_servers_and_says_what_they_do_not_give() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with KeyServer() as key_server:
        good, bad, none = (key_server.url(path) for path in ("/good", "/bad", "/none"))
        key_server.documents["/good"] = jwks(public_jwk(key_for("RS256")), {"kty": "oct", "k": "c2VjcmV0"})
        key_server.documents["/bad"] = b"<!doctype html>"
        issuers = [
            {"issuer": f"issuer-{index}", "user_prefix": f"{index}-", "jwks": url}
            for index, url in enumerate((good, bad, none, f"{closed}/keys"))
        ]
        settings = {"SYNKRONE_PORT": "0", "SYNKRONE_AUTH__ISSUERS": json.dumps(issuers)}
        code, output, errors = await run("check-config", settings=settings)
    assert (code, errors) == (0, "")
    would = "It would start, and believe no token of this issuer until it can: SYNKRONE_AUTH__ISSUERS"
    assert output.splitlines()[2:] == [
        f"Note: some keys of {good} are not used: keys[1] is a shared secret, which has no place among public keys",
        f"{would}[1].jwks: the keys of {bad} cannot be had: is not JSON in UTF-8",
        f"{would}[2].jwks: the keys of {none} cannot be had: the answer has status 404",
        f"{would}[3].jwks: the keys of {closed}/keys cannot be had: the connection failed (ClientConnectorError)",
    ]


@pytest.mark.gen_test
async def test_help_and_version() -> None:
    code, output, errors = await run("--help")
    assert (code, errors) == (0, "")
    for command in ("serve", "demo", "token", "publish", "listen", "check-config"):
        assert re.search(rf"^    {command}\s+\w", output, re.MULTILINE), command
    code, output, _ = await run("serve", "--help")
    assert code == 0
    assert "--config" in output
    code, output, _ = await run("--version")
    assert code == 0
    assert re.fullmatch(r"synkrone-socket (\d+\.\d+\.\d+|\(not installed\))\n", output)


@pytest.mark.gen_test(timeout=40)
async def test_serve_until_it_is_told_to_stop() -> None:
    async with running(*AT_A_TERMINAL, "serve", settings={**ONE_SECRET, "SYNKRONE_PORT": "0"}) as command:
        line = await command.line("listening")
        async with http_session() as session:
            await connected(await WebSocketPeer.open(session, line.rpartition(" ")[2]), token("42"))
            command.send(signal.SIGTERM)
            assert (await command.ended())[0] == 0


@pytest.mark.gen_test(timeout=40)
async def test_the_demo_shows_who_got_what() -> None:
    # Whatever is set for a real server does not matter to it.
    async with running(*AT_A_TERMINAL, "demo", "--once", settings={"SYNKRONE_PORT": "nonsense"}) as command:
        code, output, errors = await command.ended()
    assert (code, errors) == (0, "")
    got = re.findall(r"^   -> user (\d+) \((\w+)\) got ([a-z.]+): ", output, re.MULTILINE)
    freelance, company = ("42", "freelance"), ("43", "company")
    assert sorted(got[:3]) == sorted(
        [(*freelance, "mission.assigned"), (*company, "invoice.paid"), (*company, "plan.changed")]
    )
    assert sorted(got[3:5]) == [(*freelance, "maintenance.planned"), (*company, "maintenance.planned")]
    # While one of them was cut off.
    assert got[5:] == [(*freelance, "message.received")]
    assert output.endswith("The demo has ended.\n")


@pytest.mark.gen_test(timeout=40)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_goes_on_until_it_is_interrupted(number: signal.Signals) -> None:
    async with running(*AT_A_TERMINAL, "demo", "--terminal") as command:
        await command.line("Round 1")
        await command.line("got maintenance.planned")
        command.send(number)
        code, rest, errors = await command.ended()
    assert (code, errors) == (0, "")
    assert rest.endswith("The demo has ended.\n")


BROKEN_DEMO = """
import sys
from domain.delivery.live_outlets import LiveOutlets
from domain.model import EVERYONE, Room
from entrypoints.demo import terminal as demo

demo.ARRIVAL_TIMEOUT = 2.0
good = LiveOutlets._in
def broken(self, rooms, offset):
    return {broken}
LiveOutlets._in = broken
sys.exit(demo.main(once=True))
"""


@pytest.mark.gen_test(timeout=40)
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("good(self, frozenset((EVERYONE,)), offset)", r"WRONG: user 43 got mission\.assigned, which was for"),
        (
            "good(self, rooms if Room('role:company') not in rooms else frozenset((Room('nobody'),)), offset)",
            r"plan\.changed did not reach 43",
        ),
    ],
    ids=["to everyone", "to nobody"],
)
async def test_the_demo_fails_where_somebody_gets_what_is_not_theirs(broken: str, says: str) -> None:
    async with running("-c", BROKEN_DEMO.format(broken=broken)) as command:
        code, _, errors = await command.ended()
    assert code == 1
    assert re.search(says, errors)
