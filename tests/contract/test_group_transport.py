from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import cycle

import pytest
from tornado.ioloop import IOLoop

from adapters.http.exchange import Exchange, MessageHandler, Route
from adapters.http.messages import RequestHead
from adapters.http.peer import PeerPolicy
from adapters.system.clock import SystemClock
from adapters.transport.group import TransportGroup
from adapters.transport.memory.transport import MemoryTransport
from adapters.transport.served import ServedTransport
from adapters.transport.sse.transport import SseLimits, SseTransport
from domain.errors import ConnectionGone, InvalidToken, ShuttingDown
from domain.model import EVERYONE, AckId, ConnectionId, Position, Room
from tests.contract.served_harness import Serving
from tests.contract.test_memory_transport import MAX_UNREAD_BYTES, MemoryContractClient
from tests.contract.test_sse_transport import SseClient
from tests.contract.transport import TransportContract
from tests.contract.transport_harness import (
    COUNTED,
    COUNTS,
    EXPIRES_AT,
    MAX_HELD_BYTES,
    Client,
    Gate,
    ScriptedEvents,
    entry,
    eventually,
    received,
    reply,
)
from tests.contract.transport_holding import refusal

ANN = Room("user:ann")


class NoRoute:
    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler:
        raise NotImplementedError


class ServedMemory(MemoryTransport):
    """A MemoryTransport that the server could run, and that says what it was told."""

    def __init__(
        self, name: str = "memory", *, sweep_seconds: float = 1.0, sockets: int = 0, gives: bool = False
    ) -> None:
        super().__init__(max_held_bytes=MAX_HELD_BYTES, max_unread_bytes=MAX_UNREAD_BYTES, send_timeout=0.05)
        self.name = name
        self.sweep_seconds = sweep_seconds
        self.open_sockets = sockets
        self.routes: Mapping[str, Route] = {f"/{name}": NoRoute()}
        self.told: list[object] = []
        self.fails_to_close = False
        self._gives = gives

    def set_ready(self, *, ready: bool) -> None:
        self.told.append(ready)

    def refuse_at_once(self, head: bytes) -> bytes | None:
        return self.name.encode() if head == self.name.encode() else None

    def give_up_place(self) -> bool:
        self.told.append("place")
        return self._gives

    def stop_accepting(self) -> None:
        self.told.append("stop")

    def sweep(self) -> None:
        self.told.append("sweep")

    async def close(self) -> None:
        self.told.append("close")
        await super().close()
        if self.fails_to_close:
            raise OSError(self.name)


class GroupHarness:
    """Clients come to the members in turn."""

    def __init__(self) -> None:
        self._memory = ServedMemory()
        sse = SseTransport(
            clock=SystemClock(), peers=PeerPolicy(), limits=SseLimits(held_bytes=MAX_HELD_BYTES, slow_seconds=0.3)
        )
        self.transport = TransportGroup([self._memory, sse])
        self._serving = Serving(self.transport)
        self._kinds = cycle((self._connect_by_memory, self._connect_by_sse))
        self._clients: list[Client] = []

    def begin_with_sse(self) -> None:
        next(self._kinds)

    async def connect(self, auth: object) -> Client:
        self._serving.begin()
        client = next(self._kinds)(auth)
        self._clients.append(client)
        return client

    def _connect_by_memory(self, auth: object) -> Client:
        return MemoryContractClient(self._memory.start(auth))

    def _connect_by_sse(self, auth: object) -> Client:
        return SseClient(self._serving.port, auth)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self._serving.close()


@pytest.mark.gen_test
class TestMemoryThenSse(TransportContract):
    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[GroupHarness]:
        harness = GroupHarness()
        yield harness
        io_loop.run_sync(harness.close)


@pytest.mark.gen_test
class TestSseThenMemory(TransportContract):
    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[GroupHarness]:
        harness = GroupHarness()
        harness.begin_with_sse()
        yield harness
        io_loop.run_sync(harness.close)


class TestMembers:
    def test_one_member_is_enough_and_none_is_not(self) -> None:
        TransportGroup([ServedMemory()])
        with pytest.raises(ValueError, match="at least one"):
            TransportGroup([])

    def test_the_server_sees_one_transport(self) -> None:
        members = [ServedMemory("a", sweep_seconds=2.0, sockets=3), ServedMemory("b", sweep_seconds=0.5, sockets=4)]
        group: ServedTransport = TransportGroup(members)
        assert group.sweep_seconds == 0.5
        assert group.open_sockets == 7
        assert group.routes == {**members[0].routes, **members[1].routes}

    def test_every_member_is_told(self) -> None:
        members = [ServedMemory("a"), ServedMemory("b")]
        group = TransportGroup(members)
        group.set_ready(ready=False)
        group.sweep()
        group.stop_accepting()
        assert [member.told for member in members] == [[False, "sweep", "stop"]] * 2

    def test_whoever_knows_the_answer_gives_it(self) -> None:
        group = TransportGroup([ServedMemory("a"), ServedMemory("b")])
        assert [group.refuse_at_once(head) for head in (b"a", b"b", b"c")] == [b"a", b"b", None]

    def test_one_place_is_given_up_and_no_more(self) -> None:
        none, some, other = ServedMemory("a"), ServedMemory("b", gives=True), ServedMemory("c", gives=True)
        assert TransportGroup([none, some, other]).give_up_place()
        assert (none.told, some.told, other.told) == (["place"], ["place"], [])
        assert not TransportGroup([none]).give_up_place()

    @pytest.mark.gen_test
    async def test_all_are_closed_whatever_becomes_of_one(self) -> None:
        members = [ServedMemory("a"), ServedMemory("b"), ServedMemory("c")]
        members[0].fails_to_close = members[2].fails_to_close = True
        with pytest.raises(ExceptionGroup) as caught:
            await TransportGroup(members).close()
        assert [str(error) for error in caught.value.exceptions] == ["a", "c"]
        assert [member.told for member in members] == [["close"]] * 3


