"""One tree of errors. Each has a stable ``code``, a ``title`` for people, and says whether a retry can help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from domain.model import FieldError, Problem, RecoveryReason, UserId

ERRORS_MAX = 100
"""How many bad fields an error names."""
_IN_DETAIL_MAX = 5


class SynkroneError(Exception):
    """Something went wrong.

    ``errors`` are the bad fields of a request, the first ERRORS_MAX of the ``errors_total`` there are.
    """

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong."
    retryable: ClassVar[bool] = False
    errors: tuple[FieldError, ...] = ()
    errors_total: int = 0

    def __init__(self, detail: str | None = None) -> None:
        """``detail`` is public: it is shown to the one who caused the error."""
        super().__init__(detail or self.title)
        self.detail = detail

    def about(self, errors: Sequence[FieldError], total: int | None = None) -> Self:
        """Say which fields are bad; of more than are given, how many there are."""
        self.errors = tuple(errors[:ERRORS_MAX])
        self.errors_total = len(errors) if total is None else total
        return self

    @property
    def problem(self) -> Problem:
        return Problem(code=self.code, title=self.title, retryable=self.retryable, detail=self.detail)


def summary(errors: Sequence[FieldError], total: int | None = None) -> str:
    """The first of these, in words, and how many more there are."""
    named = [f"{error.path}: {error.message}" for error in errors[:_IN_DETAIL_MAX]]
    more = (len(errors) if total is None else total) - len(named)
    return "; ".join([*named, f"and {more} more"] if more else named)


class InvalidToken(SynkroneError):
    code = "invalid_token"
    title = "The token is not valid."

    def __init__(self, reason: str) -> None:
        """``reason`` is for the log: the client does not learn it."""
        super().__init__()
        self.reason = reason


class TokenExpired(InvalidToken):
    code = "token_expired"
    title = "The token has expired."
    retryable = True


class InvalidArgument(SynkroneError):
    code = "invalid_argument"
    title = "An argument is not valid."

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")


class TooManyConnections(SynkroneError):
    code = "too_many_connections"
    title = "The user has too many connections; this one was the oldest."


class Superseded(SynkroneError):
    code = "superseded"
    title = "The same client has connected anew."


class DisconnectedByOperator(SynkroneError):
    code = "disconnected_by_operator"
    title = "The connection was ended by an operator."

    def __init__(self, *, reconnect: bool) -> None:
        """``reconnect``: whether the client is to come back by itself."""
        super().__init__()
        self.reconnect = reconnect


class TokenRevoked(SynkroneError):
    code = "token_revoked"
    title = "The token was revoked."
    retryable = True


class UserBlocked(SynkroneError):
    code = "blocked"
    title = "The user is blocked."


class TooManyRestrictions(SynkroneError):
    code = "too_many_restrictions"
    title = "As many users are restricted as can be."


class TooManyTopics(SynkroneError):
    code = "too_many_topics"
    title = "A user is in as many topics as can be."

    def __init__(self, user: UserId) -> None:
        """``user``: the first of those who were to join one more, in the order in which they were named."""
        super().__init__(f"{user} is in as many topics as can be")
        self.user = user


class IdentityMismatch(SynkroneError):
    code = "identity_mismatch"
    title = "The token is not of the same issuer, user and role."


class CursorRefused(SynkroneError):
    code = "cursor_refused"
    title = "The cursor does not lead to a place in the log that can be continued from."
    retryable = True

    def __init__(self, reason: RecoveryReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class UnknownEvent(SynkroneError):
    code = "unknown_event"
    title = "The server does not know this event."


class RateLimited(SynkroneError):
    code = "rate_limited"
    title = "Too much was asked for in too short a time."
    retryable = True

    def __init__(self, detail: str | None = None, *, retry_after: float = 0.0) -> None:
        """``retry_after`` is how many seconds to wait; 0 where that is said elsewhere."""
        super().__init__(detail)
        self.retry_after = retry_after


class ConnectionGone(SynkroneError):
    code = "connection_gone"
    title = "The connection ended in the meantime."


class SlowConsumer(SynkroneError):
    code = "slow_consumer"
    title = "The client reads too slowly; what it missed follows when it returns."
    retryable = True


class Unavailable(SynkroneError):
    code = "unavailable"
    title = "The server cannot do this at the moment."
    retryable = True


class KeysUnavailable(Unavailable):
    code = "keys_unavailable"
    title = "The keys that verify tokens cannot be had at the moment."


class StoreUnavailable(Unavailable):
    code = "store_unavailable"
    title = "The store cannot be reached at the moment."


class EntriesMissing(StoreUnavailable):
    code = "entries_missing"
    title = "Something that was stored is not there any more."

    def __init__(self, offset: int) -> None:
        super().__init__(f"what was stored at offset {offset} is not there")
        self.offset = offset


class TooManyScheduled(StoreUnavailable):
    code = "too_many_scheduled"
    title = "As many notifications wait for their time as may."


class CheckpointMoved(SynkroneError):
    code = "checkpoint_moved"
    title = "Another server has taken over more of the source meanwhile."
    retryable = True


class AtCapacity(Unavailable):
    code = "at_capacity"
    title = "The server has as many connections as it may have."


class ShuttingDown(Unavailable):
    code = "shutting_down"
    title = "The server is shutting down."


class InvalidPublication(SynkroneError):
    code = "invalid_notification"
    title = "The notification is not valid."

    def __init__(self, errors: Sequence[FieldError], total: int | None = None) -> None:
        """``total`` is how many bad fields there are where these are not all of them."""
        super().__init__(summary(errors, total))
        self.about(errors, total)


class PublicationTooLarge(SynkroneError):
    code = "too_large"
    title = "The notification is too large."


class PublicationConflict(SynkroneError):
    code = "conflict"
    title = "The same id was published before with other content."


class UnknownNotification(SynkroneError):
    code = "not_found"
    title = "There is no such notification, or none any more."


class UnknownErasure(SynkroneError):
    code = "unknown_erasure"
    title = "There is no such erasure, or none any more."


class NotificationRecalled(SynkroneError):
    code = "recalled"
    title = "The notification was taken back."


class NotificationSent(SynkroneError):
    code = "already_sent"
    title = "The notification was sent already: when it is sent cannot be changed any more."


class NotificationDeleted(SynkroneError):
    code = "deleted"
    title = "All whom the notification was for have deleted it."


class NotificationExpired(SynkroneError):
    code = "expired"
    title = "The notification has expired."


class Unauthenticated(SynkroneError):
    code = "unauthenticated"
    title = "The request carries no credential that is known here."


class Forbidden(SynkroneError):
    code = "forbidden"
    title = "The credential does not allow this."

    def __init__(self, detail: str | None = None, *, scope: str | None = None) -> None:
        super().__init__(detail)
        self.scope = scope
