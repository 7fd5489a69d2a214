"""The hub over a log that is written by hand, and transports that note what they are to send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from weakref import WeakSet

import pytest

from domain.delivery.hub import TURN_SECONDS, Hub, Subscription
from domain.errors import ConnectionGone, ShuttingDown, SlowConsumer
from domain.model import (
    EVERYONE,
    ConnectionId,
    Counts,
    CountsChanged,
    Disconnect,
    Entry,
    Expiring,
    Json,
    Outgoing,
    Position,
    Room,
    TailEntry,
    Unfetched,
)
from domain.policy import ConnectionPolicy
from domain.ports import ConnectionEvents, Log, Wanted
from tests.doubles import START, ManualClock, RecordingTelemetry

ANN, BOB, NOBODY = Room("user:ann"), Room("user:bob"), Room("user:nobody")
CLOSING = Disconnect(ShuttingDown().problem, reconnect=True, retry_after=timedelta(seconds=1))


@dataclass(eq=False)
class Outlet:
    """What was sent to it: offsets of entries, and other events as they are."""

    id: ConnectionId
    technology: str = "recording"
    sent: list[object] = field(default_factory=list)
    why: Disconnect | None = None


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    event: Outgoing
    size: int = 1


class RecordingTransport:
    def __init__(self) -> None:
        self.encoded: list[Outgoing] = []
        self.writes: list[int] = []
        self.when_encoded: Callable[[RecordedFrame], None] | None = None
        self.when_asked_for_room: Callable[[Outlet], None] | None = None

    name = "recording"

    def bind(self, events: ConnectionEvents) -> None:
        raise NotImplementedError

    def encode(self, event: Outgoing) -> RecordedFrame:
        self.encoded.append(event)
        frame = RecordedFrame(event)
        if self.when_encoded is not None:
            self.when_encoded(frame)
        return frame

    def send(self, outlets: Collection[Outlet], frame: RecordedFrame) -> None:
        self.writes.append(len(outlets))
        event = frame.event
        for outlet in outlets:
            outlet.sent.append(event.position.offset if isinstance(event, Entry) else event)

    async def has_room(self, outlet: Outlet) -> None:
        if self.when_asked_for_room is not None:
            self.when_asked_for_room(outlet)

    def disconnect(self, outlet: Outlet, why: Disconnect) -> None:
        outlet.why = why


class HandWrittenLog:
    """Its tail is given what a test adds."""

    def __init__(self, head: int = 0) -> None:
        self.at_first = Position("e", head)
        self.followed_from: list[Position] = []
        self.wanted: Wanted | None = None
        self.added: asyncio.Queue[Sequence[TailEntry] | Exception] = asyncio.Queue()

    async def head(self) -> Position:
        return self.at_first

    async def tail(self, after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[TailEntry]]:
        self.followed_from.append(after)
        self.wanted = wanted
        while True:
            entries = await self.added.get()
            if isinstance(entries, Exception):
                raise entries
            yield entries


def entry(offset: int, *rooms: Room, size: int = 10, expires_at: datetime | None = None) -> Entry:
    return Entry(Position("e", offset), frozenset(rooms), "notification.new", Json(b"x" * size), expires_at)


def unfetched(offset: int, *rooms: Room) -> Unfetched:
    return Unfetched(Position("e", offset), frozenset(rooms), "notification.new", 10)


def at(offset: int) -> Position:
    return Position("e", offset)


class House:
    """A hub whose tail is taken to the rooms entry by entry."""

    def __init__(self, *, head: int = 0, window_bytes: int = 4096, window_entries: int = 100) -> None:
        self.clock = ManualClock()
        self.telemetry = RecordingTelemetry()
        self.log = HandWrittenLog(head)
        self.transport = RecordingTransport()
        self.hub = Hub(
            log=cast("Log", self.log),
            policy=ConnectionPolicy(),
            clock=self.clock,
            telemetry=self.telemetry,
            window_bytes=window_bytes,
            window_entries=window_entries,
        )
        self.hub._delivered = at(head)
        self.hub._window.begin(head)
        self._numbers = iter(range(1000))

    def connected(
        self, *rooms: Room, transport: RecordingTransport | None = None
    ) -> tuple[Subscription[Outlet, RecordedFrame], Outlet]:
        """One that is paused."""
        outlet = Outlet(ConnectionId(f"c{next(self._numbers)}"))
        connection = self.hub.subscribe(transport or self.transport, outlet)
        connection.join(frozenset(rooms or (ANN,)))
        return connection, outlet

    def live(
        self, *rooms: Room, after: int = 0, transport: RecordingTransport | None = None
    ) -> tuple[Subscription[Outlet, RecordedFrame], Outlet]:
        connection, outlet = self.connected(*rooms, transport=transport)
        assert connection.resume(at(after))
        return connection, outlet

    def deliver(self, *entries: TailEntry) -> None:
        for one in entries:
            self.hub._deliver(one, [], is_current=ConnectionPolicy().is_current(one, self.clock.now()))


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


# rooms


def test_an_entry_reaches_every_member_once_and_nobody_else() -> None:
    house = House()
    outlets = [house.live(room, EVERYONE)[1] for room in (ANN, BOB, Room("user:eve"))]
    house.deliver(
        entry(1, ANN, BOB), entry(2, NOBODY), entry(3, BOB), entry(4, EVERYONE), entry(5, ANN, EVERYONE, NOBODY)
    )
    assert [outlet.sent for outlet in outlets] == [[1, 4, 5], [1, 3, 4, 5], [4, 5]]


def test_an_entry_is_encoded_once_for_each_transport_that_has_somebody_for_it() -> None:
    house, other = House(), RecordingTransport()
    for transport in (house.transport, house.transport, other):
        house.live(EVERYONE, transport=transport)
    house.live(ANN, transport=other)
    house.deliver(entry(1, EVERYONE), entry(2, ANN), entry(3, NOBODY))
    assert [one.position.offset for one in house.transport.encoded if isinstance(one, Entry)] == [1]
    assert [one.position.offset for one in other.encoded if isinstance(one, Entry)] == [1, 2]
    assert house.transport.writes == [2]


def test_what_is_replayed_of_the_newest_entries_is_not_encoded_again() -> None:
    async def story() -> None:
        house = House(window_entries=2)
        house.live(ANN)
        house.deliver(*(entry(offset, ANN) for offset in (1, 2, 3)))
        house.transport.encoded.clear()
        for _ in range(3):
            connection, outlet = house.connected()
            await connection.replay([entry(offset, ANN) for offset in (1, 2, 3)])
            assert outlet.sent == [1, 2, 3]
        # The first has left the window.
        assert [one.position.offset for one in house.transport.encoded if isinstance(one, Entry)] == [1, 1, 1]

    run(story())


def test_a_frame_is_kept_no_longer_than_its_entry_even_of_what_expired_before_the_tail_brought_it() -> None:
    async def story() -> None:
        house = House(window_entries=2)
        kept: WeakSet[RecordedFrame] = WeakSet()
        house.transport.when_encoded = kept.add
        soon = START + timedelta(seconds=5)
        house.live(ANN)
        house.deliver(entry(1, ANN))
        ahead, _ = house.connected()
        await ahead.replay([entry(2, ANN, expires_at=soon)])
        house.clock.advance(5)
        house.deliver(entry(2, ANN, expires_at=soon), *(entry(offset, ANN) for offset in (3, 4, 5)))
        house.clock.jump(-timedelta(seconds=5))
        # By this clock it has not expired.
        late, _ = house.connected()
        await late.replay([entry(2, ANN, expires_at=soon)])
        offsets = [frame.event.position.offset for frame in kept if isinstance(frame.event, Entry)]
        assert sorted(offsets) == [4, 5]

    run(story())


def test_who_has_left_is_in_no_room() -> None:
    house = House()
    (leaves, left), (_, stays) = house.live(), house.live()
    house.deliver(entry(1, ANN))
    leaves.leave()
    house.deliver(entry(2, ANN))
    assert (left.sent, stays.sent) == ([1], [1, 2])
    assert left.why is None
    assert house.hub.rooms == {ANN}


# pausing and resuming


def test_what_comes_during_a_pause_follows_the_replay() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.connected()
        house.deliver(entry(3, ANN), entry(4, BOB), entry(5, ANN))
        assert outlet.sent == []
        await connection.replay([entry(1, ANN), entry(2, ANN)])
        assert connection.resume(at(2))
        house.deliver(entry(6, ANN))
        assert outlet.sent == [1, 2, 3, 5, 6]

    run(story())


def test_what_was_replayed_is_not_sent_again_whether_it_came_before_or_comes_later() -> None:
    house = House()
    (behind, first), (ahead, second) = house.connected(), house.connected()
    house.deliver(*(entry(offset, ANN) for offset in (1, 2, 3)))
    assert behind.resume(at(2))
    # Its reading was ahead of the tail.
    assert ahead.resume(at(5))
    house.deliver(*(entry(offset, ANN) for offset in (4, 5, 6)))
    assert (first.sent, second.sent) == ([3, 4, 5, 6], [6])


def test_who_is_ahead_of_the_tail_and_leaves_is_in_no_room_later() -> None:
    house = House()
    connection, outlet = house.connected()
    assert connection.resume(at(5))
    connection.leave()
    house.deliver(entry(6, ANN))
    assert outlet.sent == []
    assert house.hub.rooms == frozenset()


@pytest.mark.parametrize(("after", "reaches"), [(5, True), (4, True), (3, False)])
def test_a_pause_goes_on_where_more_came_than_the_window_holds(after: int, *, reaches: bool) -> None:
    house = House(window_bytes=25)
    connection, outlet = house.connected()
    house.deliver(*(entry(offset, ANN) for offset in (4, 5, 6)))
    assert connection.resume(at(after)) is reaches
    house.deliver(entry(7, ANN))
    assert outlet.sent == ([*range(after + 1, 7), 7] if reaches else [])
    if not reaches:
        # The log has been read on.
        assert connection.resume(at(6))
        house.deliver(entry(8, ANN))
        assert outlet.sent == [7, 8]


def test_an_entry_larger_than_the_window_is_delivered_and_has_to_be_read_by_who_was_paused() -> None:
    house = House(window_bytes=25)
    (_, live), (paused, outlet) = house.live(), house.connected()
    house.deliver(entry(1, ANN, size=26))
    assert live.sent == [1]
    assert not paused.resume(at(0))
    assert paused.resume(at(1))
    assert outlet.sent == []


def test_the_window_is_bounded_in_entries_too() -> None:
    house = House(window_entries=2)
    connection, _ = house.connected()
    house.deliver(*(entry(offset, BOB, size=0) for offset in (1, 2, 3)))
    assert not connection.resume(at(0))
    assert connection.resume(at(1))


def test_before_the_first_delivery_the_window_reaches_to_where_the_tail_begins() -> None:
    house = House(head=7)
    connection, outlet = house.connected()
    assert not connection.resume(at(6))
    assert connection.resume(at(7))
    house.deliver(entry(8, ANN))
    assert outlet.sent == [8]


def test_a_pause_says_up_to_where_everything_was_sent_to_anybody() -> None:
    house = House()
    connection, outlet = house.live(ANN)
    house.live(BOB)
    house.deliver(entry(1, ANN), entry(2, BOB), entry(3, NOBODY))
    assert connection.pause() == at(3)
    house.deliver(entry(4, ANN))
    assert outlet.sent == [1]
    assert connection.resume(at(3))
    house.deliver(entry(5, ANN))
    assert outlet.sent == [1, 4, 5]


def test_a_pause_of_one_that_is_ahead_of_the_tail_says_where_it_is() -> None:
    house = House()
    connection, outlet = house.live(after=7)
    assert connection.pause() == at(7)
    house.deliver(entry(5, ANN), entry(6, ANN))
    assert connection.resume(at(7))
    assert connection.pause() == at(7)
    house.deliver(entry(7, ANN), entry(8, ANN))
    assert connection.resume(at(7))
    assert outlet.sent == [8]


def test_who_is_paused_holds_up_nobody_else() -> None:
    house = House()
    (connection, paused), (_, other) = house.live(EVERYONE), house.live(EVERYONE)
    connection.pause()
    house.deliver(entry(1, EVERYONE))
    assert (paused.sent, other.sent) == ([], [1])


def test_to_pause_twice_is_a_defect() -> None:
    connection, _ = House().live()
    connection.pause()
    with pytest.raises(RuntimeError, match="paused already"):
        connection.pause()


# what the tail brings without its payload


def test_the_tail_is_told_what_is_for_somebody_here_live_or_paused() -> None:
    async def story() -> None:
        house = House()
        task = asyncio.create_task(house.hub.deliver())
        await asyncio.sleep(0)
        wanted = house.log.wanted
        assert wanted is not None
        assert not wanted(frozenset((ANN, EVERYONE)))
        (paused, _), (other, _) = house.connected(ANN, EVERYONE), house.live(EVERYONE)
        assert wanted(frozenset((ANN,)))
        assert paused.resume(at(0))
        paused.pause()
        assert wanted(frozenset((ANN, NOBODY)))
        assert not wanted(frozenset((BOB, NOBODY)))
        for _ in range(2):
            paused.leave()
        assert not wanted(frozenset((ANN,)))
        assert wanted(frozenset((EVERYONE,)))
        other.close(CLOSING)
        assert not wanted(frozenset((EVERYONE,)))
        task.cancel()

    run(story())


def test_what_came_without_its_payload_counts_as_delivered() -> None:
    house = House()
    connection, outlet = house.live(ANN)
    house.deliver(entry(1, ANN), unfetched(2, BOB), entry(3, ANN))
    assert connection.pause() == at(3)
    house.deliver(unfetched(4, BOB))
    assert house.hub.delivered == at(4)
    assert connection.resume(at(3))
    assert outlet.sent == [1, 3]


def test_who_joined_behind_what_has_no_payload_here_reads_the_log_for_it() -> None:
    house = House()
    house.deliver(entry(1, ANN), unfetched(2, BOB), entry(3, ANN))
    (ann, anns), (bob, bobs) = house.connected(ANN), house.connected(BOB)
    assert ann.resume(at(0))
    assert anns.sent == [1, 3]
    assert not bob.resume(at(1))
    assert bobs.sent == []
    assert bob.resume(at(2))
    house.deliver(entry(4, BOB))
    assert bobs.sent == [4]


def test_that_somebody_here_would_get_what_has_no_payload_is_a_defect() -> None:
    house = House()
    house.live(ANN)
    with pytest.raises(TypeError, match="without its payload"):
        house.deliver(unfetched(1, ANN))


# what has expired


def test_what_has_expired_is_neither_delivered_nor_replayed_nor_sent_after_a_pause() -> None:
    async def story() -> None:
        house = House()
        soon = START + timedelta(seconds=5)
        (connection, paused), (_, live) = house.connected(), house.live()
        house.deliver(entry(1, ANN, expires_at=soon))
        house.clock.advance(5)
        house.deliver(entry(2, ANN, expires_at=soon), entry(3, ANN))
        await connection.replay([entry(1, ANN, expires_at=soon)])
        assert connection.resume(at(0))
        assert (paused.sent, live.sent) == ([3], [1, 3])
        assert house.hub.delivered == at(3)

    run(story())


def test_what_expires_while_there_is_no_room_for_it_is_not_sent() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.connected()
        house.transport.when_asked_for_room = lambda _: house.clock.advance(5)
        await connection.replay([entry(1, ANN, expires_at=START + timedelta(seconds=5)), entry(2, ANN)])
        assert outlet.sent == [2]

    run(story())


# replaying


def test_a_page_waits_until_its_transport_has_room_for_it() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.connected()
        asked: list[list[object]] = []
        house.transport.when_asked_for_room = lambda one: asked.append(list(one.sent))
        for page in ([entry(1, ANN), entry(2, ANN)], [], [entry(3, ANN)]):
            await connection.replay(page)
        # Not before a page that is empty, and not behind the last one.
        assert asked == [[], [1, 2]]
        assert outlet.sent == [1, 2, 3]

    run(story())


@pytest.mark.parametrize("error", [SlowConsumer(), ConnectionGone()], ids=repr)
def test_a_client_that_takes_nothing_gets_no_further_page(error: Exception) -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.connected()

        def refuse(_: Outlet) -> None:
            raise error

        house.transport.when_asked_for_room = refuse
        with pytest.raises(type(error)):
            await connection.replay([entry(1, ANN)])
        assert outlet.sent == []

    run(story())


def test_a_connection_that_ends_while_it_waits_for_room_gets_nothing() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.connected()
        house.transport.when_asked_for_room = lambda _: connection.leave()
        with pytest.raises(ConnectionGone):
            await connection.replay([entry(1, ANN)])
        assert outlet.sent == []

    run(story())


# the end


def test_after_the_end_nothing_is_sent_and_whoever_goes_on_is_told() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.live()
        house.deliver(entry(1, ANN))
        connection.close(CLOSING)
        assert outlet.why is CLOSING
        house.deliver(entry(2, ANN))
        connection.send(Expiring(START))
        assert connection.resume(at(0))
        with pytest.raises(ConnectionGone):
            await connection.replay([entry(1, ANN)])
        with pytest.raises(ConnectionGone):
            connection.pause()
        outlet.why = None
        connection.close(CLOSING)
        assert (outlet.sent, outlet.why) == ([1], None)
        assert house.hub.rooms == frozenset()

    run(story())


def test_a_paused_connection_that_is_closed_gets_nothing_of_what_came_meanwhile() -> None:
    house = House()
    connection, outlet = house.connected()
    house.deliver(entry(1, ANN))
    connection.close(CLOSING)
    assert connection.resume(at(0))
    assert outlet.sent == []


def test_what_is_no_entry_is_sent_whether_paused_or_live_in_the_order_it_comes() -> None:
    house = House()
    counts, expiring = CountsChanged(Counts(1, 2, 3)), Expiring(START)
    connection, outlet = house.connected()
    connection.send(counts)
    assert connection.resume(at(0))
    house.deliver(entry(1, ANN))
    connection.send(expiring)
    house.deliver(entry(2, ANN))
    assert outlet.sent == [counts, 1, expiring, 2]


# the tail


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


def test_whoever_is_live_as_the_tail_is_followed_misses_nothing_since_it_began() -> None:
    async def story() -> None:
        house = House()
        house.hub._delivered = None
        house.log.at_first = at(4)
        await house.hub.begin()
        _, outlet = house.live(after=4)
        house.log.at_first = at(5)
        delivering = asyncio.create_task(house.hub.deliver())
        await house.log.added.put([entry(5, ANN)])
        await until(lambda: outlet.sent == [5])
        assert house.log.followed_from == [at(4)]
        delivering.cancel()

    run(story())


def test_an_interrupted_delivery_goes_on_where_it_was() -> None:
    async def story() -> None:
        house = House()
        house.hub._delivered = None
        house.log.at_first = at(4)
        _, outlet = house.live(after=4)
        first = asyncio.create_task(house.hub.deliver())
        await house.log.added.put([entry(5, ANN), entry(6, ANN)])
        await house.log.added.put(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await first
        house.log.at_first = at(99)
        second = asyncio.create_task(house.hub.deliver())
        await house.log.added.put([entry(7, ANN)])
        await until(lambda: outlet.sent == [5, 6, 7])
        second.cancel()
        assert house.log.followed_from == [at(4), at(6)]

    run(story())


def test_whoever_observes_hears_of_what_was_delivered_in_a_turn_behind_the_last_of_it() -> None:
    async def story() -> None:
        house = House()
        _, outlet = house.live()
        seen: list[tuple[list[int], list[object]]] = []
        house.hub.observe(lambda news: seen.append(([one.position.offset for one in news], list(outlet.sent))))
        delivering = asyncio.create_task(house.hub.deliver())
        await house.log.added.put([entry(1, ANN), entry(2, ANN, expires_at=START), entry(3, BOB), entry(4, ANN)])
        await until(lambda: house.hub.delivered == at(4))
        assert seen == [([1, 3, 4], [1, 4])]
        delivering.cancel()

    run(story())


def test_of_what_was_gone_before_its_turn_no_revision_is_delivered() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.connected()
        connection.begin({ANN: 0}, [], 0)
        assert connection.resume(at(0))
        delivering = asyncio.create_task(house.hub.deliver())
        gone = Entry(at(1), frozenset(), "notification.deleted", Json(b""), about=1)
        revision = Entry(at(2), frozenset((ANN,)), "notification.revised", Json(b"x"), about=1)
        await house.log.added.put([gone, revision, entry(3, ANN)])
        await house.log.added.put([Entry(at(4), frozenset((ANN,)), "notification.revised", Json(b"x"), about=1)])
        await house.log.added.put([Entry(at(5), frozenset((ANN,)), "notification.deleted", Json(b"x"), about=1)])
        await until(lambda: house.hub.delivered == at(5))
        assert outlet.sent == [3, 5]
        delivering.cancel()

    run(story())


def test_others_have_their_turn_between_two_entries_of_a_long_tail() -> None:
    async def story() -> None:
        house = House()
        connection, outlet = house.live()
        positions: list[Position] = []

        class SlowTransport(RecordingTransport):
            def send(self, outlets: Collection[Outlet], frame: RecordedFrame) -> None:
                super().send(outlets, frame)
                house.clock.advance(TURN_SECONDS / 2)

        slow = SlowTransport()
        house.live(ANN, transport=slow)
        delivering = asyncio.create_task(house.hub.deliver())
        await house.log.added.put([entry(offset, ANN) for offset in range(1, 11)])
        while not positions or positions[-1].offset < 10:
            await asyncio.sleep(0)
            if house.hub.delivered != at(0):
                # Whoever pauses then knows up to where everything was sent.
                positions.append(connection.pause())
                assert outlet.sent == list(range(1, positions[-1].offset + 1))
                assert connection.resume(positions[-1])
        assert len({position.offset for position in positions}) > 2
        delivering.cancel()

    run(story())
