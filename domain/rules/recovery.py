"""Where a connection continues: what a request to resume an earlier one is worth, and what the log says to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domain.model import (
    SPANS_MOST,
    Arrival,
    Entry,
    PidVerdict,
    Position,
    RecoveryReason,
    ResumeRequest,
    Room,
    Span,
    Subscriber,
)
from domain.model.value import value
from domain.rules.epochs import Generations


@value
class Resumption:
    """What a client asks to continue from.

    ``cursors``, as sent, must all be good, and the latest counts; without one it starts after what its user is known to
    have received. ``reason``: why what it brought counts for nothing. ``stays``: it goes on as who it was, in place of
    the connection that it had.
    """

    cursors: tuple[object, ...]
    reason: RecoveryReason | None
    stays: bool


def resumption(resume_request: ResumeRequest, verdict: PidVerdict | None) -> Resumption:
    """``verdict`` is about the pid in it; None where it has none."""
    match verdict:
        case None:
            # An offset is the stock client's own, and says nothing without the pid it belongs to.
            return Resumption(_present(resume_request.cursor), None, stays=False)
        case PidVerdict.GOOD:
            return Resumption(_present(resume_request.offset, resume_request.cursor), None, stays=True)
        case PidVerdict.UNANSWERED:
            # The offset was refused before, and whoever sent it never heard of that: it may be another user's.
            return Resumption((), None, stays=True)
        case PidVerdict.OF_ANOTHER_USER:
            return Resumption((), RecoveryReason.IDENTITY_CHANGED, stays=False)
        case PidVerdict.UNKNOWN:
            return Resumption((), RecoveryReason.UNKNOWN_EPOCH, stays=False)


def refused_offset(resume_request: ResumeRequest) -> str | None:
    """The offset that a new pid has to remember as refused: the client sends it again if it never hears of that."""
    return resume_request.offset if resume_request.pid is not None and isinstance(resume_request.offset, str) else None


def _present(*cursors: object | None) -> tuple[object, ...]:
    return tuple(cursor for cursor in cursors if cursor is not None)


@value
class Standing:
    """Where somebody stands in the log at one moment, in offsets: ``head`` is its last entry, ``floor`` the last that
    has left it and that they could have reached, ``mark`` the last that they are known to have received."""

    generations: Generations
    head: int
    floor: int
    mark: int

    def fault(self, position: Position) -> RecoveryReason | None:
        """Why they cannot read on from there: INVALID, UNKNOWN_EPOCH, or TRIMMED; None where they can."""
        fault = self.generations.fault(position, self.head)
        if fault is None and position.offset < self.floor:
            return RecoveryReason.TRIMMED
        return fault


def floor_of(starts: Mapping[Room, int], trimmed: Mapping[Room, int]) -> int:
    """The last offset that has left the log and lies after the start in its room, or 0. ``trimmed`` says which was the
    last to leave a room; one that is not in it lost none."""
    floor = 0
    for room, start in starts.items():
        lost = trimmed.get(room, 0)
        if lost > start and lost > floor:
            floor = lost
    return floor


def may_miss(subscriber: Subscriber, after: int, floor: int) -> bool:
    """Whether something that they could reach behind a position can have left the log, which has nothing up to its
    ``floor``. Who was erased has lost what lies before the start in their own room, whatever the log still has. Nothing
    lies before the first entry."""
    start = subscriber.starts.get(Room.of_user(subscriber.user), 0)
    return after < floor or (start > 0 and after <= start)


def floor_in_topics(spans: Sequence[Span], trimmed: Mapping[Room, int]) -> int:
    """The same of stays in topics, and in rooms of several parts. Of a stay that is over that is as much: what came
    behind it may have taken back or revised what the user has from it. So may what was lost with stays that are
    remembered no more, where there may be such."""
    over = [span.upto for span in spans if span.upto is not None and not span.room.is_all]
    floor = min(over) if len(over) >= SPANS_MOST else 0
    for span in spans:
        lost = trimmed.get(span.room, 0)
        if lost > span.after and lost > floor:
            floor = lost
    return floor


def is_told(entry: Entry, starts: Mapping[Room, int], spans: Sequence[Span]) -> bool:
    """Whether somebody is to read an entry that is for a topic they can reach: what is about another is for those for
    whom that is. In rooms that are no topics this is left to who sends it to them."""
    about = entry.about
    if about is None or not any(room.is_topic for room in entry.rooms):
        return True
    return any(starts.get(room, about) < about for room in entry.rooms) or any(
        span.room in entry.rooms and span.includes(about) for span in spans
    )


@value
class Continuation:
    """After which position somebody continues, whether it is where they asked to, and why not or why some is lost."""

    after: Position
    recovered: bool
    reason: RecoveryReason | None


def continuation(arrival: Arrival, standing: Standing) -> Continuation:
    """Where their cursors stand, if all are good; else after what they have received, as far as it is still there."""
    reason = _fault_of(arrival.cursors, standing)
    if arrival.cursors and reason is None:
        return Continuation(_latest(arrival.cursors), recovered=True, reason=None)
    if not arrival.replays_undelivered:
        return Continuation(standing.generations.position(standing.head), recovered=False, reason=reason)
    mark, newer = standing.generations.position(standing.mark), arrival.unstored_mark
    if newer is not None and newer.offset > mark.offset and standing.generations.fault(newer, standing.head) is None:
        mark = newer
    lost = standing.fault(mark)
    if lost is not None:
        mark = standing.generations.position(standing.floor)
    return Continuation(mark, recovered=False, reason=reason or lost)


def _fault_of(cursors: Sequence[Position | None], standing: Standing) -> RecoveryReason | None:
    if None in cursors:
        return RecoveryReason.INVALID
    faults = (standing.fault(cursor) for cursor in cursors if cursor is not None)
    return next((fault for fault in faults if fault is not None), None)


def _latest(cursors: Sequence[Position | None]) -> Position:
    return max((cursor for cursor in cursors if cursor is not None), key=lambda cursor: cursor.offset)
