"""What adapters/transport/socketio/library.py relies on in python-socketio beyond its documentation.

Where one of these fails with a new version of the library, library.py is the one module to change.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any
from unittest.mock import AsyncMock

import engineio
import pytest
import socketio
from hypothesis import given
from hypothesis import strategies as st

from adapters.transport.socketio.library import NAMESPACE, RoomManager, SocketIoServer, run_through
from adapters.transport.socketio.packet import StrictPacket

LIBRARY = f"python-socketio {version('python-socketio')}"

USED_OF_THE_ENGINE = {"on", "generate_id", "send", "async_mode"}


class Engine:
    """What the server is to the library: it notes what was sent, and what was reported when."""

    def __init__(self) -> None:
        self.happened: list[object] = []
        self.events: list[tuple[str, int | None, str, list[object]]] = []

    def new_sid(self) -> str:
        return f"sid-{len(self.happened)}-{id(self)}"

    def send_text(self, _engine_sid: str, text: str) -> None:
        self.happened.append(text)

    def pid_of(self, sid: str) -> str:
        return f"pid of {sid}"

    def connect_sent(self, _sid: str) -> None:
        self.happened.append("connect_sent")

    def event_received(self, sid: str, ack: int | None, event: str, arguments: Sequence[object]) -> None:
        self.happened.append("event_received")
        self.events.append((sid, ack, event, list(arguments)))


def server_and_engine(connect: Callable[..., Any] | None = None) -> tuple[SocketIoServer, Engine]:
    async def on_connect(_sid: str, _environ: object, _auth: object = None) -> None:
        return None

    engine = Engine()
    server = SocketIoServer(engine)
    server.on("connect", connect or on_connect, namespace=NAMESPACE)
    return server, engine


def test_the_server_gets_its_engine_where_we_give_it() -> None:
    server, _ = server_and_engine()
    assert server.eio is server._engine, f"{LIBRARY} does not take its engine from _engineio_server_class() any more"
    assert server.packet_class is StrictPacket, f"{LIBRARY} does not use the class given as serializer"
    assert server.async_handlers is False, f"{LIBRARY} would start a task for every event"


class SpiedServer(SocketIoServer):
    """Notes what the library asks of its engine, from the first moment on, and answers what ours has not."""

    def __init__(self, engine: Engine) -> None:
        self.used: set[str] = set()
        super().__init__(engine)

    def _engineio_server_class(self) -> Callable[..., Any]:
        used, ours = self.used, self._engine

        class Spy:
            def __getattr__(self, name: str) -> Any:
                used.add(name)
                return getattr(ours, name, AsyncMock())

        return lambda **_options: Spy()


async def everything_we_have_it_do(server: SocketIoServer) -> None:
    async def connect(_sid: str, _environ: object, auth: object = None) -> None:
        if auth is None:
            raise socketio.exceptions.ConnectionRefusedError("why")

    async def disconnect(_sid: str, _reason: str) -> None:
        return None

    server.on("connect", connect, namespace=NAMESPACE)
    server.on("disconnect", disconnect, namespace=NAMESPACE)
    for engine_sid, packets in {
        "refused": ["0"],
        "left": ['0{"token":"t"}', '2["x"]', '27["x",1]', "0/unknown,", "0{}", "1"],
        "cut": ['0{"token":"t"}'],
        "ended": ['0{"token":"t"}'],
        "silent": [],
    }.items():
        server.opened(engine_sid, object())
        for packet in packets:
            await server.receive(engine_sid, packet)
        sid = server.manager.sid_from_eio_sid(engine_sid, NAMESPACE)
        if sid is not None:
            await server.enter_room(sid, "room")
        if engine_sid == "ended":
            server.end(sid)
        server.closed(engine_sid, "gone")


@pytest.mark.gen_test
async def test_this_much_of_the_engine_is_used_and_no_more() -> None:
    server = SpiedServer(Engine())
    await everything_we_have_it_do(server)
    more, less = server.used - USED_OF_THE_ENGINE, USED_OF_THE_ENGINE - server.used
    assert not more, f"{LIBRARY} uses {sorted(more)} of its engine too"
    assert not less, f"{LIBRARY} does not use {sorted(less)} of its engine any more"


@pytest.mark.gen_test
async def test_every_packet_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[type] = []
    initialize = socketio.packet.Packet.__init__

    def noting(self: Any, *arguments: Any, **options: Any) -> None:
        made.append(type(self))
        initialize(self, *arguments, **options)

    monkeypatch.setattr(socketio.packet.Packet, "__init__", noting)
    await everything_we_have_it_do(SpiedServer(Engine()))
    assert len(made) > 10, f"{LIBRARY} makes its packets elsewhere"
    assert set(made) == {StrictPacket}, f"{LIBRARY} makes packets of {set(made)}"


@pytest.mark.gen_test
async def test_a_connection_is_reported_right_after_its_connect_packet() -> None:
    server, engine = server_and_engine()
    server.opened("e", object())
    await server.receive("e", "0{}")
    packet, *reported = engine.happened
    assert str(packet).startswith('0{"sid":'), f"{LIBRARY} answers CONNECT with {packet!r}"
    assert reported == ["connect_sent"], f"{LIBRARY} does not call the manager's connect() after the CONNECT packet"


@pytest.mark.gen_test
async def test_connect_packets_get_the_pid_and_others_stay_what_they_are() -> None:
    server, engine = server_and_engine()
    server.opened("e", object())
    await server.receive("e", "0{}")
    sid = server.manager.sid_from_eio_sid("e", NAMESPACE)
    packet = str(engine.happened[0])
    sent = {"sid": sid, "pid": f"pid of {sid}"}
    assert json.loads(packet[1:]) == sent, f"{LIBRARY} sends CONNECT packets past _send_packet()"
    engine.happened.clear()
    server.end(sid)
    assert engine.happened == ["1"], f"{LIBRARY} ends a connection otherwise"


@pytest.mark.gen_test
async def test_events_come_to_us_as_they_were_sent_and_the_library_answers_none() -> None:
    server, engine = server_and_engine()
    server.opened("e", object())
    await server.receive("e", "0")
    sid = server.manager.sid_from_eio_sid("e", NAMESPACE)
    engine.happened.clear()
    for packet in ('27["x",1,{"a":[]}]', '2["x"]', '20["*"]', '2/,1["message",null]'):
        await server.receive("e", packet)
    assert engine.events == [
        (sid, 7, "x", [1, {"a": []}]),
        (sid, None, "x", []),
        (sid, 0, "*", []),
        (sid, 1, "message", [None]),
    ], f"{LIBRARY} does not give events to _handle_event()"
    assert engine.happened == ["event_received"] * 4, f"{LIBRARY} answers events by itself"


@pytest.mark.gen_test
async def test_events_of_who_is_not_connected_do_not_come_to_us() -> None:
    async def connecting(_sid: str, _environ: object, _auth: object = None) -> None:
        await server.receive("e", '2["while connecting"]')

    server, engine = server_and_engine(connecting)
    server.opened("e", object())
    await server.receive("e", '2["before"]')
    await server.receive("e", "0")
    await server.receive("e", '2["connected"]')
    await server.receive("e", "1")
    await server.receive("e", '2["after"]')
    assert [event for _, _, event, _ in engine.events] == ["connected"], f"{LIBRARY} connects at another moment"


@pytest.mark.gen_test
async def test_refusals_are_what_they_were() -> None:
    async def refuse(_sid: str, _environ: object, _auth: object = None) -> None:
        raise socketio.exceptions.ConnectionRefusedError("why", {"code": "x"})

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
    for of, name, parameters in (
        (socketio.AsyncManager, "basic_enter_room", ["self", "sid", "namespace", "room", "eio_sid"]),
        (socketio.AsyncManager, "basic_leave_room", ["self", "sid", "namespace", "room"]),
        (socketio.AsyncManager, "basic_disconnect", ["self", "sid", "namespace", "kwargs"]),
        (socketio.AsyncManager, "connect", ["self", "sid", "namespace"]),
        (socketio.AsyncServer, "_send_packet", ["self", "eio_sid", "pkt"]),
        (socketio.AsyncServer, "_handle_event", ["self", "eio_sid", "namespace", "id", "data"]),
    ):
        signature = list(inspect.signature(getattr(of, name)).parameters)
        assert signature == parameters, f"{LIBRARY}: {name} takes {signature}"


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["connect", "finish", "enter", "leave", "close", "call back", "begin to end", "end"]),
        st.integers(0, 2),
        st.sampled_from(["a", "b"]),
    ),
    min_size=30,  # few short ones connect, do something and end, all with the same client
    max_size=80,
)


def managers() -> tuple[socketio.AsyncManager, socketio.AsyncManager]:
    both = (socketio.AsyncManager(), RoomManager(lambda _sid: None))
    for manager in both:
        server = socketio.AsyncServer(client_manager=manager)
        server.eio.generate_id = iter(f"sid-{number}" for number in range(1000)).__next__
    return both


def compare(operations: list[tuple[str, int, str]]) -> None:
    stock, ours = managers()
    connected: dict[int, str] = {}

    async def story() -> None:
        for kind, number, room in operations:
            sid = connected.get(number)
            if kind == "connect" and sid is None:
                connected[number], other = [await manager.pre_connect(f"e{number}", "/") for manager in (stock, ours)]
                assert connected[number] == other
            elif kind == "connect":
                again = [await manager.pre_connect(f"e{number}", "/") for manager in (stock, ours)]
                assert again == [None, None], f"{LIBRARY} lets a client connect twice"
            elif sid is not None:
                for manager in (stock, ours):
                    if kind == "finish" and manager.is_pre_connected(sid, "/"):
                        await manager.connect(sid, "/")
                    elif kind == "enter":
                        await manager.enter_room(sid, "/", room)
                    elif kind == "leave":
                        await manager.leave_room(sid, "/", room)
                    elif kind == "close":
                        await manager.close_room(room, "/")
                    elif kind == "call back":
                        manager._generate_ack_id(sid, room)
                    elif kind == "begin to end":
                        manager.pre_disconnect(sid, "/")
                    elif kind == "end":
                        await manager.disconnect(sid, "/")
                if kind == "end":
                    del connected[number]
            for name in ("rooms", "pending_connect", "pending_disconnect"):
                assert getattr(ours, name) == getattr(stock, name), f"{LIBRARY} keeps {name} otherwise"
            callbacks = [{sid: len(of) for sid, of in manager.callbacks.items()} for manager in (ours, stock)]
            assert callbacks[0] == callbacks[1], f"{LIBRARY} keeps callbacks otherwise"
            for sid in connected.values():
                rooms = ours.get_rooms(sid, "/"), stock.get_rooms(sid, "/")
                assert rooms[0] == rooms[1], f"{LIBRARY} keeps the rooms of a client otherwise"
        assert set(ours._rooms_of) == set(connected.values())

    asyncio.run(story())


@given(OPERATIONS)
def test_rooms_are_what_the_stock_manager_has(operations: list[tuple[str, int, str]]) -> None:
    compare(operations)


def test_rooms_of_a_client_that_does_everything_are_what_the_stock_manager_has() -> None:
    operations = ["connect", "connect", "enter", "finish", "call back", "leave", "enter", "begin to end", "end"]
    compare([(operation, number, "a") for operation in operations for number in (0, 1)])


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
    assert looked_at == 0, f"{LIBRARY} looks through all rooms when one leaves"
    assert not manager.rooms


class Changed:
    """What another version of the library might be like, one change at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def engine_is_made_elsewhere(self) -> None:
        self._patch.setattr(SocketIoServer, "_engineio_server_class", lambda _self: engineio.AsyncServer)

    def serializer_is_left_out(self) -> None:
        self._after_init(lambda server: setattr(server, "packet_class", socketio.packet.Packet))

    def events_get_a_task_each(self) -> None:
        self._after_init(lambda server: setattr(server, "async_handlers", True))

    def more_is_asked_of_the_engine(self) -> None:
        send_packet = socketio.AsyncServer._send_packet

        async def asking(server: Any, engine_sid: str, packet: Any) -> None:
            await server.eio.is_slow(engine_sid)
            await send_packet(server, engine_sid, packet)

        self._patch.setattr(socketio.AsyncServer, "_send_packet", asking)

    def ids_are_made_elsewhere(self) -> None:
        async def pre_connect(manager: Any, engine_sid: str, namespace: str) -> str:
            manager.basic_enter_room("id", namespace, None, eio_sid=engine_sid)
            manager.pending_connect.setdefault(namespace, []).append("id")
            return "id"

        self._patch.setattr(socketio.AsyncManager, "pre_connect", pre_connect, raising=False)

    def some_packets_are_made_otherwise(self) -> None:
        handle = socketio.AsyncServer._handle_eio_message

        async def handling(server: Any, engine_sid: str, data: str) -> None:
            socketio.packet.Packet(encoded_packet=data)
            await handle(server, engine_sid, data)

        self._patch.setattr(socketio.AsyncServer, "_handle_eio_message", handling)

    def connections_are_not_reported(self) -> None:
        self._patch.setattr(RoomManager, "connect", socketio.AsyncManager.connect)

    def connect_packets_go_elsewhere(self) -> None:
        async def sending(server: Any, engine_sid: str, packet: Any) -> None:
            await server.eio.send(engine_sid, packet.encode())

        self._patch.setattr(SocketIoServer, "_send_packet", sending)

    def events_are_handled_elsewhere(self) -> None:
        handle = socketio.AsyncServer._handle_event

        async def handling(server: Any, *arguments: Any) -> None:
            await handle(server, *arguments)

        self._patch.setattr(SocketIoServer, "_handle_event", handling)

    def events_are_answered_too(self) -> None:
        handle = socketio.AsyncServer._handle_eio_message

        async def handling(server: Any, engine_sid: str, data: str) -> None:
            await handle(server, engine_sid, data)
            packet = server.packet_class(encoded_packet=data)
            if packet.packet_type == socketio.packet.EVENT and packet.id is not None:
                answer = server.packet_class(socketio.packet.ACK, id=packet.id, data=[])
                await server._send_packet(engine_sid, answer)

        self._patch.setattr(socketio.AsyncServer, "_handle_eio_message", handling)

    def who_connects_is_connected_at_once(self) -> None:
        self._patch.setattr(socketio.AsyncManager, "is_connected", lambda _manager, sid, _namespace: sid is not None)

    def events_are_handed_over_otherwise(self) -> None:
        async def handle_event(server: Any, engine_sid: str, packet: Any) -> None:
            await server._handle_event_internal(engine_sid, packet)

        self._patch.setattr(socketio.AsyncServer, "_handle_event", handle_event)

    def refused_clients_are_kept(self) -> None:
        self._patch.setattr(socketio.AsyncManager, "disconnect", self._nothing)

    def opening_waits(self) -> None:
        self._wait_in("_handle_eio_connect")

    def closing_waits(self) -> None:
        self._wait_in("_handle_eio_disconnect")

    def ending_waits(self) -> None:
        self._wait_in("disconnect")

    def rooms_are_left_otherwise(self) -> None:
        def leave_room(manager: Any, sid: str, room: str) -> None:
            manager.basic_leave_room(sid, NAMESPACE, room)

        self._patch.setattr(socketio.AsyncManager, "basic_leave_room", leave_room, raising=False)

    def rooms_are_kept(self) -> None:
        def keeping(manager: Any, sid: str, namespace: str, **_options: object) -> None:
            manager.basic_leave_room(sid, namespace, None)

        self._patch.setattr(socketio.AsyncManager, "basic_disconnect", keeping, raising=False)

    def callbacks_are_kept(self) -> None:
        disconnect = socketio.AsyncManager.basic_disconnect

        def keeping(manager: Any, sid: str, namespace: str, **options: object) -> None:
            callbacks = dict(manager.callbacks)
            disconnect(manager, sid, namespace, **options)
            manager.callbacks = callbacks

        self._patch.setattr(socketio.AsyncManager, "basic_disconnect", keeping, raising=False)

    def leaving_looks_at_all_rooms(self) -> None:
        self._patch.setattr(RoomManager, "basic_disconnect", socketio.AsyncManager.basic_disconnect)

    def _after_init(self, change: Callable[[Any], None]) -> None:
        initialize = socketio.AsyncServer.__init__

        def changed(server: Any, *arguments: Any, **options: Any) -> None:
            initialize(server, *arguments, **options)
            change(server)

        self._patch.setattr(socketio.AsyncServer, "__init__", changed)

    def _wait_in(self, name: str) -> None:
        method = getattr(socketio.AsyncServer, name)

        async def waiting(*arguments: Any, **options: Any) -> Any:
            await asyncio.sleep(0)
            return await method(*arguments, **options)

        self._patch.setattr(socketio.AsyncServer, name, waiting)

    @staticmethod
    async def _nothing(*_arguments: object, **_options: object) -> None:
        return None


