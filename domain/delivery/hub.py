"""Every subscription, what rooms it is in and whether it is live, and the log's tail on its way to all of them.

A subscription is paused, or live. Whoever is paused is sent what the log holds, page after page, and resumes where that
ends: what the tail brought meanwhile lies in the window, and follows at once. Where the window does not reach back so
far, the log is read on. So each entry is sent once, in order, whenever it was published.

What is for nobody here, live or paused, the tail may bring without its payload. Whoever joins later reads the log for
themselves, and finds it there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic

from domain.delivery.deadlines import Deadlines
from domain.delivery.live_outlets import F, LiveOutlets, O
from domain.delivery.reach import Reach
from domain.delivery.revisions import Revisions
from domain.delivery.window import Window
from domain.delivery.withdrawn import Withdrawn
from domain.errors import ConnectionGone
from domain.model import (
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    Control,
    Disconnect,
    Entry,
    Outgoing,
    Position,
    Room,
    Span,
    TailEntry,
    Unfetched,
)
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Log, Sent, Telemetry, Transport

WINDOW_BYTES = 1_048_576
WINDOW_ENTRIES = 4_096

TURN_SECONDS = 0.005
"""After which others have their turn, between two entries."""

UNSENT_MOST = 10_000
"""Notifications that had expired before they were delivered, of which is remembered that nobody was sent them."""
SKIPPED_MOST = 1_000
"""The same, of one subscription."""
END_OF_LOG = 10**18
"""Beyond every offset."""


class Hub:
    """``begin`` comes before the first client, and ``deliver`` is to be run for as long as the server lives."""

    def __init__(
        self,
        *,
        log: Log,
        policy: ConnectionPolicy,
        clock: Clock,
        telemetry: Telemetry,
        window_bytes: int = WINDOW_BYTES,
        window_entries: int = WINDOW_ENTRIES,
    ) -> None:
        self._log = log
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry
        self._window = Window(window_bytes, window_entries)
        self._live: dict[Transport[Any, Any], LiveOutlets[Any, Any]] = {}
        self._members: Counter[Room] = Counter()
        self._observers: list[Callable[[Sequence[TailEntry]], None]] = []
        self._controlled: list[Callable[[Control, Position], None]] = []
        self._delivered: Position | None = None
        self._unsent: deque[int] = deque(maxlen=UNSENT_MOST)
        self._withdrawn = Withdrawn()
        # Live only from where the tail has not come yet, by the offset that they have already.
        self._ahead: Deadlines[Subscription[Any, Any], int] = Deadlines()

    @property
    def delivered(self) -> Position | None:
        """Everything up to here was taken to the rooms; None before it has begun."""
        return self._delivered

    @property
    def unsent(self) -> Collection[int]:
        """The offsets of notifications that were over as their turn came, since ``take_unsent``."""
        return self._unsent

    def take_unsent(self) -> list[int]:
        """What is ``unsent``, which is forgotten then."""
        unsent = list(self._unsent)
        self._unsent.clear()
        return unsent

    @property
    def rooms(self) -> frozenset[Room]:
        """Those that somebody is live in."""
        return frozenset(room for live in self._live.values() for room in live.rooms)

    def has_member(self, rooms: Iterable[Room]) -> bool:
        """Whether somebody is in any of them, be they live or paused. Anybody may be in a topic by then: they come to
        it at a place in the log, where the one who asks may be already."""
        if any(room in self._members for room in rooms):
            return True
        if not self._members:
            return False
        for room in rooms:
            if room.is_own:
                # What is for some users by their names is for no topic.
                return False
            if room.is_all:
                return all(part.is_topic or part in self._members for part in room.parts)
            if room.is_topic:
                return True
        return False

    def observe(self, observer: Callable[[Sequence[TailEntry]], None]) -> None:
        """Have it called with the entries that were delivered in a turn, behind the last of them."""
        self._observers.append(observer)

    def obey(self, carry_out: Callable[[Control, Position], None]) -> None:
        """Have it called with every control, behind all entries before it and before all after it."""
        self._controlled.append(carry_out)

    def subscribe(self, transport: Transport[O, F], outlet: O) -> Subscription[O, F]:
        """A subscription in no room yet, and paused. It leaves by ``close`` or ``leave``."""
        live = self._live.get(transport)
        if live is None:
            live = self._live[transport] = LiveOutlets(transport, self._window)
        return Subscription(self, live, outlet, self._clock.now())

    async def begin(self) -> Position:
        """Deliver what comes from now on, which is behind a position, or go on behind what was delivered.

        To be called before the first client: who was live before would miss what came in between. Raises
        StoreUnavailable.
        """
        if self._delivered is None:
            head = await self._log.head()
            self.begin_anew(head)
            return head
        return self._delivered

    def begin_anew(self, after: Position) -> None:
        """Deliver what comes behind a position, whatever was delivered before. Nobody may be live."""
        self._delivered = after
        self._withdrawn.clear()
        self._window.begin(after.offset)
        for live in self._live.values():
            live.forget_all()

    async def deliver(self) -> None:
        """Take the log's tail to the rooms, in the order of the log, for ever.

        Publishing itself never broadcasts: two publishers resumed in the other order would send n + 1 before n, and
        a client cut in between would lose n. Raises StoreUnavailable; called again it goes on where it was.
        Raises CursorRefused where it cannot: then live clients would miss entries in silence, and have to reconnect.
        See DeliveryService.
        """
        async for entries in self._log.tail(await self.begin(), self.has_member):
            for entry in entries:
                if isinstance(entry, Entry) and entry.about is not None and entry.event == NOTIFICATION_DELETED:
                    # Before the turn of what was read together with it.
                    self.withdraw(entry.about)
            waiting = deque(entries)
            while waiting:
                self._deliver_for_a_turn(waiting)
                if waiting:
                    await self._clock.turn()

    def _deliver_for_a_turn(self, waiting: deque[TailEntry]) -> None:
        """Take from them what can be delivered meanwhile.

        A turn ends between entries only: in the middle of one, a pause could not say up to where everything was sent.
        """
        now, ends_at = self._clock.now(), self._clock.monotonic() + TURN_SECONDS
        taken: list[TailEntry] = []
        delivered: list[TailEntry] = []
        sent: list[Sent] = []
        while waiting and (not delivered or self._clock.monotonic() < ends_at):
            entry = waiting.popleft()
            is_current = self._is_current(entry, now)
            self._deliver(entry, sent, is_current=is_current)
            taken.append(entry)
            if is_current:
                delivered.append(entry)
            elif entry.event == NOTIFICATION_NEW:
                self._unsent.append(entry.position.offset)
        self._telemetry.delivered(taken, sent)
        for observe in self._observers:
            observe(delivered)

    def _deliver(self, entry: TailEntry, sent: list[Sent], *, is_current: bool) -> None:
        while self._ahead.any_due(entry.position.offset - 1):
            for subscription in self._ahead.take(entry.position.offset - 1, WINDOW_ENTRIES):
                subscription.enter()
        if isinstance(entry, Entry) and entry.control is not None:
            for carry_out in self._controlled:
                carry_out(entry.control, entry.position)
        elif (told := self._told(entry, is_current=is_current)) is not None:
            entry = told
            gone = self._window.add(entry)
            for live in self._live.values():
                if (sending := live.deliver(entry)) is not None:
                    sent.append(sending)
                live.forget(gone)
        self._delivered = entry.position

    def _told(self, entry: TailEntry, *, is_current: bool) -> TailEntry | None:
        """Of one that is over before its turn, and took the place of others: that these are gone."""
        if is_current:
            return entry
        if not isinstance(entry, Entry) or entry.over is None:
            return None
        return Entry(entry.position, entry.rooms, NOTIFICATION_DELETED, entry.over, stored_at=entry.stored_at)

    def withdraw(self, offset: int) -> None:
        """Nobody is sent any more what lies at an offset, nor what revises it, though it was read already."""
        self._withdrawn.add(offset)

    def forget(self, room: Room) -> None:
        """Hold nothing any more of what was delivered to a room."""
        gone = self._window.forget(room)
        for live in self._live.values():
            live.forget(gone)

    def _is_current(self, entry: TailEntry, now: datetime) -> bool:
        return self._policy.is_current(entry, now) and not (self._withdrawn and self._withdrawn.includes(entry))

    # for subscriptions

    def join(self, rooms: Collection[Room]) -> None:
        """There is one more in each of them."""
        self._members.update(rooms)

    def leave(self, rooms: Collection[Room]) -> None:
        for room in rooms:
            self._members[room] -= 1
            if not self._members[room]:
                del self._members[room]

    def go_live(self, subscription: Subscription[Any, Any], after: Position) -> bool:
        """Send what was delivered beyond ``after``; False where the window does not reach back to it, or lacks
        something of it."""
        if not self._window.reaches(after.offset):
            return False
        missed = [entry for entry in self._window.after(after.offset) if subscription.reach.has(entry)]
        are_current = self.are_current(missed)
        if any(current and isinstance(entry, Unfetched) for entry, current in zip(missed, are_current, strict=True)):
            return False
        subscription.catch_up(missed)
        if self._delivered is None or after.offset > self._delivered.offset:
            self._ahead.put(subscription, after.offset)
        else:
            subscription.enter()
        return True

    def stay_paused(self, subscription: Subscription[Any, Any]) -> None:
        """Whether or not it was to go live later."""
        self._ahead.put(subscription, None)

    def replayed(self, transport: str, entries: int) -> None:
        """So many were sent to one that had missed them."""
        self._telemetry.replayed(transport, entries)

    def are_current(self, entries: Iterable[TailEntry]) -> list[bool]:
        """Of each whether it is still to be delivered."""
        now = self._clock.now()
        return [self._is_current(entry, now) for entry in entries]


class Subscription(Generic[O, F]):
    """How one connection is delivered to. After its end nothing is sent, and ConnectionGone raised where said.

    ``rooms`` are those it is a member of. ``replayed`` is from where on it was live for the first time, and
    ``skipped`` are the offsets of what expired, or was taken back, before its turn and in its time.
    """

    __slots__ = (
        "_hub",
        "_is_in",
        "_live",
        "_live_after",
        "_sent",
        "_since",
        "is_open",
        "outlet",
        "reach",
        "replayed",
        "revisions",
        "rooms",
        "skipped",
    )

    def __init__(self, hub: Hub, live: LiveOutlets[O, F], outlet: O, since: datetime) -> None:
        self.outlet = outlet
        self.rooms: frozenset[Room] = frozenset()
        self.is_open = True
        self.replayed: Position | None = None
        self.skipped: list[int] = []
        self.reach = Reach()
        self.revisions = Revisions(self.reach)
        self._is_in = False
        self._sent: Position | None = None
        self._since = since
        self._hub = hub
        self._live = live
        self._live_after: Position | None = None

    def join(self, rooms: frozenset[Room]) -> None:
        """Before it is live for the first time. It leaves them by ending."""
        self.rooms = self.reach.rooms = rooms
        self._hub.join(rooms)

    def begin(self, starts: Mapping[Room, int], spans: Sequence[Span], as_of: int) -> None:
        """With what is stored of its user as of an offset: once it has joined its rooms, before it is live for the
        first time."""
        self.reach.begin(starts, spans, as_of)
        topics = self.reach.topics
        # Without any, all that know its rooms go on to share one set of them.
        if topics and self.is_open:
            self.rooms |= topics
            self._hub.join(topics)

    def change_topic(self, room: Room, at: Position, *, is_member: bool) -> None:
        """Have it in a topic or out of it, from the place in the log on to which the hub has come."""
        if not self.is_open or not self.reach.change(room, at.offset, is_member):
            return
        one = frozenset((room,))
        if self._is_in:
            self._live.exit(self.outlet, one, one)
            self._live.enter(self.outlet, one if is_member else (), self.reach, () if is_member else one)
        if is_member:
            self.rooms |= one
            self._hub.join(one)
        else:
            self.rooms -= one
            self._hub.leave(one)

    @property
    def sent(self) -> Position | None:
        """Up to here everything was sent, where it was for it; None before anything was."""
        after, delivered = self._live_after, self._hub.delivered
        if after is None:
            return self._sent
        return delivered if delivered is not None and delivered.offset > after.offset else after

    def send(self, event: Outgoing) -> None:
        """Behind everything that was sent before."""
        if self.is_open:
            frame = self._live.frame(event) if isinstance(event, Entry) else self._live.transport.encode(event)
            self._live.transport.send((self.outlet,), frame)

    async def replay(self, entries: Sequence[Entry], upto: int | None = None) -> None:
        """Send a page of the log, without what is over, once there is room for it. It is one of a replay up to an
        offset, or as far as the log went when the page was read.

        Raises SlowConsumer, or ConnectionGone: it has ended then, whether or not its transport has said so yet.
        """
        if not self.is_open:
            raise ConnectionGone
        if any(self._hub.are_current(entries)) or any(entry.over is not None for entry in entries):
            try:
                await self._live.transport.has_room(self.outlet)
            except ConnectionGone:
                self.leave()
                raise
            if not self.is_open:
                raise ConnectionGone
        # Some may have expired, or have been taken back, while there was no room.
        self.catch_up(entries, END_OF_LOG if upto is None else upto, is_read=True)
        if entries:
            self._sent = entries[-1].position

    def catch_up(self, entries: Sequence[TailEntry], upto: int = 0, *, is_read: bool = False) -> None:
        """Send what it has missed, but for what is over, which is noted. Of a replay it is told up to where that goes
        on, and that it ``is_read`` from the log."""
        sent = 0
        for entry, is_current in zip(entries, self._hub.are_current(entries), strict=True):
            if is_current and isinstance(entry, Entry):
                sent += self._send_as(entry, self.revisions.sent_for(entry, upto, is_read=is_read))
                continue
            if isinstance(entry, Entry):
                sent += self._send_as(entry, self.revisions.sent_for_expired(entry))
            if self._was_there(entry) and len(self.skipped) < SKIPPED_MOST:
                self.skipped.append(entry.position.offset)
        if sent and self.is_open:
            self._hub.replayed(self._live.transport.name, sent)

    def _send_as(self, entry: Entry, event: Entry | None) -> bool:
        """Whether anything is sent for it."""
        if event is not None and (place := self.revisions.place(event.position)) is not event.position:
            event = replace(event, position=place)
        if event is entry:
            self.send(event)
        elif event is not None and self.is_open:
            # For this connection alone it is what it is.
            self._live.transport.send((self.outlet,), self._live.transport.encode(event))
        return event is not None

    def _was_there(self, entry: TailEntry) -> bool:
        """Of one that is over, whether it was not as this began."""
        return entry.expires_at is None or entry.expires_at > self._since

    def resume(self, after: Position) -> bool:
        """Go live: what was and will be delivered beyond ``after`` is sent, and nothing at or below it.

        False where that is too much to be remembered: the pause goes on, and the log is to be read on. True for one
        that has ended: there is nothing to be read for it.
        """
        if not self.is_open:
            return True
        if not self._hub.go_live(self, after):
            return False
        self.revisions.begin(after.offset)
        self._live_after = after
        if self.replayed is None:
            self.replayed = after
        return True

    def pause(self) -> Position:
        """Have what is delivered wait, from behind the position that is returned: everything up to it was sent, where
        it was for this subscription. Raises ConnectionGone."""
        if not self.is_open:
            raise ConnectionGone
        sent = self.sent
        if self._live_after is None or sent is None:
            raise RuntimeError("it is paused already")
        self._withdraw()
        self.revisions.begin(sent.offset)
        return sent

    def close(self, why: Disconnect) -> None:
        """Nothing more is sent but why, and the transport ends it."""
        if self.is_open:
            self.leave()
            self._live.transport.disconnect(self.outlet, why)

    def leave(self) -> None:
        """It has ended."""
        if self.is_open:
            self.is_open = False
            self._withdraw()
            self._hub.leave(self.rooms)

    def enter(self) -> None:
        """For the hub: from the next entry on it is one of those who are sent it."""
        self._is_in = True
        self._live.enter(self.outlet, self.rooms, self.reach, self.reach.left)

    def _withdraw(self) -> None:
        self._sent, self._live_after = self.sent, None
        self._is_in = False
        self._live.exit(self.outlet, self.rooms, self.reach.left)
        self._hub.stay_paused(self)
