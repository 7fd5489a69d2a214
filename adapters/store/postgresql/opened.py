"""A store in a PostgreSQL database while it is open: what it knows of the log, and waiting for more of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from adapters.store.jobs import one_by_one
from adapters.store.postgresql import log
from adapters.store.postgresql.arrivals import Found
from adapters.store.postgresql.log import Following
from adapters.store.postgresql.partial_tail import PartialTail
from adapters.store.postgresql.threads import DOUBT_SECONDS, Readers, Writer
from adapters.store.postgresql.trimming import Trimmed
from adapters.store.postgresql.vacuuming import Vacuuming
from adapters.store.postgresql.watching import Known, LogWatcher
from adapters.store.registration import Recent
from adapters.store.tail import Follower, is_plain
from domain.errors import CursorRefused, EntriesMissing, StoreUnavailable
from domain.model import (
    Appended,
    Arrival,
    Arrived,
    Entry,
    EraseUser,
    Page,
    Position,
    RecoveryReason,
    Room,
    Subscriber,
    TailEntry,
    Unfetched,
    UserId,
)
from domain.ports import Wanted
from domain.rules.epochs import Generations
from domain.rules.recovery import is_told

_log = logging.getLogger("synkrone.store")

_RECENT_USERS = 20_000

_FOLLOWING = one_by_one(log.following)
_FETCHED = one_by_one(log.fetched)


def _everything(_rooms: frozenset[Room]) -> bool:
    return True


class _Lost(StoreUnavailable):
    """What was stored is not in the database any more."""


class _Suspecting:
    """Of a generator the error would be in a cycle with its frames, from Python 3.12 on."""

    def __init__(self, watcher: LogWatcher) -> None:
        self._watcher = watcher

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, EntriesMissing):
            self._watcher.suspect(error.offset)
            raise StoreUnavailable(str(error)) from None


@dataclass(eq=False, slots=True)
class Opened:
    """What there is from open() on; of a closed one, what was asked for before is still answered."""

    generations: Generations
    tail: PartialTail
    log_floor: int
    secret: bytes
    heard_at: float
    run: int | None
    writer: Writer = field(init=False)
    readers: Readers = field(init=False)
    watcher: LogWatcher = field(init=False)
    vacuuming: Vacuuming = field(init=False)
    followers: Mapping[Follower, Wanted] = field(default_factory=dict)
    """Each with what it wants. It is replaced, not changed, as another thread looks at it."""
    registered: Recent[tuple[UserId, str], Subscriber] = field(default_factory=lambda: Recent(_RECENT_USERS))
    behind: list[asyncio.Future[None]] = field(default_factory=list)
    failing: bool = False
    missing: int | None = None
    """The offset of an entry that is not there."""
    scrubs: int = 0
    closed: bool = False

    def add(self, entries: Sequence[TailEntry], most: int, most_bytes: int) -> None:
        """What follows the tail, up to where something is missing: in between other servers may have stored something.
        The rest it has already, or is read before long by whoever follows the log. What was stored in a database that
        is not the one any more belongs nowhere. Of all the entries the last ``most`` stay at hand, no more than take
        ``most_bytes``."""
        tail, position = self.tail, self.generations.position
        following: list[TailEntry] = []
        for entry in entries:
            offset = entry.position.offset
            if offset == tail.head + len(following) + 1 and entry.position == position(offset):
                following.append(entry)
        tail.append(following)
        for entry in following:
            if isinstance(entry, Entry) and isinstance(entry.control, EraseUser):
                self._forget(entry.control.user)
        while len(tail) > most or tail.bytes > most_bytes:
            tail.drop_first()

    def _forget(self, user: UserId) -> None:
        self.registered.drop(lambda key: key[0] == user)

    def know(self, generations: Generations) -> bool:
        """None that is older than what is known: threads answer in any order. Whether the log has lost entries."""
        known = self.generations
        if generations.present in known and generations.present != known.present:
            return False
        end = known.common_end(generations, self.tail.head)
        has_lost = end < self.tail.head
        if has_lost:
            _log.error("the log ended at %d, and was known up to %d: it has lost entries", end, self.tail.head)
            # What was promised of the rest is void: whoever follows is told, and whatever was remembered is forgotten.
            self.tail.cut_back(end)
            self.registered = Recent(_RECENT_USERS)
        self.generations = generations
        self.tell_behind()
        return has_lost

    def trimmed(self, trimmed: Trimmed) -> None:
        """The log begins later now."""
        self.tail.forget_contents(trimmed.erased)
        self.log_floor = trimmed.floor
        while self.tail.floor < min(self.log_floor, self.tail.head):
            self.tail.drop_first()

    def known(self) -> Known:
        """Called by any thread: the epoch first, which changes after the tail was cut back."""
        epoch = self.generations.present
        return Known(epoch, self.tail.head)

    def wants(self, rooms: frozenset[Room]) -> bool:
        """Called by any thread."""
        return any(wanted(rooms) for wanted in self.followers.values())

    @contextmanager
    def following(self, after: int, wanted: Wanted | None) -> Iterator[Follower]:
        with self.tail.following(after) as follower:
            self.followers = {**self.followers, follower: wanted or _everything}
            try:
                yield follower
            finally:
                self.followers = {one: its for one, its in self.followers.items() if one is not follower}

    def suspecting(self) -> _Suspecting:
        """Of what one reader finds missing all are to hear; itself it is told that it cannot be read."""
        return _Suspecting(self.watcher)

    def note_missing(self, missing: int | None) -> bool:
        """An entry is not there, or none is missing any more; whether that is news, and bad."""
        if missing == self.missing:
            return False
        self.missing = missing
        if missing is None:
            _log.warning("what was missing in the log is there again")
        else:
            _log.error("what was stored at offset %d is not there: nobody is served until it is", missing)
            self.wake()
        return missing is not None

    def note_scrubs(self, scrubs: int) -> bool:
        """So many times was the log looked through; whether that is once more."""
        is_more, self.scrubs = scrubs > self.scrubs, scrubs
        return is_more

    def tail_page(
        self, subscriber: Subscriber, after: Position, upto: int, max_entries: int, max_bytes: int
    ) -> Page | None:
        """A page of what the tail has up to an offset; None where it has not all of it, or it is not known here what
        belongs on it."""
        if after.offset < self.tail.whole_after(subscriber.starts):
            return None
        found, more = self.tail.page(subscriber, after.offset, upto, max_entries=max_entries, max_bytes=max_bytes)
        if not is_plain(found, upto) or self.tail.has_returns(subscriber.starts, after.offset):
            return None
        entries = tuple(entry for entry in found if isinstance(entry, Entry))
        # A page of the tail is for who was in no topic.
        kept = tuple(entry for entry in entries if is_told(entry, subscriber.starts, ()))
        return Page(kept, entries[-1].position if more else self.generations.position(upto), more)

    def arrived(self, arrival: Arrival, found: Found, head: Position) -> Arrived | None:
        """What a reader found, with a page of the tail where it was left to it; None where the tail has not all of
        it."""
        where, page = found.continuation, found.page
        if page is None:
            page = self.tail_page(found.subscriber, where.after, head.offset, arrival.max_entries, arrival.max_bytes)
        if page is None:
            return None
        return Arrived(found.subscriber, where.after, where.recovered, where.reason, page, found.counted, found.spans)

    async def next_batch(self, follower: Follower) -> Sequence[TailEntry]:
        """Wait for what a follower was not given yet. What it wants by now has its payload.

        Raises CursorRefused where the log has lost some of what was given, and StoreUnavailable.
        """
        tail = self.tail
        while follower.given >= tail.head:
            follower.wake.clear()
            self.check_followed(follower)
            await follower.wake.wait()
        self.check_followed(follower)
        # While it is read the tail may go on, but not the log's floor: what was not given stays.
        entries: Sequence[TailEntry]
        if follower.given >= tail.floor:
            entries = await self._fetched(follower, tail.batch(follower.given))
        else:
            with self.suspecting():
                entries = await self.readers.do(_FOLLOWING, Following(follower.given, tail.floor))
        follower.given = entries[-1].position.offset
        return entries

    async def _fetched(self, follower: Follower, entries: Sequence[TailEntry]) -> Sequence[TailEntry]:
        """With the payloads that came to be wanted after they were looked at, also while others are fetched."""
        wanted = self.followers[follower]
        while lacking := [one for one in entries if isinstance(one, Unfetched) and wanted(one.rooms)]:
            with self.suspecting():
                fetched = await self.readers.do(_FETCHED, lacking)
            self.check_followed(follower)
            entries = [fetched.get(entry.position, entry) for entry in entries]
        return entries

    def check_followed(self, follower: Follower) -> None:
        """As ``next_batch`` raises."""
        if self.closed:
            raise StoreUnavailable
        if follower.cut_off:
            raise CursorRefused(RecoveryReason.INVALID)
        self.check_complete()

    def check_complete(self) -> None:
        """Raises EntriesMissing."""
        if self.missing is not None:
            raise EntriesMissing(self.missing)

    async def caught_up(self, position: Position) -> None:
        """Wait until the tail has what a reader has seen: an answer as of an entry comes after it in every respect.

        Raises StoreUnavailable where it has not after a while, or will not.
        """

        def has_come() -> bool:
            fault = self.generations.fault(position, self.tail.head)
            if fault is RecoveryReason.INVALID and position.epoch != self.generations.present:
                raise _Lost
            return fault is None and self.tail.head >= position.offset

        await self.until(has_come)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Raises StoreUnavailable where that takes too long."""
        try:
            async with asyncio.timeout(DOUBT_SECONDS):
                while not condition():
                    if self.closed:
                        raise StoreUnavailable
                    behind = asyncio.get_running_loop().create_future()
                    self.behind.append(behind)
                    await behind
        except TimeoutError:
            raise StoreUnavailable from None

    async def caught_up_with(self, appended: Collection[Appended]) -> None:
        """The same for the last of them."""
        if appended:
            await self.caught_up_if_possible(max((one.position for one in appended), key=lambda at: at.offset))

    async def caught_up_if_possible(self, position: Position) -> None:
        """The same of what is stored, and has to be answered as long as it is.

        Raises StoreUnavailable where it was lost since.
        """
        try:
            await self.caught_up(position)
        except _Lost:
            raise
        except StoreUnavailable:
            _log.warning("what was stored up to %d was not read again in time", position.offset)

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
