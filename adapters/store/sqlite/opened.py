"""A store in a SQLite file while it is open: what it knows of the log, and waiting for more of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from adapters.store.jobs import one_by_one
from adapters.store.registration import Recent
from adapters.store.sqlite import log
from adapters.store.sqlite.arrivals import Found
from adapters.store.sqlite.erasing import Stepped
from adapters.store.sqlite.log import Following, RoomSets
from adapters.store.sqlite.schema import FileLock
from adapters.store.sqlite.scrubbing import Scrubber
from adapters.store.sqlite.threads import Readers, Writer
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.sqlite.trimming import Trimmed
from adapters.store.tail import Follower, Tail, is_plain
from domain.errors import StoreUnavailable
from domain.model import Arrival, Arrived, Entry, Page, Position, Subscriber, UserId
from domain.rules.epochs import Generations
from domain.rules.recovery import is_told

_RECENT_USERS = 20_000

_FOLLOWING = one_by_one(log.following)


@dataclass(eq=False, slots=True)
class Opened:
    """What there is from open() on; of a closed one, what was asked for before is still answered."""

    lock: FileLock
    scrubber: Scrubber
    generations: Generations
    tail: Tail[Entry]
    log_floor: int
    secret: bytes
    run: int | None
    writer: Writer[LogTransaction] = field(init=False)
    readers: Readers = field(init=False)
    followers: set[Follower] = field(default_factory=set)
    registered: Recent[tuple[UserId, str], Subscriber] = field(default_factory=lambda: Recent(_RECENT_USERS))
    behind: list[asyncio.Future[None]] = field(default_factory=list)
    room_sets: RoomSets = field(default_factory=RoomSets)
    lacking: int = 0
    """How many bytes have to be written at once before the store works again; 0 while it does."""
    is_erasing: bool = True
    """Whether somebody may be to be erased."""
    closed: bool = False

    def add(self, entries: Sequence[Entry], most: int, most_bytes: int) -> None:
        """What was stored; of all the entries the last ``most`` stay at hand, no more than take ``most_bytes``."""
        self.tail.append(entries)
        while len(self.tail) > most or self.tail.bytes > most_bytes:
            self.tail.drop_first()

    def trimmed(self, trimmed: Trimmed) -> None:
        """The log begins later now."""
        self.tail.forget_contents(trimmed.erased)
        self.log_floor = trimmed.log_floor
        self.generations = trimmed.generations
        while self.tail.floor < self.log_floor:
            self.tail.drop_first()

    def forget(self, user: UserId) -> None:
        """They are erased."""
        self.is_erasing = True
        self.registered.drop(lambda key: key[0] == user)
        self.room_sets.clear()

    def erased(self, stepped: Stepped) -> None:
        """A step of it is done."""
        self.is_erasing = stepped.is_erasing
        self.room_sets.clear()

    def tail_page(
        self, subscriber: Subscriber, after: Position, upto: int, max_entries: int, max_bytes: int
    ) -> Page | None:
        """A page of what the tail has up to an offset; None where it is not known here what belongs on it."""
        entries, more = self.tail.page(subscriber, after.offset, upto, max_entries=max_entries, max_bytes=max_bytes)
        if not is_plain(entries, upto) or self.tail.has_returns(subscriber.starts, after.offset):
            return None
        # A page of the tail is for who was in no topic.
        kept = tuple(entry for entry in entries if entry.about is None or is_told(entry, subscriber.starts, ()))
        return Page(kept, entries[-1].position if more else Position(self.generations.present, upto), more)

    def arrived(self, arrival: Arrival, found: Found, head: int) -> Arrived | None:
        """What a reader found, with a page of the tail where it was left to it; None where that has not all of it."""
        where, page = found.continuation, found.page
        if page is None:
            page = self.tail_page(found.subscriber, where.after, head, arrival.max_entries, arrival.max_bytes)
        if page is None:
            return None
        return Arrived(found.subscriber, where.after, where.recovered, where.reason, page, found.counted, found.spans)

    @contextmanager
    def following(self, after: int) -> Iterator[Follower]:
        with self.tail.following(after) as follower:
            self.followers.add(follower)
            try:
                yield follower
            finally:
                self.followers.discard(follower)

    async def next_batch(self, follower: Follower) -> Sequence[Entry]:
        """Wait for what a follower was not given yet. Raises StoreUnavailable."""
        tail = self.tail
        while follower.given >= tail.head:
            follower.wake.clear()
            if self.closed:
                raise StoreUnavailable
            await follower.wake.wait()
        if self.closed:
            raise StoreUnavailable
        if follower.given >= tail.floor:
            return await tail.next_batch(follower)
        # While this is read the tail may go on, but not the log's floor: what was not given stays.
        request = Following(self.generations, follower.given, tail.floor, self.room_sets)
        entries = await self.readers.do(_FOLLOWING, request)
        follower.given = entries[-1].position.offset
        return entries

    async def caught_up(self, head: int) -> None:
        """Wait until the tail has what a reader has seen: an answer as of an entry comes after it in every respect.

        Raises StoreUnavailable.
        """
        while self.tail.head < head:
            if self.closed:
                raise StoreUnavailable
            behind = asyncio.get_running_loop().create_future()
            self.behind.append(behind)
            await behind

    def wake(self) -> None:
        """Have all followers look what there is for them."""
        for follower in self.followers:
            follower.wake.set()

    def tell_behind(self) -> None:
        """Have those who wait for the tail look whether it has come so far."""
        behind, self.behind = self.behind, []
        for future in behind:
            if not future.done():
                future.set_result(None)
