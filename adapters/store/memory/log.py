"""The log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from adapters.contract.controls import control_event
from adapters.store.drafts import PreparedDraft, prepare
from adapters.store.memory.held import Record
from adapters.store.memory.inboxes import MemoryInboxes
from adapters.store.memory.subscribers import MemorySubscribers
from domain.errors import CheckpointMoved, CursorRefused
from domain.model import (
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Appended,
    AppendOutcome,
    Arrival,
    Arrived,
    Checkpoint,
    Control,
    DisconnectUser,
    Draft,
    Entry,
    Page,
    Position,
    RecoveryReason,
    Subscriber,
)
from domain.ports import Wanted
from domain.rules import restrictions
from domain.rules.recovery import Standing, continuation


class MemoryLog(MemorySubscribers, MemoryInboxes):
    """The log, and how far sources have been taken over. Whoever arrives is registered and has their inbox counted."""

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        prepared = await prepare(batch)
        # From here on nothing waits: this is the commit.
        self._trim_old()
        if checkpoint is not None and self._checkpoints.get(checkpoint.source) != checkpoint.after:
            raise CheckpointMoved
        records, outcomes = self._decide(prepared)
        if all_or_nothing and any(appended.outcome is AppendOutcome.CONFLICT for appended in outcomes):
            return [self._kept_out(appended) for appended in outcomes]
        self._store(records)
        if checkpoint is not None:
            self._checkpoints[checkpoint.source] = checkpoint.resume_id
        return outcomes

    async def append_control(self, control: Control) -> Position:
        event, payload = control_event(control)
        entry = Entry(self._position(self._tail.head + 1), frozenset(), event, payload, control=control)
        self._store([Record(entry, self._clock.monotonic())])
        if not isinstance(control, DisconnectUser):
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
            arrived.append(Arrived(subscriber, found.after, found.recovered, found.reason, page, counted))
        return arrived

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        fault = self._standing(subscriber).fault(after)
        if fault is not None:
            raise CursorRefused(fault)
        return self._page(subscriber, after, max_entries, max_bytes)

    def _page(self, subscriber: Subscriber, after: Position, max_entries: int, max_bytes: int) -> Page:
        entries, more = self._tail.page(
            subscriber, after.offset, self._tail.head, max_entries=max_entries, max_bytes=max_bytes
        )
        upto = entries[-1].position if more else self._head()
        user = self._users.get(subscriber.user)
        if user is not None:
            entries = tuple(
                entry
                for entry in entries
                if entry.event != NOTIFICATION_REVISED or entry.about is None or not user.state.of(entry.about).deleted
            )
        return Page(entries, upto, more)

    def _standing(self, subscriber: Subscriber) -> Standing:
        return Standing(self._generations, self._tail.head, self._floor_of(subscriber), self._mark_of(subscriber))

    async def head(self) -> Position:
        return self._head()

    async def checkpoint(self, source: str) -> str | None:
        return self._checkpoints.get(source)

    def _decide(self, batch: Sequence[PreparedDraft]) -> tuple[list[Record], list[Appended]]:
        """What is to be stored, and what becomes of each draft once it is."""
        now = self._clock.monotonic()
        records: list[Record] = []
        outcomes: list[Appended] = []
        by_id: dict[str, Record] = {}
        by_key: dict[str, Record] = {}
        stored_at = self._clock.now()
        for prepared in batch:
            draft, notification = prepared.draft, prepared.draft.notification
            id_, key = notification.id, draft.idempotency_key
            known = [self._by_id.get(id_) or by_id.get(id_)]
            if key is not None:
                known.append(self._by_key.get(key) or by_key.get(key))
            earlier = [record for record in known if record is not None]
            if earlier:
                other = [record for record in earlier if record.digest is None or record.digest != prepared.digest]
                outcome = AppendOutcome.CONFLICT if other else AppendOutcome.DUPLICATE
                first = (other or earlier)[0]
                outcomes.append(Appended(outcome, first.id, first.entry.position))
                continue
            position = self._position(self._tail.head + 1 + len(records))
            entry = Entry(
                position, draft.rooms, NOTIFICATION_NEW, prepared.payload, notification.expires_at, None, stored_at
            )
            record = Record(entry, now, id_, key, prepared.digest, notification.type, notification.created_at)
            records.append(record)
            outcomes.append(Appended(AppendOutcome.STORED, id_, position))
            by_id[id_] = record
            if key is not None:
                by_key[key] = record
        return records, outcomes

    def _kept_out(self, appended: Appended) -> Appended:
        if appended.position.offset <= self._tail.head:
            return appended
        conflict = appended.outcome is AppendOutcome.CONFLICT
        outcome = AppendOutcome.CONFLICT if conflict else AppendOutcome.WITHHELD
        return replace(appended, outcome=outcome, position=self._head())
