"""The log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from adapters.contract.controls import control_event
from adapters.store.decisions import kept_out
from adapters.store.drafts import PreparedDraft, prepare
from adapters.store.following import as_following
from adapters.store.memory.held import Record, User, sealed
from adapters.store.memory.inboxes import MemoryInboxes
from adapters.store.memory.schedule import MemorySchedule
from adapters.store.memory.scheduled import Waiting
from adapters.store.memory.subscribers import MemorySubscribers
from adapters.store.tail import as_seen_by
from domain.errors import CheckpointMoved, CursorRefused, PublicationTooLarge
from domain.model import (
    NOTIFICATION_REVISED,
    Appended,
    AppendOutcome,
    Arrival,
    Arrived,
    Checkpoint,
    Draft,
    Entry,
    Page,
    Position,
    RecoveryReason,
    RestrictUser,
    Subscriber,
    UserControl,
)
from domain.model.value import value
from domain.ports import Wanted
from domain.rules import restrictions
from domain.rules.recovery import Standing, continuation, is_told


class MemoryLog(MemorySubscribers, MemoryInboxes, MemorySchedule):
    """The log, and how far sources have been taken over. Whoever arrives is registered and has their inbox counted."""

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        prepared = await prepare(batch)
        # From here on nothing waits: this is the commit.
        self._trim_old()
        if checkpoint is not None and self._checkpoints.get(checkpoint.source) != checkpoint.after:
            raise CheckpointMoved
        records, decided = self._decide(prepared)
        outcomes = [appended for appended, _ in decided]
        if all_or_nothing and any(appended.outcome is AppendOutcome.CONFLICT for appended in outcomes):
            return [kept_out(appended, self._head(), is_new=is_new) for appended, is_new in decided]
        waiting = [
            draft
            for draft, appended in zip(prepared, outcomes, strict=True)
            if draft.draft.waits and appended.outcome is AppendOutcome.STORED
        ]
        if any(draft.weight > self._max_bytes for draft in waiting):
            raise PublicationTooLarge("what was published is more than the whole log may hold")
        if waiting:
            self._schedule.ensure_room(len(waiting))
        self._store(records)
        for draft in waiting:
            self._schedule.put(draft)
        if checkpoint is not None:
            self._checkpoints[checkpoint.source] = checkpoint.resume_id
        return outcomes

    async def append_control(self, control: UserControl) -> Position:
        event, payload = control_event(control)
        entry = Entry(self._position(self._tail.head + 1), frozenset(), event, payload, control=control)
        self._store([Record(entry, self._clock.monotonic())])
        if isinstance(control, RestrictUser):
            known = self._restrictions.get(control.user)
            self._restrictions[control.user] = restrictions.after(known, control, entry.position.offset)
        return entry.position

    async def tail(
        self,
        after: Position,
        wanted: Wanted | None = None,  # noqa: ARG002 (every payload is at hand)
    ) -> AsyncIterator[Sequence[Entry]]:
        self._check_position(after)
        if after.offset < self._tail.floor:
            raise CursorRefused(RecoveryReason.TRIMMED)
        with self._tail.following(after.offset) as follower:
            while True:
                yield await self._tail.next_batch(follower)
                # What these set off, writes to sockets above all, gets its turn before the next ones.
                await asyncio.sleep(0)

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        arrived: list[Arrived] = []
        for arrival in arrivals:
            await self._leave_turns()
            subscriber = self._register(arrival.user, arrival.role, arrival.rooms)
            found = continuation(arrival, self._standing(subscriber))
            page = self._page(subscriber, found.after, arrival.max_entries, arrival.max_bytes)
            counted = self._count(subscriber)
            spans = tuple(self._spans_of(arrival.user))
            arrived.append(Arrived(subscriber, found.after, found.recovered, found.reason, page, counted, spans))
        return arrived

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        fault = self._standing(subscriber).fault(after)
        if fault is not None:
            raise CursorRefused(fault)
        return self._page(subscriber, after, max_entries, max_bytes)

    def _page(self, subscriber: Subscriber, after: Position, max_entries: int, max_bytes: int) -> Page:
        entries, more = self._tail.page(
            subscriber,
            after.offset,
            self._tail.head,
            self._stays_of(subscriber),
            max_entries=max_entries,
            max_bytes=max_bytes,
        )
        upto = entries[-1].position if more else self._head()
        user, spans = self._users.get(subscriber.user, User()), self._stays_of(subscriber)
        kept = tuple(
            entry for entry in entries if self._is_to_be_told(entry, user) and is_told(entry, subscriber.starts, spans)
        )
        if any(entry.collapse_key is not None for entry in kept):
            kept = tuple(self._without_replaced(subscriber, kept))
        return Page(as_seen_by(kept, self._raised(subscriber.user, kept)), upto, more)

    def _is_to_be_told(self, entry: Entry, user: User) -> bool:
        """What revises something is not where the user has deleted or snoozed that, nor where it is gone from all."""
        if entry.event != NOTIFICATION_REVISED or entry.about is None:
            return True
        return entry.about in self._records and not user.state.of(entry.about).is_away

    def _without_replaced(self, subscriber: Subscriber, entries: Sequence[Entry]) -> Iterator[Entry]:
        """But for what later ones have taken the place of, or revises such."""
        starts = subscriber.starts
        for entry in entries:
            key, offset = entry.collapse_key, entry.about if entry.about is not None else entry.position.offset
            if key is None:
                yield entry
            elif not self._collapsing.is_replaced(key, starts, offset):
                follows = self._collapsing.first_before(key, starts, offset)
                yield as_following(entry, key, follows)

    def _standing(self, subscriber: Subscriber) -> Standing:
        return Standing(self._generations, self._tail.head, self._floor_of(subscriber), self._mark_of(subscriber))

    async def head(self) -> Position:
        return self._head()

    async def checkpoint(self, source: str) -> str | None:
        return self._checkpoints.get(source)

    def _decide(self, batch: Sequence[PreparedDraft]) -> tuple[list[Record], list[tuple[Appended, bool]]]:
        """What is to be stored, and what becomes of each draft once it is; whether it is, or is the same as, one of
        those."""
        records: list[Record] = []
        outcomes: list[tuple[Appended, bool]] = []
        by_id: dict[str, _Published] = {}
        by_key: dict[str, _Published] = {}
        stored_at = self._clock.now()
        for prepared in batch:
            draft, notification = prepared.draft, prepared.draft.notification
            id_, key = notification.id, draft.idempotency_key
            known = [by_id.get(id_) or self._published_by_id(id_) or self._sealed(self._by_id, id_, prepared)]
            if key is not None:
                known.append(
                    by_key.get(key) or self._published_by_key(key) or self._sealed(self._by_key, key, prepared)
                )
            earlier = [one for one in known if one is not None]
            if earlier:
                other = [one for one in earlier if one.digest is None or one.digest != prepared.digest]
                outcome = AppendOutcome.CONFLICT if other else AppendOutcome.DUPLICATE
                first = (other or earlier)[0]
                appended = Appended(outcome, first.id, first.position or self._head(), first.position is None)
                outcomes.append((appended, first.is_new))
                continue
            position = None
            if not draft.waits:
                position = self._position(self._tail.head + 1 + len(records))
                records.append(self._record(prepared, position, stored_at))
            appended = Appended(AppendOutcome.STORED, id_, position or self._head(), draft.waits)
            outcomes.append((appended, True))
            by_id[id_] = published = _Published(id_, prepared.digest, position, is_new=True)
            if key is not None:
                by_key[key] = published
        return records, outcomes

    def _published_by_id(self, id_: str) -> _Published | None:
        return _published(self._by_id.get(id_), self._schedule.by_id(id_))

    def _published_by_key(self, key: str) -> _Published | None:
        return _published(self._by_key.get(key), self._schedule.by_key(key))

    def _sealed(self, records: Mapping[str, Record], name: str, again: PreparedDraft) -> _Published | None:
        """What was for somebody who was erased, as it is published again."""
        if not self._erased:
            return None
        record = records.get(sealed(self._seals.id(name) if records is self._by_id else self._seals.key(name)))
        if record is None:
            return None
        is_same = again.digest is not None and record.digest == self._seals.digest(again.digest)
        return _Published(again.draft.notification.id, again.digest if is_same else None, record.entry.position)


@value
class _Published:
    """What was published before; ``position`` is None of what waits. ``is_new``: by the same batch."""

    id: str
    digest: bytes | None
    position: Position | None
    is_new: bool = False


def _published(record: Record | None, waiting: Waiting | None) -> _Published | None:
    if record is not None:
        return _Published(record.id, record.digest, record.entry.position)
    return _Published(waiting.id, waiting.digest, None) if waiting is not None else None
