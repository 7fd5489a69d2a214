"""What every Transport must do about holding: what waits, what is replayed, and what follows the release."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tornado.ioloop import IOLoop

from domain.errors import ConnectionGone, SlowConsumer, SynkroneError
from domain.model import EVERYONE, ConnectionId, Disconnect, Position, Room
from tests.contract.transport_harness import (
    EXPIRES_AT,
    Client,
    Harness,
    ScriptedEvents,
    entry,
    eventually,
    received,
    reply,
)

ANN, BOB = Room("user:ann"), Room("user:bob")


def refusal(error: SynkroneError, *, reconnect: bool) -> Disconnect:
    return Disconnect(error.problem, reconnect, timedelta(milliseconds=1500))


@pytest.mark.gen_test
class TransportSuite:
    """Subclass it, and give it a ``harness``."""

    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[Harness]:
        """The transport under test, started on the loop, with at most MAX_HELD_BYTES of held payload a connection."""
        raise NotImplementedError

    @pytest.fixture
    def events(self, harness: Harness) -> ScriptedEvents:
        events = ScriptedEvents(harness.transport)
        harness.transport.bind(events)
        return events

    async def welcomed(self, harness: Harness, name: str) -> Client:
        """A client that has taken its welcome."""
        client = await harness.connect({"token": name})
        event, _ = await client.next_event()
        assert event == "session.ready"
        return client

    async def held(self, harness: Harness, events: ScriptedEvents, name: str = "ann") -> tuple[Client, ConnectionId]:
        """A welcomed client whose connection nobody releases but the test."""
        events.script(name, goes_live=False)
        client = await self.welcomed(harness, name)
        return client, events.connections[name]

    async def live(self, harness: Harness, events: ScriptedEvents, name: str = "ann") -> tuple[Client, ConnectionId]:
        client = await self.welcomed(harness, name)
        connection = events.connections[name]
        await eventually(lambda: events.count("live", connection) == 1)
        return client, connection

    async def expect_silence(self, harness: Harness, client: Client, connection: ConnectionId) -> None:
        """Nothing is on its way to the client: what is sent now is the next it gets."""
        harness.transport.announce_expiry(connection, EXPIRES_AT)
        assert await client.next_event() == ("session.expiring", ({"expires_at": "2030-01-31T13:00:00.000Z"},))

    async def expect_silence_after(
        self, harness: Harness, client: Client, connection: ConnectionId, *offsets: int
    ) -> None:
        """The client gets these entries, in this order, and no other."""
        for offset in offsets:
            assert await client.next_event() == received(offset)
        await self.expect_silence(harness, client, connection)


class HoldingContract(TransportSuite):
    """Live entries around a replay."""

    # held, replayed, released

    async def test_held_entries_wait_for_the_release_and_follow_the_replay(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.held(harness, events)
        for offset in (3, 4):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        await self.expect_silence(harness, client, connection)
        await harness.transport.replay(connection, [entry(1, ANN), entry(2, ANN)])
        await self.expect_silence_after(harness, client, connection, 1, 2)
        assert await harness.transport.resume(connection, Position("e", 2))
        harness.transport.broadcast(frozenset((ANN,)), entry(5, ANN))
        await self.expect_silence_after(harness, client, connection, 3, 4, 5)

    async def test_entries_up_to_the_release_are_not_sent_neither_held_nor_later(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.held(harness, events)
        for offset in (2, 3, 4):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        await harness.transport.replay(connection, [entry(1, ANN), entry(2, ANN), entry(3, ANN)])
        assert await harness.transport.resume(connection, Position("e", 3))
        await self.expect_silence_after(harness, client, connection, 1, 2, 3, 4)

    async def test_entries_up_to_the_release_are_not_sent_when_the_tail_brings_them_afterwards(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.held(harness, events)
        assert await harness.transport.resume(connection, Position("e", 3))
        for offset in (1, 2, 3, 4):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        await self.expect_silence_after(harness, client, connection, 4)

    async def test_held_past_the_bound_is_dropped_and_the_release_says_so(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.held(harness, events)
        big = '{"n":"' + "x" * 1000 + '"}'
        for offset in range(1, 11):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN, payload=big))
        assert not await harness.transport.resume(connection, Position("e", 0))
        harness.transport.broadcast(frozenset((ANN,)), entry(11, ANN))
        await self.expect_silence(harness, client, connection)
        assert await harness.transport.resume(connection, Position("e", 10))
        harness.transport.broadcast(frozenset((ANN,)), entry(12, ANN))
        await self.expect_silence_after(harness, client, connection, 11, 12)

    async def test_what_is_held_of_others_does_not_count(self, harness: Harness, events: ScriptedEvents) -> None:
        _, connection = await self.held(harness, events, "ann")
        _, other = await self.held(harness, events, "bob")
        big = '{"n":"' + "x" * 10_000 + '"}'
        harness.transport.broadcast(frozenset((ANN,)), entry(1, ANN, payload=big))
        assert not await harness.transport.resume(connection, Position("e", 0))
        assert await harness.transport.resume(other, Position("e", 0))

    async def test_an_entry_arrives_as_it_was_stored(self, harness: Harness, events: ScriptedEvents) -> None:
        client, connection = await self.held(harness, events)
        payload = '{"text":"é \\u2028 \\"quoted\\"","list":[1,2.5,true,null,{}],"long":"' + "y" * 20_000 + '"}'
        await harness.transport.replay(connection, [entry(1, ANN, payload=payload, event="notification.updated")])
        value: object = {"text": 'é \u2028 "quoted"', "list": [1, 2.5, True, None, {}], "long": "y" * 20_000}
        assert await client.next_event() == ("notification.updated", (value, "e:1"))

    @pytest.mark.gen_test(timeout=60)
    async def test_a_replay_gives_up_on_a_client_that_takes_nothing(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.held(harness, events)
        client.stop_reading()
        page = [entry(1, ANN, payload='{"n":"' + "x" * 60_000 + '"}')] * 20

        async def replay_for_ever() -> None:
            for _ in range(100):
                await harness.transport.replay(connection, page)

        with pytest.raises((SlowConsumer, ConnectionGone)):
            await replay_for_ever()

    # held again

    async def test_held_again_nothing_live_is_sent_before_the_release(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        for offset in (1, 2):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        assert await harness.transport.pause(connection) == Position("e", 2)
        for offset in (3, 4):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        await self.expect_silence_after(harness, client, connection, 1, 2)
        assert await harness.transport.resume(connection, Position("e", 2))
        harness.transport.broadcast(frozenset((ANN,)), entry(5, ANN))
        await self.expect_silence_after(harness, client, connection, 3, 4, 5)

    async def test_a_hold_tells_how_far_the_log_was_sent_to_anybody(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        _, connection = await self.live(harness, events, "ann")
        bob, _ = await self.live(harness, events, "bob")
        harness.transport.broadcast(frozenset((BOB,)), entry(5, BOB))
        harness.transport.broadcast(frozenset((Room("user:nobody"),)), entry(6, Room("user:nobody")))
        assert await bob.next_event() == received(5)
        assert await harness.transport.pause(connection) == Position("e", 6)

    async def test_a_hold_tells_where_the_release_was_if_the_tail_is_behind_it(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        events.script("ann", reply=reply("ann", offset=7))
        client, connection = await self.live(harness, events)
        assert await harness.transport.pause(connection) == Position("e", 7)
        assert await harness.transport.resume(connection, Position("e", 7))
        for offset in (5, 6):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        assert await harness.transport.pause(connection) == Position("e", 7)
        harness.transport.broadcast(frozenset((ANN,)), entry(7, ANN))
        assert await harness.transport.resume(connection, Position("e", 7))
        await self.expect_silence(harness, client, connection)

    async def test_what_is_replayed_while_held_again_comes_once_whatever_the_tail_brings_of_it(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        harness.transport.broadcast(frozenset((ANN,)), entry(1, ANN))
        assert await harness.transport.pause(connection) == Position("e", 1)
        harness.transport.broadcast(frozenset((ANN,)), entry(2, ANN))
        await harness.transport.replay(connection, [entry(2, ANN), entry(3, ANN)])
        assert await harness.transport.resume(connection, Position("e", 3))
        for offset in (3, 4):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        await self.expect_silence_after(harness, client, connection, 1, 2, 3, 4)

    async def test_held_again_past_the_bound_is_dropped_and_the_release_says_so(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        big = '{"n":"' + "x" * 1000 + '"}'
        for time_held in range(2):
            first = 100 * time_held
            position = await harness.transport.pause(connection)
            for offset in range(first + 1, first + 11):
                harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN, payload=big))
            assert not await harness.transport.resume(connection, position)
            harness.transport.broadcast(frozenset((ANN,)), entry(first + 11, ANN))
            await self.expect_silence(harness, client, connection)
            assert await harness.transport.resume(connection, Position("e", first + 10))
            harness.transport.broadcast(frozenset((ANN,)), entry(first + 12, ANN))
            await self.expect_silence_after(harness, client, connection, first + 11, first + 12)

    async def test_one_that_is_held_again_holds_up_nobody_else(self, harness: Harness, events: ScriptedEvents) -> None:
        for name in ("ann", "bob"):
            events.script(name, rooms=frozenset((EVERYONE,)))
        client, connection = await self.live(harness, events, "ann")
        other, _ = await self.live(harness, events, "bob")
        await harness.transport.pause(connection)
        harness.transport.broadcast(frozenset((EVERYONE,)), entry(1, EVERYONE))
        assert await other.next_event() == received(1)
        await self.expect_silence(harness, client, connection)
