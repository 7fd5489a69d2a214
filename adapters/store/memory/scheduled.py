"""What waits for its time in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heapify, heappop, heappush

from adapters.store.drafts import PreparedDraft
from domain.errors import TooManyScheduled
from domain.model import Audience, Room

_Place = tuple[datetime, int, int, str]
"""When it is due, its number, its moves by then, and its id."""


@dataclass(slots=True, eq=False)
class Waiting:
    """``prepared`` is None of one that was cancelled at the time ``cancelled_at``, on the monotonic clock; it was for
    ``audience``, as far as that may be known. ``number`` tells apart what is due at the same time: the first comes
    first. ``moves`` is how often it was given another time."""

    id: str
    key: str | None
    digest: bytes | None
    due: datetime
    number: int
    prepared: PreparedDraft | None
    cancelled_at: float | None = None
    audience: Audience | None = None
    moves: int = 0

    @property
    def is_withdrawn(self) -> bool:
        """All whom it was for were erased: of what it was only a retry is known."""
        return self.prepared is None and self.audience is None


class KeptSchedule:
    """At most so many wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers = 0
        self._by_id: dict[str, Waiting] = {}
        self._by_key: dict[str, Waiting] = {}
        self._due: list[_Place] = []
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def by_id(self, id_: str) -> Waiting | None:
        return self._by_id.get(id_)

    def by_key(self, key: str) -> Waiting | None:
        return self._by_key.get(key)

    def ensure_room(self, number: int) -> None:
        """Raises TooManyScheduled where there is none for so many more."""
        if self._waiting + number > self._most:
            raise TooManyScheduled

    def put(self, prepared: PreparedDraft) -> None:
        draft = prepared.draft
        if draft.deliver_at is None:
            raise ValueError("what waits says for when")
        self._numbers += 1
        one = Waiting(
            draft.notification.id, draft.idempotency_key, prepared.digest, draft.deliver_at, self._numbers, prepared
        )
        self._by_id[one.id] = one
        if one.key is not None:
            self._by_key[one.key] = one
        self._push(one)
        self._waiting += 1

    def move(self, one: Waiting, due: datetime) -> None:
        """It is due at another time."""
        one.due = due
        one.moves += 1
        self._push(one)
        self._tidy()

    def cancel(self, one: Waiting, at: float) -> None:
        """Once only."""
        if one.prepared is not None:
            draft = one.prepared.draft
            one.audience = Audience(draft.notification.audience, draft.rooms)
        one.prepared, one.cancelled_at = None, at
        self._waiting -= 1
        self._tidy()

    def withdraw_from(self, room: Room, at: float) -> None:
        """What is for a room alone is cancelled, and what is for others, too, is not for it any more, nor was what was
        cancelled."""
        for one in self._by_id.values():
            prepared, audience = one.prepared, one.audience
            if prepared is not None and room in prepared.draft.rooms:
                left = prepared.draft.rooms - {room}
                if left:
                    one.prepared = replace(prepared, draft=replace(prepared.draft, rooms=left))
                else:
                    self.cancel(one, at)
                    one.audience = None
            elif audience is not None and room in audience.rooms:
                left = audience.rooms - {room}
                one.audience = replace(audience, rooms=left) if left else None

    def remove(self, one: Waiting) -> None:
        del self._by_id[one.id]
        if one.key is not None:
            del self._by_key[one.key]
        self._waiting -= one.prepared is not None

    def due(self, now: datetime, most: int, most_bytes: int) -> list[Waiting]:
        """Those that are due by now, the first first, of no more than so much weight where they are several. Each is to
        be removed, or put back."""
        due: list[Waiting] = []
        size = 0
        while len(due) < most and (one := self.first()) is not None and one.due <= now:
            size += one.prepared.weight if one.prepared is not None else 0
            if due and size > most_bytes:
                break
            heappop(self._due)
            due.append(one)
        return due

    def put_back(self, due: list[Waiting]) -> None:
        """What could not be delivered."""
        for one in due:
            self._push(one)

    def first(self) -> Waiting | None:
        while self._due:
            if self._is_waiting(self._due[0]):
                return self._by_id[self._due[0][-1]]
            heappop(self._due)
        return None

    def forget(self, before: float) -> None:
        """What was cancelled by then."""
        for one in list(self._cancelled()):
            if one.cancelled_at is not None and one.cancelled_at <= before:
                self.remove(one)

    def _cancelled(self) -> Iterator[Waiting]:
        return (one for one in self._by_id.values() if one.cancelled_at is not None)

    def _push(self, one: Waiting) -> None:
        heappush(self._due, (one.due, one.number, one.moves, one.id))

    def _tidy(self) -> None:
        """What is out of date takes no more space than what is not."""
        if len(self._due) > 2 * self._waiting + 1000:
            self._due = [place for place in self._due if self._is_waiting(place)]
            heapify(self._due)

    def _is_waiting(self, place: _Place) -> bool:
        _, number, moves, id_ = place
        known = self._by_id.get(id_)
        return known is not None and (known.number, known.moves) == (number, moves) and known.prepared is not None
