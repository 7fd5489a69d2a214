"""What all routes share: who calls, how large a body may be, and how failures look (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import tornado.web

from adapters.api.bodies import ACCEPTED_CODING, UnsupportedCoding, UnsupportedMediaType, check_coding
from adapters.http.peer import PeerPolicy
from adapters.wire import InvalidJson, problem_object, to_json
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
from domain.model import Caller
from domain.ports import CallerVerifier, ConnectionDirectory, Publisher, Telemetry

_REALM = "synkrone-socket"
_DROPPED_BODY = 65_536
_TAKEN_BODIES = 2
"""How many times the allowed size of a body is read, and dropped, for the sake of the answer."""
_LENGTH_DIGITS = 18


class BodyTooLarge(SynkroneError):
    """The body is too large."""

    code = "too_large"


_STATUS: tuple[tuple[type[SynkroneError], HTTPStatus], ...] = (
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


@tornado.web.stream_request_body
class ApiHandler(tornado.web.RequestHandler):
    """A route whose failures are ``application/problem+json``, and which keeps no body."""

    methods: tuple[str, ...] = ("GET",)

    async def prepare(self) -> None:
        connection: Any = self.request.connection
        connection.set_max_body_size(_DROPPED_BODY)

    def data_received(self, chunk: bytes) -> None:
        """Dropped: answered only then, so that a client that still sends sees the answer and not a reset."""

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def head(self, *arguments: str) -> Any:
        """What GET would answer, without the body (RFC 9110, section 9.3.2)."""
        if "GET" not in self.methods:
            raise tornado.web.HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        return self.get(*arguments)

    def answer(self, status: int, value: object) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(to_json(value))

    def fail(self, error: SynkroneError) -> None:
        status = self.status_of(error)
        if status == HTTPStatus.UNAUTHORIZED:
            # RFC 6750, section 3: no error code for who came without a bearer token.
            wrong = ', error="invalid_token"' if self._bearer_token() else ""
            self.set_header("WWW-Authenticate", f'Bearer realm="{_REALM}"{wrong}')
        elif isinstance(error, Forbidden) and error.scope is not None:
            challenge = f'Bearer realm="{_REALM}", error="insufficient_scope", scope="{error.scope}"'
            self.set_header("WWW-Authenticate", challenge)
        elif status == HTTPStatus.FORBIDDEN:
            self.set_header("WWW-Authenticate", f'Bearer realm="{_REALM}"')
        elif status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.set_header("Retry-After", "5")
        elif isinstance(error, UnsupportedCoding):
            self.set_header("Accept-Encoding", ACCEPTED_CODING)
        members = problem_object(error.problem) | {"status": int(status)}
        if error.errors:
            members["errors"] = [{"path": field.path, "message": field.message} for field in error.errors]
            members["errors_total"] = error.errors_total
        self._problem(status, members)

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, SynkroneError):
            self.fail(error)
            return
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(allowed_methods(self.methods)))
        title = HTTPStatus(status_code).phrase if status_code in set(HTTPStatus) else "Error"
        code = title.lower().replace(" ", "_")
        self._problem(status_code, {"code": code, "title": title, "status": status_code, "retryable": False})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, SynkroneError):
            super().log_exception(typ, value, tb)

    def _bearer_token(self) -> str:
        """The credential of the request (RFC 6750, section 2.1); empty where it has none."""
        scheme, _, credential = self.request.headers.get("Authorization", "").partition(" ")
        return credential.strip() if scheme.lower() == "bearer" else ""

    def _problem(self, status: int, members: dict[str, object]) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/problem+json")
        self.finish(to_json(members))


def allowed_methods(methods: Sequence[str]) -> Sequence[str]:
    """The methods of a route, with HEAD where there is GET."""
    return (*methods, "HEAD") if "GET" in methods else methods


class NotFound(ApiHandler):
    """Every path that is no route."""

    def _not_found(self, *_arguments: str) -> None:
        raise tornado.web.HTTPError(HTTPStatus.NOT_FOUND)

    get = head = post = delete = patch = put = options = _not_found


@dataclass(frozen=True, slots=True)
class Backend:
    """What the routes for backends rest on; without ``callers`` they are closed to everybody."""

    publisher: Publisher
    directory: ConnectionDirectory
    callers: CallerVerifier | None
    peers: PeerPolicy
    telemetry: Telemetry


class BodyHandler(ApiHandler):
    """A route that takes a body: nothing of it is kept before ``admit`` has agreed."""

    media_types: tuple[str, ...] = ("application/json",)

    def expect_body(self, max_body: int) -> None:
        """To be called first, with the most bytes that a body may have."""
        self._max_body = max_body
        self._max_taken = _TAKEN_BODIES * max_body
        self._taken = 0
        self._body = bytearray()
        self._refusal: SynkroneError | None = None

    async def prepare(self) -> None:
        if self.request.method not in allowed_methods(self.methods):
            await super().prepare()
            return
        try:
            await self.admit()
            self._check_body()
        except SynkroneError as refusal:
            self.refused(refusal)
            if "Expect" in self.request.headers or self._content_length() > self._max_taken:
                raise
            # Answered while the client still sends, the connection would be reset, and many a client would see
            # only that. So the body is taken first, and dropped.
            self._refusal = refusal
        connection: Any = self.request.connection
        connection.set_max_body_size(2 * self._max_taken)

    async def admit(self) -> None:
        """Say by raising that this request is not to be handled."""
        raise NotImplementedError

    def refused(self, refusal: SynkroneError) -> None:
        """It was not admitted."""

    def _check_body(self) -> None:
        if self._has_body:
            check_coding(self.request.headers.get("Content-Encoding"))
        if self._has_body and self.media_type not in self.media_types:
            raise UnsupportedMediaType(f"Content-Type must be {' or '.join(self.media_types)}")
        if self._content_length() > self._max_body:
            raise self._too_large()

    def data_received(self, chunk: bytes) -> None:
        self._taken += len(chunk)
        if self._refusal is None and self._taken > self._max_body:
            self._refusal = self._too_large()
            self._body.clear()
        if self._refusal is None:
            self._body += chunk
        elif self._taken > self._max_taken:
            # It does not end: answered now, with the connection closed behind it.
            self.fail(self._refusal)

    @property
    def _has_body(self) -> bool:
        return "Transfer-Encoding" in self.request.headers or self._content_length() > 0

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"{self._max_body} bytes are allowed")

    async def run(self, *arguments: str) -> None:
        if self._refusal is not None:
            raise self._refusal
        await self.handle(*arguments)

    async def handle(self, *arguments: str) -> None:
        """Answer the request, whose body has been read."""
        raise NotImplementedError

    def _content_length(self) -> int:
        """As announced; 0 where it is not, or where Tornado is about to refuse what it says."""
        digits = self.request.headers.get("Content-Length", "").partition(",")[0]
        return int(digits[:_LENGTH_DIGITS]) if digits.isascii() and digits.isdigit() else 0

    @property
    def media_type(self) -> str:
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def body(self) -> bytes:
        return bytes(self._body)


class BackendHandler(BodyHandler):
    """A route for backends, each of whose methods needs a scope."""

    methods: tuple[str, ...] = ("POST",)
    scope: str

    def initialize(self, *, backend: Backend, max_body: int) -> None:
        self.expect_body(max_body)
        self.backend = backend
        self.caller: Caller | None = None

    async def admit(self) -> None:
        if self.backend.callers is None:
            raise Forbidden("no backend may call: the server has no API keys and no services")
        credential = self._bearer_token()
        if not credential:
            raise Unauthenticated("needs Authorization: Bearer <key>")
        self.caller = caller = await self.backend.callers.authenticate(credential)
        if self.scope not in caller.scopes:
            raise Forbidden(f"needs the scope {self.scope}", scope=self.scope)

    def refused(self, refusal: SynkroneError) -> None:
        if isinstance(refusal, Unauthenticated | Forbidden):
            self.backend.telemetry.caller_refused(
                self.backend.peers.address(self.request), refusal.code, refusal.detail or refusal.title
            )
