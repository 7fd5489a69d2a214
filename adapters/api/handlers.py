"""What all routes share: who calls, how large a body may be, and how failures look (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import tornado.web

from adapters.api.backends import Backend
from adapters.api.bodies import check_coding
from adapters.contract.json_text import to_json
from adapters.http.bearer import bearer_token
from adapters.http.problems import (
    MEDIA_TYPE,
    BodyTooLarge,
    UnsupportedMediaType,
    bare_members,
    fields_of,
    members_of,
    status_of,
)
from domain.errors import SynkroneError
from domain.model import Caller

_DROPPED_BODY = 65_536


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
        for name, value in fields_of(error, status, has_credential=bool(self._bearer_token())):
            self.set_header(name, value)
        self._problem(status, members_of(error, status))

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        return status_of(error)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Where some of an answer was written, the connection is cut: with an end in good order its reader would take
        it for the whole (RFC 9112, section 8)."""
        if self._headers_written:
            connection: Any = self.request.connection
            connection.close()
            self.finish()
            return
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, SynkroneError):
            self.fail(error)
            return
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(allowed_methods(self.methods)))
        self._problem(status_code, bare_members(HTTPStatus(status_code)))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, SynkroneError):
            super().log_exception(typ, value, tb)

    def _bearer_token(self) -> str:
        return bearer_token(self.request.headers.get("Authorization", ""))

    def _problem(self, status: int, members: dict[str, object]) -> None:
        self.set_status(status)
        self.set_header("Content-Type", MEDIA_TYPE)
        self.finish(to_json(members))


def allowed_methods(methods: Sequence[str]) -> Sequence[str]:
    """The methods of a route, with HEAD where there is GET."""
    return (*methods, "HEAD") if "GET" in methods else methods


class NotFound(ApiHandler):
    """Every path that is no route."""

    def _not_found(self, *_arguments: str) -> None:
        raise tornado.web.HTTPError(HTTPStatus.NOT_FOUND)

    get = head = post = delete = patch = put = options = _not_found


class BodyHandler(ApiHandler):
    """A route that takes a body: nothing of it is kept before ``admit`` has agreed."""

    media_types: tuple[str, ...] = ("application/json",)

    def expect_body(self, max_body: int) -> None:
        """To be called first, with the most bytes that a body may have."""
        self._max_body = max_body
        self._body = bytearray()

    async def prepare(self) -> None:
        if self.request.method not in allowed_methods(self.methods):
            await super().prepare()
            return
        try:
            await self.admit()
            self._check_body()
        except SynkroneError as refusal:
            self.refused(refusal)
            raise
        connection: Any = self.request.connection
        # Beyond that the connection answers by itself, and pages of other origins could not read it.
        connection.set_max_body_size(2 * self._max_body)

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
        self._body += chunk
        if len(self._body) > self._max_body:
            self._body.clear()
            self.fail(self._too_large())

    def on_connection_close(self) -> None:
        """Its client left: before the body was complete, nobody takes it, and Tornado, which breaks what holds a
        handler where it answers, does not break it."""
        super().on_connection_close()
        self._body.clear()

    @property
    def _has_body(self) -> bool:
        return "Transfer-Encoding" in self.request.headers or self._content_length() > 0

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"{self._max_body} bytes are allowed")

    async def handle(self, *arguments: str) -> None:
        """Answer the request, whose body has been read."""
        raise NotImplementedError

    def _content_length(self) -> int:
        """As announced; 0 where it is not."""
        return int(self.request.headers.get("Content-Length", "0"))

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
        self.caller = await self.backend.admit(self._bearer_token(), self.scope)

    @property
    def caller_name(self) -> str:
        """For operators."""
        return self.caller.name if self.caller is not None else ""

    def refused(self, refusal: SynkroneError) -> None:
        self.backend.refused(self.request, refusal)
