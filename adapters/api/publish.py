"""``POST /v1/notifications`` and ``POST /v1/notifications/batch``: how backends publish.

Served without Tornado's request handlers, which cost more than all the rest of a publish.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from adapters.api.backends import Backend
from adapters.api.bodies import NDJSON, check_coding, idempotency_key, read_batch
from adapters.contract.json_text import to_json
from adapters.contract.publications import parse_publication
from adapters.http.bearer import bearer_token
from adapters.http.exchange import Exchange, MessageHandler
from adapters.http.messages import RequestHead
from adapters.http.problems import (
    MEDIA_TYPE,
    BodyTooLarge,
    UnsupportedMediaType,
    bare_members,
    fields_of,
    members_of,
    status_of,
)
from adapters.http.tasks import Tasks, begin
from domain.errors import InvalidArgument, InvalidPublication, SynkroneError
from domain.model import Appended, AppendOutcome, Caller

JSON: Final = "application/json"
SCOPE: Final = "publish"
ONE_PATH: Final = "/v1/notifications"
BATCH_PATH: Final = "/v1/notifications/batch"

_FIELDS: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))

_log = logging.getLogger("synkrone.server")


class PublishRoute:
    """One of the two paths: ``publish`` reads what was admitted, and gives the status and the value of the answer."""

    def __init__(
        self,
        backend: Backend,
        publish: Callable[[PublishRequest], Awaitable[tuple[HTTPStatus, object]]],
        *,
        media_types: tuple[str, ...],
        max_body: int,
    ) -> None:
        self.backend = backend
        self.publish = publish
        self.media_types = media_types
        self.max_body = max_body
        self.tasks = Tasks()

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        return begin(self._admitted(PublishRequest(self, head, exchange)))

    async def _admitted(self, request: PublishRequest) -> MessageHandler:
        await request.admit()
        return request


class PublishRequest:
    """One request: nothing of its body is kept before its caller is admitted, nor read where they are not."""

    __slots__ = ("_body", "_exchange", "_head", "_route", "caller")

    def __init__(self, route: PublishRoute, head: RequestHead, exchange: Exchange) -> None:
        self._route = route
        self._head = head
        self._exchange = exchange
        self._body = bytearray()
        self.caller: Caller | None = None

    async def admit(self) -> None:
        """Find out who calls, and answer at once where they, or what they announce, are not to be taken."""
        route, head = self._route, self._head
        if head.method != "POST":
            status = HTTPStatus.METHOD_NOT_ALLOWED
            self._respond(status, bare_members(status), MEDIA_TYPE, [("Allow", "POST")])
            return
        try:
            self.caller = await route.backend.admit(self._credential, SCOPE)
            self._check_body()
        except SynkroneError as refusal:
            route.backend.refused(head, refusal)
            self._fail(refusal)
        else:
            self._exchange.set_max_body_size(route.max_body)

    def _check_body(self) -> None:
        if self._head.content_length == 0:
            return
        check_coding(self._head.headers.get("content-encoding"))
        if self.media_type not in self._route.media_types:
            raise UnsupportedMediaType(f"Content-Type must be {' or '.join(self._route.media_types)}")

    # MessageHandler

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def finish(self) -> None:
        self._route.tasks.begin(self._publish())

    def body_too_large(self) -> None:
        self._body.clear()
        self._fail(BodyTooLarge(f"{self._route.max_body} bytes are allowed"))

    def on_connection_close(self) -> None:
        self._body.clear()

    # what is published

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    @property
    def media_type(self) -> str:
        return self._head.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def caller_name(self) -> str:
        """For operators; nobody who was not admitted publishes."""
        return self.caller.name if self.caller is not None else ""

    @property
    def traceparent(self) -> str | None:
        return self._head.headers.get("traceparent")

    def check_query(self) -> None:
        """Raises InvalidArgument where there is one: these routes have none."""
        unknown = next((name for name in self._head.query_values() if name), None)
        if unknown is not None:
            raise InvalidArgument(unknown, "is not known")

    def idempotency_key(self) -> str | None:
        """Raises InvalidArgument."""
        keys = self._head.headers.get_list("idempotency-key")
        if not keys or self.caller is None:
            return None
        if len(keys) > 1:
            raise InvalidArgument("Idempotency-Key", "is given more than once")
        # Two callers that count their requests from 1 must not meet, whatever characters their names hold.
        return f"{len(self.caller.name)}:{self.caller.name}:{idempotency_key(keys[0])}"

    async def _publish(self) -> None:
        try:
            status, value = await self._route.publish(self)
        except SynkroneError as error:
            self._fail(error)
        except Exception:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            self._respond(status, bare_members(status), MEDIA_TYPE)
            raise
        else:
            self._respond(status, value, JSON)

    # answering

    @property
    def _credential(self) -> str:
        return bearer_token(self._head.headers.get("authorization", ""))

    def _fail(self, error: SynkroneError) -> None:
        if self.caller is not None:
            telemetry = self._route.backend.telemetry
            # The caller is told the detail, which may repeat what they sent.
            telemetry.publish_refused(self.caller.name, error.code, error.title)
        status = status_of(error)
        fields = fields_of(error, status, has_credential=bool(self._credential))
        self._respond(status, members_of(error, status), MEDIA_TYPE, fields)

    def _respond(
        self, status: HTTPStatus, value: object, media_type: str, fields: list[tuple[str, str]] | None = None
    ) -> None:
        self._exchange.respond(status, [("Content-Type", media_type), *_FIELDS, *(fields or ())], to_json(value))
        if _log.isEnabledFor(logging.DEBUG):
            caller = self.caller.name if self.caller is not None else None
            seen = {"method": self._head.method, "path": self._head.path, "status": int(status), "caller": caller}
            _log.debug("request", extra=seen)


def publish_routes(backend: Backend, *, publish_bytes: int, batch_bytes: int) -> dict[str, PublishRoute]:
    """By their paths. ``publish_bytes`` and ``batch_bytes`` are the most that a body may have."""

    async def publish_one(request: PublishRequest) -> tuple[HTTPStatus, object]:
        """One publication: 201 ``{id, cursor, duplicate}``; until it is due there is no cursor."""
        backend.pace.take(request.caller, 1)
        request.check_query()
        publication = parse_publication(request.body)
        (appended,) = await backend.publisher.publish(
            [publication],
            by=request.caller_name,
            idempotency_key=request.idempotency_key(),
            traceparent=request.traceparent,
        )
        return HTTPStatus.CREATED, _result(appended)

    async def publish_batch(request: PublishRequest) -> tuple[HTTPStatus, object]:
        """Up to 10,000 publications, all or none: 200 ``{accepted, duplicates, results}``."""
        try:
            batch = await read_batch(request.body, request.media_type)
        except SynkroneError:
            # Nobody knows how many it was to be.
            backend.pace.take(request.caller, 1)
            raise
        backend.pace.take(request.caller, len(batch.items))
        request.check_query()
        try:
            appended = await backend.publisher.publish(
                batch.items,
                by=request.caller_name,
                idempotency_key=request.idempotency_key(),
                by_index=True,
                traceparent=request.traceparent,
            )
        except InvalidPublication as error:
            raise batch.refusal(error) from None
        duplicates = sum(result.outcome is AppendOutcome.DUPLICATE for result in appended)
        return HTTPStatus.OK, {
            "accepted": len(appended) - duplicates,
            "duplicates": duplicates,
            "results": [_result(result) for result in appended],
        }

    return {
        ONE_PATH: PublishRoute(backend, publish_one, media_types=(JSON,), max_body=publish_bytes),
        BATCH_PATH: PublishRoute(backend, publish_batch, media_types=(JSON, NDJSON), max_body=batch_bytes),
    }


def set_publish_limits(routes: Mapping[str, PublishRoute], *, publish_bytes: int, batch_bytes: int) -> None:
    """Take bodies of so many bytes from now on."""
    routes[ONE_PATH].max_body = publish_bytes
    routes[BATCH_PATH].max_body = batch_bytes


def _result(appended: Appended) -> dict[str, object]:
    duplicate = appended.outcome is AppendOutcome.DUPLICATE
    cursor = str(appended.position) if not appended.waits else None
    return {"id": appended.id, "cursor": cursor, "duplicate": duplicate}
