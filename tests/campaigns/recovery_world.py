"""A server without sockets over a log that outlives it: it crashes, starts again, and is restored from copies."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from functools import partial
from typing import Any, cast

from adapters.store.memory import MemoryStore
from adapters.store.memory.all_of import RoomsOfAll
from adapters.store.memory.collapsing import CollapseIndex
from adapters.store.memory.scheduled import KeptSchedule
from adapters.store.presence import LocalPresence
from adapters.store.tail import Follower
from adapters.system.pids import KeyedPids
from adapters.transport.memory.transport import MemoryConnection, MemoryFrame, MemoryTransport
from domain.application import Application
from domain.errors import CursorRefused, StoreUnavailable
from domain.model import (
    Answer,
    ConnectionId,
    Entry,
    Identity,
    Outgoing,
    Position,
    RecoveryReason,
    Reply,
    Room,
    Subscriber,
    TailEntry,
    Unfetched,
    UserId,
)
from domain.policy import ConnectionPolicy
from domain.ports import Wanted
from domain.rules.epochs import Generation, Generations
from tests.campaigns.recovery_oracle import Oracle
from tests.doubles import START, FixedRandomness, ManualClock, RecordingTelemetry, StaticVerifier
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import until

USERS = ("ann", "bob")
ROLES = ("freelance", "company")
TOPICS = ("project", "other")


def token(user: str, role: str) -> str:
    return f"{user}/{role}"


class Store(MemoryStore):
    """A log with generations, as one on a disk has them. ``is_writable``: whether marks can be stored."""

    def __init__(self, clock: ManualClock, oracle: Oracle, max_entries: int) -> None:
        super().__init__(clock=clock, max_entries=max_entries)
        self.is_writable = True
        self._oracle = oracle
        self._began: tuple[Generation, ...] = ()

    def begin(self, epoch: str) -> None:
        """A writer starts: a new generation, whose first offset is on record before any cursor of it."""
        first = self._oracle.log.generations[epoch] = self._tail.head + 1
        self._began = (*self._began, Generation(len(self._began) + 1, epoch, first, START))
        self._generations = Generations(self._began)

    def backup(self) -> dict[str, Any]:
        tail = {
            name: _copied(getattr(self._tail, name))
            for name in ("floor", "head", "bytes", "_entries", "_rooms", "_revisions", "_returns", "_last_return")
        }
        names = (
            *("_records", "_by_id", "_by_key", "_users", "_trimmed_rooms", "_trimmed_elsewhere", "_began"),
            "_schedule",
            "_collapsing",
            "_spans",
            "_memberships",
            "_rooms_of_all",
            "_snoozes",
            "_erased",
            "_erasures",
        )
        return {"tail": tail, "own": {name: _copied(getattr(self, name)) for name in names}}

    def restore(self, backup: Mapping[str, Any]) -> None:
        for owner, state in ((self._tail, backup["tail"]), (self, backup["own"])):
            for name, value in state.items():
                setattr(owner, name, _copied(value))
        for follower in self._tail._followers:
            follower.wake.set()

    @property
    def epoch(self) -> str:
        return self._generations.present

    @contextmanager
    def following(self, after: Position) -> Iterator[Follower]:
        with self._tail.following(after.offset) as follower:
            yield follower

    async def next_batch(self, follower: Follower) -> Sequence[Entry]:
        """What a follower was not given yet; none where there is nothing, and there may be now."""
        if follower.given < self._tail.head:
            return await self._tail.next_batch(follower)
        follower.wake.clear()
        await follower.wake.wait()
        return ()

    def _register(self, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        self._oracle.entered(user, role, rooms)
        return super()._register(user, role, rooms)

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        if not self.is_writable:
            raise StoreUnavailable
        await super().acknowledge(marks)

    def _store(self, records: Sequence[Any]) -> None:
        super()._store(records)
        self._oracle.appended([record.entry for record in records])

    def _trim_first(self) -> None:
        super()._trim_first()
        self._oracle.trimmed(self._tail.floor)


def _copied(value: Any) -> Any:
    match value:
        case dict() if value and isinstance(next(iter(value.values())), list):
            return {key: list(item) for key, item in value.items()}
        case list():
            return value.copy()
        case KeptSchedule():
            return deepcopy(value)
        case dict() if value and hasattr(next(iter(value.values())), "marks"):
            return deepcopy(value)
        case CollapseIndex() | RoomsOfAll():
            return deepcopy(value)
        case dict():
            return value.copy()
        case _:
            return value


_WRITES = (
    "append",
    "change",
    "read_all",
    "recall",
    "revise",
    "deliver_due",
    "cancel",
    "revise_scheduled",
    "change_members",
    "begin_erasure",
)


class View:
    """A log as one server sees it, which may share it with others.

    While ``gate`` is clear it hears of nothing that is appended, but for what it reads by itself. ``becomes`` says of
    what it writes whether it is stored, and whether it is told.
    """

    def __init__(self, store: Store, oracle: Oracle, number: int) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.becomes: Callable[[], tuple[bool, bool]] = lambda: (True, True)
        self._store = store
        self._oracle = oracle
        self._number = number
        self._known = Position("", 0)
        self._epoch = ""

    @property
    def is_lost(self) -> bool:
        """Whether the log has lost something, which this server has not noticed yet."""
        return self._epoch not in ("", self._store.epoch)

    def __getattr__(self, name: str) -> Any:
        """A server waits until it has heard of all that an answer includes."""
        method = getattr(self._store, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def caught_up(*arguments: Any, **named: Any) -> Any:
            if self.is_lost:
                raise StoreUnavailable
            is_stored, is_told = self.becomes() if name in _WRITES else (True, True)
            result = await method(*arguments, **named) if is_stored else None
            self._known = await self._store.head()
            if not is_stored or not is_told:
                raise StoreUnavailable
            return result

        return caught_up

    async def head(self) -> Position:
        if self.gate.is_set() or not self._known.epoch:
            self._known = await self._store.head()
        return self._known

    async def tail(self, after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[TailEntry]]:
        self._epoch = self._epoch or after.epoch
        with self._store.following(after) as follower:
            while True:
                await self.gate.wait()
                if self.is_lost:
                    self._epoch = self._store.epoch
                    raise CursorRefused(RecoveryReason.INVALID)
                entries = await self._store.next_batch(follower)
                await self.gate.wait()
                if entries and not self.is_lost:
                    yield [_outline(one) if wanted and not wanted(one.rooms) else one for one in entries]
                    await asyncio.sleep(0)

    async def acknowledge(self, marks: Mapping[tuple[UserId, str], Position]) -> None:
        if self.is_lost:
            raise StoreUnavailable
        await self._store.acknowledge(marks)
        self._oracle.marks_stored(self._number)


def _outline(entry: Entry) -> TailEntry:
    if entry.control is not None:
        return entry
    return Unfetched(entry.position, entry.rooms, entry.event, len(entry.payload), entry.expires_at)


class Meanwhile(Points):
    """Something happens at some of the points where it can, as often as ``left`` says."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.left = 0
        self.happens: Callable[[], Any] | None = None
        self._rng = rng

    async def __call__(self, name: str) -> None:
        if self.left and self.happens is not None and self._rng.random() < 0.15:
            left, self.left = self.left - 1, 0
            await self.happens()
            self.left = left


