"""How failures look over HTTP: a status, header fields and ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import Final

from adapters.contract.json_text import InvalidJson
from adapters.contract.problems import problem_object
from adapters.http.bearer import challenge, challenge_of_unauthorized
from domain.errors import (
    Forbidden,
    InvalidArgument,
    InvalidPublication,
    InvalidToken,
    NotificationDeleted,
    NotificationExpired,
    NotificationRecalled,
    NotificationSent,
    PublicationConflict,
    PublicationTooLarge,
    RateLimited,
    SynkroneError,
    TooManyRestrictions,
    TooManyScheduled,
    TooManyTopics,
    Unauthenticated,
    Unavailable,
    UnknownErasure,
    UnknownNotification,
    UserBlocked,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
ACCEPTED_CODING: Final = "identity"
"""For the header ``Accept-Encoding`` of a 415 (RFC 9110, section 12.5.3)."""


class MethodNotAllowed(SynkroneError):
    code = "method_not_allowed"
    title = "This path does not take this method."


class BodyTooLarge(SynkroneError):
    code = "too_large"
    title = "The body is too large."


class UnsupportedMediaType(SynkroneError):
    code = "unsupported_media_type"
    title = "The body's media type is not one that this route takes."


class UnsupportedCoding(UnsupportedMediaType):
    title = "The body is encoded in a way that this route does not take."


class InvalidSettings(SynkroneError):
    code = "invalid_settings"
    title = "The settings are not valid; nothing was changed."


_STATUS: Final[tuple[tuple[type[SynkroneError], HTTPStatus], ...]] = (
    (InvalidJson, HTTPStatus.BAD_REQUEST),
    (InvalidArgument, HTTPStatus.BAD_REQUEST),
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (InvalidToken, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (UserBlocked, HTTPStatus.FORBIDDEN),
    (TooManyRestrictions, HTTPStatus.INSUFFICIENT_STORAGE),
    (TooManyScheduled, HTTPStatus.INSUFFICIENT_STORAGE),
    (TooManyTopics, HTTPStatus.CONFLICT),
    (UnknownNotification, HTTPStatus.NOT_FOUND),
    (UnknownErasure, HTTPStatus.NOT_FOUND),
    (NotificationRecalled, HTTPStatus.GONE),
    (NotificationDeleted, HTTPStatus.GONE),
    (NotificationExpired, HTTPStatus.GONE),
    (NotificationSent, HTTPStatus.CONFLICT),
    (MethodNotAllowed, HTTPStatus.METHOD_NOT_ALLOWED),
    (PublicationConflict, HTTPStatus.CONFLICT),
    (PublicationTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (BodyTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedMediaType, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (InvalidPublication, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidSettings, HTTPStatus.UNPROCESSABLE_ENTITY),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_CODES: Final = {HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BodyTooLarge.code}


def status_of(error: SynkroneError) -> HTTPStatus:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def fields_of(error: SynkroneError, status: HTTPStatus, *, has_credential: bool) -> list[tuple[str, str]]:
    """Header fields that go with an error, beside those of every answer."""
    if status == HTTPStatus.UNAUTHORIZED:
        return [challenge_of_unauthorized(has_credential=has_credential)]
    if isinstance(error, Forbidden) and error.scope is not None:
        return [challenge("insufficient_scope", scope=error.scope)]
    if status == HTTPStatus.FORBIDDEN:
        return [challenge()]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return [("Retry-After", str(RETRY_AFTER_SECONDS))]
    if isinstance(error, RateLimited):
        return [("Retry-After", str(max(1, ceil(error.retry_after))))]
    if isinstance(error, UnsupportedCoding):
        return [("Accept-Encoding", ACCEPTED_CODING)]
    return []


def members_of(error: SynkroneError, status: HTTPStatus) -> dict[str, object]:
    """The problem's members: ``{code, title, detail?, retryable, status, errors?, errors_total?}``."""
    members = problem_object(error.problem) | {"status": int(status)}
    if error.errors:
        members["errors"] = [{"path": field.path, "message": field.message} for field in error.errors]
        members["errors_total"] = error.errors_total
    return members


def bare_members(status: HTTPStatus, detail: str | None = None) -> dict[str, object]:
    """Of a failure that has no more to say than its status, and perhaps in what way."""
    code = _CODES.get(status) or status.phrase.lower().replace(" ", "_").replace("-", "_")
    members: dict[str, object] = {"code": code, "title": status.phrase, "status": int(status)}
    if detail is not None:
        members["detail"] = detail
    return members | {"retryable": False}
