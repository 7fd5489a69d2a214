"""Where a connection continues: what a client's request to resume an earlier one is worth."""

from __future__ import annotations

from domain.model import PidVerdict, RecoveryReason, ResumeRequest
from domain.model.value import value


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