NOTICED: dict[str, Callable[..., Any]] = {
    "engine_is_made_elsewhere": test_the_server_gets_its_engine_where_we_give_it,
    "serializer_is_left_out": test_the_server_gets_its_engine_where_we_give_it,
    "events_get_a_task_each": test_the_server_gets_its_engine_where_we_give_it,
    "more_is_asked_of_the_engine": test_this_much_of_the_engine_is_used_and_no_more,
    "ids_are_made_elsewhere": test_this_much_of_the_engine_is_used_and_no_more,
    "some_packets_are_made_otherwise": test_every_packet_is_ours,
    "connections_are_not_reported": test_a_connection_is_reported_right_after_its_connect_packet,
    "connect_packets_go_elsewhere": test_connect_packets_get_the_pid_and_others_stay_what_they_are,
    "events_are_handled_elsewhere": test_events_come_to_us_as_they_were_sent_and_the_library_answers_none,
    "events_are_answered_too": test_events_come_to_us_as_they_were_sent_and_the_library_answers_none,
    "who_connects_is_connected_at_once": test_events_of_who_is_not_connected_do_not_come_to_us,
    "events_are_handed_over_otherwise": test_the_methods_we_replace_are_still_called_as_they_were,
    "refused_clients_are_kept": test_refusals_are_what_they_were,
    "opening_waits": test_opening_closing_and_ending_wait_for_nothing,
    "closing_waits": test_opening_closing_and_ending_wait_for_nothing,
    "ending_waits": test_opening_closing_and_ending_wait_for_nothing,
    "rooms_are_left_otherwise": test_the_methods_we_replace_are_still_called_as_they_were,
    "rooms_are_kept": test_rooms_of_a_client_that_does_everything_are_what_the_stock_manager_has,
    "callbacks_are_kept": test_rooms_of_a_client_that_does_everything_are_what_the_stock_manager_has,
    "leaving_looks_at_all_rooms": test_leaving_looks_at_the_rooms_one_is_in_and_no_others,
}


@pytest.mark.parametrize("change", NOTICED)
def test_a_library_that_changed_is_noticed(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    getattr(Changed(monkeypatch), change)()
    with pytest.raises((AssertionError, RuntimeError), match=r"python-socketio"):
        run(NOTICED[change], monkeypatch)


def run(test: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    result = test(*[monkeypatch] * ("monkeypatch" in inspect.signature(test).parameters))
    if inspect.iscoroutine(result):
        asyncio.run(result)


def test_every_change_there_is_has_its_test() -> None:
    assert set(NOTICED) == {name for name in vars(Changed) if not name.startswith("_")}