@pytest.mark.gen_test
class TestOwnership:
    async def test_a_member_hears_only_of_its_own_connections(self) -> None:
        heard: list[tuple[str, str]] = []

        class Listening(ServedMemory):
            def announce_counts(self, connection: ConnectionId, counts: object) -> None:
                heard.append((self.name, connection))

        first, second = Listening("a"), Listening("b")
        group = TransportGroup([first, second])
        events = ScriptedEvents(group)
        group.bind(events)
        client = await second.connect({"token": "ann"})
        group.announce_counts(client.connection, COUNTS)
        group.announce_counts(ConnectionId("nobody's"), COUNTS)
        assert heard == [("b", client.connection)]
        await group.close()

    async def test_requests_and_receipts_pass_through(self) -> None:
        member = ServedMemory()
        group = TransportGroup([member])
        events = ScriptedEvents(group)
        group.bind(events)
        client = await member.connect({"token": "ann"})
        await client.opened()
        assert await client.request("inbox.count", {}) == {
            "ok": True,
            "counts": {"unread": 1, "unseen": 2, "total": 3},
            "as_of": "e:0",
        }
        group.broadcast(frozenset((ANN,)), entry(1, ANN))
        assert [(await client.next_event())[0] for _ in range(2)] == ["session.ready", "notification.new"]
        await events.until_received(client.connection, 1)
        await group.close()

    async def test_what_is_refused_or_has_ended_is_nobodys(self) -> None:
        member = ServedMemory()
        group = TransportGroup([member])
        events = ScriptedEvents(group)
        events.script("bob", error=InvalidToken("no"))
        group.bind(events)
        refused = await member.connect({"token": "bob"})
        gone = await member.connect({"token": "ann"})
        assert list(group._owners) == [gone.connection]
        gone.disconnect()
        assert not group._owners
        for connection in (refused.connection, gone.connection):
            with pytest.raises(ConnectionGone):
                await group.pause(connection)
            group.answer(connection, AckId(1), COUNTED)
            group.announce_expiry(connection, EXPIRES_AT)
            group.disconnect(connection, refusal(ShuttingDown(), reconnect=True))
            assert await group.resume(connection, Position("e", 0))
        await group.close()

    async def test_one_that_leaves_while_it_connects_is_nobodys(self) -> None:
        member, gate = ServedMemory(), Gate()
        group = TransportGroup([member])
        events = ScriptedEvents(group)
        events.script("ann", after_join=gate)
        group.bind(events)
        client = member.start({"token": "ann"})
        await gate.reached()
        client.disconnect()
        gate.open()
        await client.opened()
        assert not group._owners
        await group.close()

    async def test_two_connections_with_one_id_are_a_defect_and_not_mixed_up(self) -> None:
        # Each numbers its own clients, from 1 on.
        first, second = ServedMemory("a"), ServedMemory("b")
        group = TransportGroup([first, second])
        events = ScriptedEvents(group)
        group.bind(events)
        client = await first.connect({"token": "ann"})
        await client.opened()
        with pytest.raises(RuntimeError, match="same id"):
            await second.connect({"token": "bob"})
        group.broadcast(frozenset((ANN,)), entry(1, ANN))
        assert (await client.next_event())[0] == "session.ready"
        assert await client.next_event() == received(1)
        await group.close()

    async def test_everyone_is_reached_over_whatever_transport(self, io_loop: IOLoop) -> None:
        harness = GroupHarness()
        events = ScriptedEvents(harness.transport)
        harness.transport.bind(events)
        clients = []
        for name in ("ann", "bob", "eve", "joe"):
            events.script(name, rooms=frozenset((EVERYONE,)), reply=reply(name, offset=3))
            clients.append(await harness.connect({"token": name}))
        for client in clients:
            assert (await client.next_event())[0] == "session.ready"
        await eventually(lambda: [call for call, _ in events.calls].count("live") == 4)
        harness.transport.broadcast(frozenset((EVERYONE,)), entry(4, EVERYONE))
        assert [await client.next_event() for client in clients] == [received(4)] * 4
        assert {request.transport for request in events.connect_requests} == {"memory", "sse"}
        await harness.close()