class ObservedTransport(MemoryTransport):
    """Tells of an answer, and of an entry, before it is sent."""

    when_answered: Callable[[ConnectionId, Answer], None]
    when_sent: Callable[[Entry], None]

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[int, Answer] = {}
        # With the frames, so that no other one can be taken for one of these.
        self._entries: dict[int, tuple[MemoryFrame, Entry]] = {}

    def encode(self, event: Outgoing) -> MemoryFrame:
        frame = super().encode(event)
        if isinstance(event, Reply):
            self._answers[id(frame)] = event.answer
        elif isinstance(event, Entry):
            self._entries[id(frame)] = frame, event
        return frame

    def send(self, outlets: Collection[MemoryConnection], frame: MemoryFrame) -> None:
        answer = self._answers.pop(id(frame), None)
        if answer is not None:
            (connection,) = outlets
            self.when_answered(connection.id, answer)
        if outlets and id(frame) in self._entries:
            self.when_sent(self._entries[id(frame)][1])
        super().send(outlets, frame)


class Server:
    """What runs between two starts, alone or as one of several nodes. The log, the clock and the verifier stay."""

    def __init__(
        self,
        number: int,
        rng: random.Random,
        view: View,
        clock: ManualClock,
        policy: ConnectionPolicy,
        when_answered: Callable[[int, ConnectionId, Answer], None],
        when_sent: Callable[[Server, Entry], None],
    ) -> None:
        self.number = number
        self.view = view
        self.gate = view.gate
        self.meanwhile = Meanwhile(rng)
        expires_at = START + timedelta(days=365)
        verifier = StaticVerifier(
            {token(user, role): Identity(UserId(user), role, "", expires_at) for user in USERS for role in ROLES}
        )
        self.transport = ObservedTransport()
        self.transport.when_answered = partial(when_answered, number)
        self.transport.when_sent = partial(when_sent, self)
        seen_verifier, seen_store, seen_transport = self.meanwhile.around(verifier, cast("Store", view), self.transport)
        application = Application(
            verifier=seen_verifier,
            store=seen_store,
            presence=LocalPresence(),
            transports=[seen_transport],
            pids=KeyedPids(seen_store.secret),
            clock=clock,
            randomness=FixedRandomness(),
            telemetry=RecordingTelemetry(),
            policy=policy,
            window_bytes=rng.choice((400, 100_000)),
        )
        self.hub = application.hub
        self.editing = application.editing
        self.delivery = application.delivery
        self.connections = application.connections
        self.inboxes = application.inboxes
        self.counts = application.counts
        self.recovery = application.recovery
        self.expiry = application.expiry
        self.connecting = application.connecting
        self.publishing = application.publishing
        self.due = application.due
        self.topics = application.topics
        self.erasing = application.erasing
        self._tail: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.gate.set()
        self._tail = asyncio.create_task(self.delivery.deliver())
        await self.settle()

    async def settle(self) -> None:
        """Until everything that can happen has happened."""
        if self.gate.is_set():
            await until(self.publishing.is_up_to_date)
        # Connections that were told to close end in the next turn of the loop.
        for _ in range(4):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """At once, and with nothing said or stored."""
        await self.transport.close()
        if self._tail is not None:
            self._tail.cancel()
            await asyncio.gather(self._tail, return_exceptions=True)
