"""How failures look over HTTP: a status, header fields and ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from adapters.api.bodies import ACCEPTED_CODING, UnsupportedCoding, UnsupportedMediaType
from adapters.contract.json_text import InvalidJson
from adapters.contract.problems import problem_object
from domain.errors import (
    Forbidden,
    InvalidArgument,
    InvalidPublication,
    InvalidToken,
    PublicationConflict,
    PublicationTooLarge,
    SynkroneError,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5

_REALM = "synkrone-socket"


class BodyTooLarge(SynkroneError):
    code = "too_large"
    title = "The body is too large."


_STATUS: Final[tuple[tuple[type[SynkroneError], HTTPStatus], ...]] = (
    (InvalidJson, HTTPStatus.BAD_REQUEST),
    (InvalidArgument, HTTPStatus.BAD_REQUEST),
    (Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (InvalidToken, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (PublicationConflict, HTTPStatus.CONFLICT),
    (PublicationTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (BodyTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedMediaType, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (InvalidPublication, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


def status_of(error: SynkroneError) -> HTTPStatus:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def fields_of(error: SynkroneError, status: HTTPStatus, *, has_credential: bool) -> list[tuple[str, str]]:
    """Header fields that go with an error, beside those of every answer."""
    if status == HTTPStatus.UNAUTHORIZED:
        # RFC 6750, section 3: no error code for who came without a bearer token.
        wrong = ', error="invalid_token"' if has_credential else ""
        return [("WWW-Authenticate", f'Bearer realm="{_REALM}"{wrong}')]
    if isinstance(error, Forbidden) and error.scope is not None:
        challenge = f'Bearer realm="{_REALM}", error="insufficient_scope", scope="{error.scope}"'
        return [("WWW-Authenticate", challenge)]
    if status == HTTPStatus.FORBIDDEN:
        return [("WWW-Authenticate", f'Bearer realm="{_REALM}"')]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return [("Retry-After", str(RETRY_AFTER_SECONDS))]
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


def bare_members(status: HTTPStatus) -> dict[str, object]:
    """Of a failure that has no more to say than its status."""
    code = status.phrase.lower().replace(" ", "_")
    return {"code": code, "title": status.phrase, "status": int(status), "retryable": False}
