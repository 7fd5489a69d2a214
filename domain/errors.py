"""One tree of errors. Each has a stable ``code``, says whether a retry can help, and its docstring is the message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from domain.model import FieldError, Problem, RecoveryReason

ERRORS_MAX = 100
"""How many bad fields an error names."""
_IN_DETAIL_MAX = 5


class SynkroneError(Exception):
    """Something went wrong.

    ``errors`` are the bad fields of a request, the first ERRORS_MAX of the ``errors_total`` there are.
    """

    code: ClassVar[str] = "error"
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
    def title(self) -> str:
        return (type(self).__doc__ or self.code).strip().partition("\n")[0]

    @property
    def problem(self) -> Problem:
        return Problem(code=self.code, title=self.title, retryable=self.retryable, detail=self.detail)


def summary(errors: Sequence[FieldError], total: int | None = None) -> str:
    """The first of these, in words, and how many more there are."""
    named = [f"{error.path}: {error.message}" for error in errors[:_IN_DETAIL_MAX]]
    more = (len(errors) if total is None else total) - len(named)
    return "; ".join([*named, f"and {more} more"] if more else named)


class InvalidToken(SynkroneError):
    """The token is not valid."""

    code = "invalid_token"

    def __init__(self, reason: str) -> None:
        """``reason`` is for the log; the client learns only the title."""
        super().__init__()
        self.reason = reason


class TokenExpired(InvalidToken):
    """The token has expired."""

    code = "token_expired"
    retryable = True


class InvalidArgument(SynkroneError):
    """An argument is not valid."""

    code = "invalid_argument"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")


class TooManyConnections(SynkroneError):
    """The user has too many connections; this one was the oldest."""

    code = "too_many_connections"


class Superseded(SynkroneError):
    """The same client has connected anew."""

    code = "superseded"


class DisconnectedByOperator(SynkroneError):
    """The connection was ended by an operator."""

    code = "disconnected_by_operator"

    def __init__(self, *, reconnect: bool) -> None:
        """``reconnect``: whether the client is to come back by itself."""
        super().__init__()
        self.reconnect = reconnect


class IdentityMismatch(SynkroneError):
    """The token is not of the same issuer, user and role."""

    code = "identity_mismatch"


class CursorRefused(SynkroneError):
    """The cursor does not lead to a place in the log that can be continued from."""

    code = "cursor_refused"
    retryable = True

    def __init__(self, reason: RecoveryReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class UnknownEvent(SynkroneError):
    """The server does not know this event."""

    code = "unknown_event"


class RateLimited(SynkroneError):
    """Too many events in too short a time."""

    code = "rate_limited"
    retryable = True


class ConnectionGone(SynkroneError):
    """The connection ended in the meantime."""

    code = "connection_gone"


class SlowConsumer(SynkroneError):
    """The client reads too slowly; what it missed follows when it returns."""

    code = "slow_consumer"
    retryable = True


class Unavailable(SynkroneError):
    """The server cannot do this at the moment."""

    code = "unavailable"
    retryable = True


class KeysUnavailable(Unavailable):
    """The keys that verify tokens cannot be had at the moment."""

    code = "keys_unavailable"


class StoreUnavailable(Unavailable):
    """The store cannot be reached at the moment."""

    code = "store_unavailable"


class AtCapacity(Unavailable):
    """The server has as many connections as it may have."""

    code = "at_capacity"


class ShuttingDown(Unavailable):
    """The server is shutting down."""

    code = "shutting_down"


class InvalidPublication(SynkroneError):
    """The notification is not valid."""

    code = "invalid_notification"

    def __init__(self, errors: Sequence[FieldError], total: int | None = None) -> None:
        """``total`` is how many bad fields there are where these are not all of them."""
        super().__init__(summary(errors, total))
        self.about(errors, total)


class PublicationTooLarge(SynkroneError):
    """The notification is too large."""

    code = "too_large"


class PublicationConflict(SynkroneError):
    """The same id was published before with other content."""

    code = "conflict"


class Unauthenticated(SynkroneError):
    """The request carries no credential that is known here."""

    code = "unauthenticated"


class Forbidden(SynkroneError):
    """The credential does not allow this."""

    code = "forbidden"

    def __init__(self, detail: str | None = None, *, scope: str | None = None) -> None:
        super().__init__(detail)
        self.scope = scope
