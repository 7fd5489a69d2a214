"""Who is in which topic, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.contract.controls import control_event
from adapters.store.memory.held import Held, Record
from domain.errors import StoreUnavailable, TooManyTopics
from domain.model import SPANS_MOST, ChangeMembers, Entry, Position, Room, Span, UserId

MEMBERSHIPS_MOST = 1_000_000
"""Stays in topics of all users together, as they are in memory for as long as the store."""


class MemoryTopics(Held):
    async def change_members(
        self, topic: str, add: Sequence[UserId], remove: Sequence[UserId], *, most: int
    ) -> Position:
        room = Room.of_topic(topic)
        joined = tuple(user for user in add if self._stay(user, room) is None)
        left = tuple(user for user in remove if self._stay(user, room) is not None)
        if not joined and not left:
            return self._head()
        for user in joined:
            if sum(span.upto is None for span in self._spans_of(user)) >= most:
                raise TooManyTopics(user)
        if self._memberships + len(joined) > MEMBERSHIPS_MOST:
            raise StoreUnavailable("there are as many members of topics as can be")
        control = ChangeMembers(topic, joined, left)
        position = self._position(self._tail.head + 1)
        event, payload = control_event(control)
        self._store([Record(Entry(position, frozenset(), event, payload, control=control), self._clock.monotonic())])
        for user in joined:
            self._spans.setdefault(user, []).append(Span(room, position.offset))
        self._memberships += len(joined)
        for user in left:
            self._end(user, room, position.offset)
        return position

    def _stay(self, user: UserId, room: Room) -> Span | None:
        """The one that is not over."""
        return next((span for span in self._spans_of(user) if span.room == room and span.upto is None), None)

    def _end(self, user: UserId, room: Room, offset: int) -> None:
        spans = [
            Span(span.room, span.after, offset) if span.room == room and span.upto is None else span
            for span in self._spans[user]
        ]
        over = sorted(span.upto for span in spans if span.upto is not None)
        oldest = over[-SPANS_MOST] if len(over) > SPANS_MOST else 0
        kept = self._spans[user] = [span for span in spans if span.upto is None or span.upto >= oldest]
        self._memberships -= len(spans) - len(kept)
