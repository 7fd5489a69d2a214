"""What the server listens on, and who is let wait there."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from adapters.http.binding import bind
from adapters.http.service import Stage
from entrypoints.server import Server, open_server
from entrypoints.settings import SettingsError, validate_settings
from tests.e2e.certificates import make_certificate
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session
from tests.in_time import in_time
from tests.integration.http_wire import on_both_loops
from tests.serving import SECRET, eventually, publish, serving, token

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
MASS = 300
"""More than Tornado leaves place for, and less than systems allow."""

NO_FILES = "memory://"
"""A store that opens no descriptors while those of sockets are counted."""

HALF_A_HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
HALF_A_BODY = (
    b"POST /v1/inbox/read HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 10\r\n\r\nhalf"
)
HALF_A_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01"


def address(server: Server) -> tuple[str, int]:
    host, port = server.url.rpartition("//")[2].rsplit(":", 1)
    return host.strip("[]"), int(port)


def heads_awaited(server: Server) -> bool:
    return any(server.listener._waiting[stage] for stage in (Stage.FIRST_HEAD, Stage.NEXT_HEAD, Stage.REST_OF_HEAD))


def open_descriptors() -> int:
    """Without the one that uvloop opens with its first connection, and keeps."""
    with os.scandir("/proc/self/fd") as entries:
        opened = [Path(entry.path).readlink() for entry in entries if os.path.lexists(entry.path)]
    return sum(target != Path(os.devnull) for target in opened)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection."""
    try:
        return await in_time(reader.read(), 5)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("octets", [b"", HALF_A_HEAD, HALF_A_BODY], ids=["nothing", "head", "body"])
@on_both_loops
async def test_half_a_request_is_given_up_after_its_time(octets: bytes) -> None:
    async with serving(store=NO_FILES, limits={"request_timeout": "1s"}) as server:
        before = open_descriptors()
        reader, writer = await asyncio.open_connection(*address(server))
        started = time.monotonic()
        writer.write(octets)
        assert await ended(reader) == b""
        assert 0.9 <= time.monotonic() - started < 4
        writer.close()
        await eventually(lambda: open_descriptors() <= before)


