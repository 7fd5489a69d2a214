"""What adapters/transport/socketio/library.py relies on in python-socketio beyond its documentation.

Where one of these fails with a new version of the library, library.py is the one module to change.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import socketio
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.transport.socketio.library import NAMESPACE, RoomManager, SocketIoServer, run_through
from adapters.transport.socketio.packet import StrictPacket

LIBRARY = f"python-socketio {version('python-socketio')}"

USED_OF_THE_ENGINE = {"on", "generate_id", "send", "async_mode", "handlers"}


class Engine:
    """What the server is to the library: it notes what was sent, and when a connection was reported."""

    def __init__(self) -> None:
        self.happened: list[str] = []

    def new_sid(self) -> str:
        return f"sid-{len(self.happened)}-{id(self)}"

    def send_text(self, _engine_sid: str, text: str) -> None:
        self.happened.append(text)

    def connect_sent(self, _sid: str) -> None:
        self.happened.append("connect_sent")


def server_and_engine(connect: Callable[..., Any] | None = None) -> tuple[SocketIoServer, Engine]:
    async def on_connect(_sid: str, _environ: object, _auth: object = None) -> None:
        return None

    async def on_event(*_arguments: object) -> dict[str, object]:
        return {"ok": True}

    engine = Engine()
    server = SocketIoServer(engine)
    server.on("connect", connect or on_connect, namespace=NAMESPACE)
    server.on("*", on_event, namespace=NAMESPACE)
    return server, engine


def test_the_server_gets_its_engine_where_we_give_it() -> None:
    server, _ = server_and_engine()
    assert server.eio is server._engine, f"{LIBRARY} does not take its engine from _engineio_server_class() any more"
    assert server.packet_class is StrictPacket, f"{LIBRARY} does not use the class given as serializer"
    assert server.async_handlers is False, f"{LIBRARY} would start a task for every event"


@pytest.mark.gen_test
async def test_nothing_else_of_the_engine_is_used_by_what_we_have_the_library_do() -> None:
    used: set[str] = set()
    server, _ = server_and_engine()

    class Spy:
        def __getattr__(self, name: str) -> Any:
            used.add(name)
            return getattr(server._engine, name)

    server.eio = Spy()
    server.opened("e", object())
    for packet in ('0{"token":"t"}', '27["x",1]', "0/unknown", "1"):
        await server.receive("e", packet)
    server.closed("e", "gone")
    assert used <= USED_OF_THE_ENGINE, f"{LIBRARY} uses {sorted(used - USED_OF_THE_ENGINE)} of its engine too"


@pytest.mark.gen_test
async def test_a_connection_is_reported_right_after_its_connect_packet() -> None:
    server, engine = server_and_engine()
    server.opened("e", object())
    await server.receive("e", "0{}")
    packet, reported = engine.happened
    assert packet.startswith('0{"sid":'), f"{LIBRARY} answers CONNECT with {packet!r}"
    assert reported == "connect_sent", f"{LIBRARY} does not call the manager's connect() after the CONNECT packet"


@pytest.mark.gen_test
async def test_acks_and_refusals_are_what_they_were() -> None:
    async def refuse(_sid: str, _environ: object, _auth: object = None) -> None:
        raise socketio.exceptions.ConnectionRefusedError("why", {"code": "x"})

    server, engine = server_and_engine()
    server.opened("e", object())
    await server.receive("e", "0")
    engine.happened.clear()
    await server.receive("e", '27["x",1]')
    assert engine.happened == ['37[{"ok":true}]'], f"{LIBRARY} acknowledges otherwise"
    server, engine = server_and_engine(refuse)
    server.opened("e", object())
    await server.receive("e", "0")
    expected = '4{"message":"why","data":{"code":"x"}}'
    assert engine.happened == [expected], f"{LIBRARY} refuses otherwise"
    assert not server.manager.rooms, f"{LIBRARY} keeps who was refused"


@pytest.mark.gen_test
async def test_opening_closing_and_ending_wait_for_nothing() -> None:
    for end in ("closed", "end"):
        server, engine = server_and_engine()
        server.opened("e", "environ")
        await server.receive("e", "0")
        sid = server.manager.sid_from_eio_sid("e", NAMESPACE)
        engine.happened.clear()
        if end == "end":
            server.end(sid)
            assert engine.happened == ["1"], f"{LIBRARY} ends a connection otherwise"
        server.closed("e", "gone")
        assert not server.environ, f"{LIBRARY} keeps the environ of who is gone"
        assert not server.manager.rooms, f"{LIBRARY} keeps the rooms of who is gone"


def test_what_waits_after_all_is_an_error_that_names_the_module() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match=r"library\.py"):
        run_through(waits())


def test_the_methods_we_replace_are_still_called_as_they_were() -> None:
    for name, parameters in (
        ("basic_enter_room", ["self", "sid", "namespace", "room", "eio_sid"]),
        ("basic_leave_room", ["self", "sid", "namespace", "room"]),
        ("basic_disconnect", ["self", "sid", "namespace", "kwargs"]),
        ("connect", ["self", "sid", "namespace"]),
    ):
        signature = list(inspect.signature(getattr(socketio.AsyncManager, name)).parameters)
        assert signature == parameters, f"{LIBRARY}: {name} takes {signature}"


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["connect", "finish", "enter", "leave", "begin to end", "end"]),
        st.integers(0, 3),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=40,
)


def managers() -> tuple[socketio.AsyncManager, socketio.AsyncManager]:
    both = (socketio.AsyncManager(), RoomManager(lambda _sid: None))
    for manager in both:
        server = socketio.AsyncServer(client_manager=manager)
        server.eio.generate_id = iter(f"sid-{number}" for number in range(1000)).__next__
    return both


@given(OPERATIONS)
@settings(deadline=None)
def test_rooms_are_what_the_stock_manager_has(operations: list[tuple[str, int, str]]) -> None:
    stock, ours = managers()
    connected: dict[int, str] = {}

    async def story() -> None:
        for kind, number, room in operations:
            sid = connected.get(number)
            if kind == "connect" and sid is None:
                connected[number], other = [await manager.pre_connect(f"e{number}", "/") for manager in (stock, ours)]
                assert connected[number] == other
            elif sid is not None:
                for manager in (stock, ours):
                    if kind == "finish" and manager.is_pre_connected(sid, "/"):
                        await manager.connect(sid, "/")
                    elif kind == "enter":
                        await manager.enter_room(sid, "/", room)
                    elif kind == "leave":
                        await manager.leave_room(sid, "/", room)
                    elif kind == "begin to end":
                        manager.pre_disconnect(sid, "/")
                    elif kind == "end":
                        await manager.disconnect(sid, "/")
                if kind == "end":
                    del connected[number]
            for name in ("rooms", "callbacks", "pending_connect", "pending_disconnect"):
                assert getattr(ours, name) == getattr(stock, name), f"{LIBRARY} keeps {name} otherwise"
        assert set(ours._rooms_of) == set(connected.values())

    asyncio.run(story())


@pytest.mark.gen_test
async def test_leaving_looks_at_the_rooms_one_is_in_and_no_others() -> None:
    looked_at = 0

    class Rooms(dict[Any, Any]):
        def copy(self) -> Any:
            nonlocal looked_at
            looked_at += len(self)
            return super().copy()

        def items(self) -> Any:
            nonlocal looked_at
            looked_at += len(self)
            return super().items()

    _, manager = managers()
    sids = [await manager.pre_connect(f"e{number}", "/") for number in range(100)]
    manager.rooms["/"] = Rooms(manager.rooms["/"])
    for sid in sids:
        await manager.disconnect(sid, "/")
    assert looked_at == 0
    assert not manager.rooms
