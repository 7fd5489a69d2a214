"""A listener that ends while others go on with its sockets: nobody who comes is lost, and nobody stays."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.http_wire import Recorder, Wire, echo, on_both_loops
from tests.listening import Port, on_port
from tests.serving import eventually

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
COMERS = 20


@asynccontextmanager
async def two_on_one_socket() -> AsyncIterator[tuple[Port, Recorder, Recorder]]:
    """The one that is to leave, and what both are asked."""
    one, other = Recorder(echo), Recorder(echo)
    listening = socket.create_server(("127.0.0.1", 0), backlog=COMERS)
    with listening:
        async with on_port({"/": one}, given=listening.dup()) as leaving, on_port({"/": other}, given=listening.dup()):
            yield leaving, one, other


@on_both_loops
async def test_who_comes_is_served_by_the_others_from_then_on() -> None:
    async with two_on_one_socket() as (leaving, one, other):
        leaving.listener.leave()
        for _ in range(COMERS):
            wire = await Wire.open(leaving)
            wire.send(REQUEST)
            assert (await wire.answer()).status == 200
        assert len(one.lines) == 0
        assert len(other.lines) == COMERS


@on_both_loops
async def test_who_waits_in_the_queue_is_served_by_another_that_comes_later() -> None:
    one, other = Recorder(echo), Recorder(echo)
    with socket.create_server(("127.0.0.1", 0), backlog=COMERS) as listening:
        async with on_port({"/": one}, given=listening.dup()) as leaving:
            leaving.listener.leave()
            wire = await Wire.open(leaving)
            wire.send(REQUEST)
            assert await wire.says_nothing()
        async with on_port({"/": other}, given=listening.dup()):
            assert (await wire.answer()).status == 200
    assert len(other.lines) == 1


@on_both_loops
async def test_a_kept_connection_is_answered_once_more_and_closed() -> None:
    async with on_port({"/": Recorder(echo)}) as port:
        wire = await Wire.open(port)
        wire.send(REQUEST)
        assert "connection" not in (await wire.answer()).headers
        port.listener.leave()
        wire.send(REQUEST)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.closes()


@on_both_loops
async def test_those_who_ask_nothing_are_closed_and_those_who_are_asking_are_not() -> None:
    async with on_port({"/": Recorder(echo)}) as port:
        idle, asking = await Wire.open(port), await Wire.open(port)
        for wire in (idle, asking):
            wire.send(REQUEST)
            await wire.answer()
        asking.send(REQUEST[:10])
        await eventually(lambda: port.listener.is_asked)
        port.listener.leave()
        port.listener.close_idle()
        assert await idle.closes()
        assert port.listener.is_asked
        asking.send(REQUEST[10:])
        assert (await asking.answer()).status == 200
        assert not port.listener.is_asked


@on_both_loops
async def test_the_path_of_a_given_unix_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "given.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        port = Port({"/": Recorder(echo)}, given=listening.dup())
        port.listener.start()
        await port.listener.close()
        assert path.is_socket()