@on_both_loops
async def test_half_a_tls_handshake_is_given_up_after_its_time(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    tls = {"cert": str(certificate.cert), "key": str(certificate.key)}
    async with serving(store=NO_FILES, limits={"request_timeout": "1s"}, tls=tls) as server:
        before = open_descriptors()
        reader, writer = await asyncio.open_connection(*address(server))
        started = time.monotonic()
        writer.write(HALF_A_HANDSHAKE)
        await ended(reader)
        assert 0.9 <= time.monotonic() - started < 4
        writer.close()
        await eventually(lambda: open_descriptors() <= before)
        trust = ssl.create_default_context(cafile=certificate.cert)
        async with http_session() as session, session.get(f"{server.url}/health/live", ssl=trust) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("octets", [b"", b"hello"], ids=["nothing", "something"])
@on_both_loops
async def test_who_leaves_before_the_tls_handshake_is_no_defect(
    octets: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = make_certificate(tmp_path)
    tls = {"cert": str(certificate.cert), "key": str(certificate.key)}
    async with serving(store=NO_FILES, tls=tls) as server:
        before = open_descriptors()
        for _ in range(5):
            with socket.create_connection(address(server)) as client:
                client.sendall(octets)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Those that came before this one have been seen when it is answered.
        trust = ssl.create_default_context(cafile=certificate.cert)
        async with http_session() as session, session.get(f"{server.url}/health/live", ssl=trust) as answer:
            assert answer.status == 200
        await eventually(lambda: open_descriptors() <= before)
        assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("octets", [b"", HALF_A_HEAD, HALF_A_BODY], ids=["nothing", "head", "body"])
@on_both_loops
async def test_at_the_limit_of_connections_who_asks_for_something_gets_in(
    octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server, http_session() as session:
        live = await WebSocketPeer.open(session, server.url)
        await connected(live, token("42"))
        object.__setattr__(server.listener._limits, "connections", 10)
        silent = [await asyncio.open_connection(*address(server)) for _ in range(30)]
        for _, writer in silent:
            writer.write(octets)
        if octets == HALF_A_BODY:
            await eventually(lambda: not heads_awaited(server))
        for _ in range(5):
            async with (
                aiohttp.ClientSession() as other,
                other.get(f"{server.url}/health/live", headers={"Connection": "close"}) as answer,
            ):
                assert answer.status == 200
        # The oldest of the silent ones made place, and nobody else.
        assert await ended(silent[0][0]) == b""
        assert not silent[-1][0].at_eof()
        status, _ = await publish(session, server.url, {"to": {"user": "42"}, "type": "t"})
        assert status == 201
        assert event(await live.next())[0] == "notification.new"
        for _, writer in silent:
            writer.close()
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
            "too many connections"
        ]


@on_both_loops
async def test_at_the_limit_of_connections_who_is_served_stays_and_newcomers_go_at_once() -> None:
    async with serving() as server, http_session() as session:
        live = await WebSocketPeer.open(session, server.url)
        await connected(live, token("42"))
        object.__setattr__(server.listener._limits, "connections", 1)
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*address(server))
            assert await ended(reader) == b""
            writer.close()
        object.__setattr__(server.listener._limits, "connections", 10)
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t"})
        assert event(await live.next())[0] == "notification.new"


@on_both_loops
async def test_without_descriptors_it_pauses_says_so_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server, http_session() as session:
        calls = 0

        class Exhausted:
            def fileno(self) -> int:
                return listening.fileno()

            def accept(self) -> Any:
                nonlocal calls
                calls += 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        (listening,) = server._sockets
        exhausted: Any = Exhausted()
        monkeypatch.setattr("adapters.http.listening.PAUSE_SECONDS", (0.2, 0.3))
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.add_reader(listening.fileno(), server.listener._accept, exhausted)
        waiting = asyncio.create_task(session.get(f"{server.url}/health/live"))
        await eventually(lambda: calls >= 3, within=5)
        assert calls < 20
        assert [record.getMessage() for record in caplog.records] == ["cannot accept connections"]
        exhausted.__class__.accept = lambda _self: listening.accept()
        async with await in_time(waiting, 5) as answer:
            assert answer.status == 200


@on_both_loops
async def test_a_mass_of_clients_finds_place_to_wait() -> None:
    async with serving() as server:
        # Nobody accepts while this loop does not turn: all of them wait in the backlog.
        clients = [socket.socket() for _ in range(MASS)]
        for client in clients:
            client.settimeout(0.5)
            client.connect(address(server))
        for client in clients:
            client.close()


@on_both_loops
async def test_who_asks_on_and_on_and_reads_no_answer_is_gone_in_time() -> None:
    requests = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 200_000
    async with serving(store=NO_FILES, limits={"ping_interval": "1s", "ping_timeout": "1s"}) as server:
        before = open_descriptors()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, address(server))
            asking = asyncio.create_task(loop.sock_sendall(client, requests))
            await eventually(lambda: open_descriptors() == before + 2, within=5)
            await eventually(lambda: open_descriptors() <= before + 1, within=20)
            with pytest.raises(OSError, match=r"reset|[Bb]roken|timed out"):
                await asking


async def assert_served(session: aiohttp.ClientSession, url: str, transports: list[str]) -> None:
    """That the stock client connects by these transports, and gets what is published."""
    received: asyncio.Queue[str] = asyncio.Queue()
    client = socketio.AsyncClient(http_session=session, reconnection=False)
    client.on("session.ready", lambda *_: received.put_nowait("ready"))
    client.on("notification.new", lambda notification, _cursor: received.put_nowait(notification["title"]))
    await client.connect(url, auth={"token": token("42")}, transports=transports)
    assert await in_time(received.get(), 5) == "ready"
    await publish(session, url, {"to": {"user": "42"}, "type": "t", "title": "hello"})
    assert await in_time(received.get(), 5) == "hello"
    await client.disconnect()


TRANSPORTS = pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="-".join)


@TRANSPORTS
@on_both_loops
async def test_a_stock_client_over_ipv6(transports: list[str]) -> None:
    async with serving(host="::1") as server, aiohttp.ClientSession() as session:
        assert server.url.startswith("http://[::1]:")
        await assert_served(session, server.url, transports)


@TRANSPORTS
@on_both_loops
async def test_a_stock_client_over_tls(transports: list[str], tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=certificate.cert)
    async with (
        serving(tls={"cert": str(certificate.cert), "key": str(certificate.key)}) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
    ):
        await assert_served(session, server.url, transports)


@BOTH
@on_both_loops
async def test_a_client_over_tls(peer_class: Any, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    trust = ssl.create_default_context(cafile=certificate.cert)
    tls = {"cert": str(certificate.cert), "key": str(certificate.key)}
    async with serving(tls=tls) as server, http_session(aiohttp.TCPConnector(ssl=trust)) as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        body = "x" * 60_000
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "body": body})
        assert event(await peer.next())[1][0]["body"] == body


@TRANSPORTS
@on_both_loops
async def test_a_stock_client_over_a_unix_socket(transports: list[str], tmp_path: Path) -> None:
    path = tmp_path / "synkrone.sock"
    async with (
        serving(host=f"unix:{path}") as server,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        assert server.url == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o660
        await assert_served(session, "http://localhost", transports)
    assert not path.exists()


@on_both_loops
async def test_whose_word_counts_over_a_unix_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for trusted, address_logged in (([], "unix"), (["unix"], "203.0.113.7")):
        path = tmp_path / f"{address_logged}.sock"
        async with (
            serving(host=f"unix:{path}", trusted_proxies=trusted),
            http_session(aiohttp.UnixConnector(str(path))) as session,
        ):
            peer = await WebSocketPeer.open(session, "http://localhost", **{"X-Forwarded-For": "203.0.113.7"})
            caplog.set_level("INFO", "synkrone")
            await connected(peer, token("42"))
            (record,) = [record for record in caplog.records if record.getMessage() == "connected"]
            assert vars(record)["address"] == address_logged
            caplog.clear()


def file_at(path: Path) -> tuple[int, ...] | None:
    """What stays the same of a file that is left alone. A connection to a socket counts as an access."""
    if not path.exists():
        return None
    seen = path.lstat()
    return seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


NO_FOLDER = "No such file or directory: make its folder first, or name another path"
IN_USE = "Address already in use: stop what listens there, or name another path"
IN_THE_WAY = "File exists: a file is in the way: move it, or name another path"


def refusal_to_listen_at(path: Path) -> str:
    """Why a server does not start there, having checked that it left the file alone."""
    before = file_at(path)
    with pytest.raises(SettingsError) as error:
        open_server(validate_settings({"host": f"unix:{path}", "auth": {"secret": SECRET}}))
    assert file_at(path) == before
    beginning = f"host: cannot listen on unix:{path}: "
    assert str(error.value).startswith(beginning)
    return str(error.value).removeprefix(beginning)


@on_both_loops
async def test_the_socket_of_a_server_that_was_killed_is_replaced_and_of_one_that_lives_is_not(tmp_path: Path) -> None:
    path = tmp_path / "synkrone.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(host=f"unix:{path}"), http_session(aiohttp.UnixConnector(str(path))) as session:
        assert refusal_to_listen_at(path) == IN_USE
        async with session.get("http://localhost/health/live") as answer:
            assert answer.status == 200


def test_a_port_that_is_taken_is_refused_and_leaves_nothing_open() -> None:
    with bind("localhost", 0)[0] as taken:
        port = taken.getsockname()[1]
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(OSError, match="Address already in use"):
            bind(taken.getsockname()[0], port)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_all_addresses_of_a_host_have_one_port() -> None:
    listening = bind("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in listening}) == 1
    finally:
        for sock in listening:
            sock.close()


@on_both_loops
async def test_a_server_that_is_too_busy_to_accept_lives(tmp_path: Path) -> None:
    path = tmp_path / "synkrone.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        assert refusal_to_listen_at(path) == IN_USE


@on_both_loops
async def test_paths_where_no_socket_can_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    assert refusal_to_listen_at(file) == IN_THE_WAY
    assert refusal_to_listen_at(tmp_path) == IN_THE_WAY
    assert refusal_to_listen_at(tmp_path / "nowhere" / "synkrone.sock") == NO_FOLDER
    assert refusal_to_listen_at(tmp_path / ("x" * 120)) == "AF_UNIX path too long: name another path"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "log"))
        assert refusal_to_listen_at(tmp_path / "log") == "Protocol wrong type for socket: name another path"
