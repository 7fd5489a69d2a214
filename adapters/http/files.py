"""Files that are the same as long as the server runs: with an ETag, for GET and HEAD."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from adapters.contract.json_text import to_json
from adapters.http.exchange import Exchange, Fields, MessageHandler
from adapters.http.messages import RequestHead
from adapters.http.problems import MEDIA_TYPE, bare_members

SHORTLY: Final = "public, max-age=300"
FOR_EVER: Final = "public, max-age=31536000, immutable"

_METHODS: Final = ("GET", "HEAD")


class FileRoute:
    """One file. ``fields`` go with every answer, also with failures."""

    def __init__(self, body: bytes, media_type: str, cache_control: str, fields: Fields = ()) -> None:
        self.body = body
        self.etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self.media_type = media_type
        self.common = list(fields)
        self.fields = [
            ("Cache-Control", cache_control),
            ("ETag", self.etag),
            ("X-Content-Type-Options", "nosniff"),
            *self.common,
        ]

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        return FileRequest(self, head, exchange)


class LateFileRoute:
    """One file that nearly nobody asks for: it is made for the first who does, beside the loop."""

    def __init__(self, make: Callable[[], FileRoute]) -> None:
        """``make`` may take its time, and runs in another thread."""
        self._make = make
        self._being_made = asyncio.Lock()
        self._route: FileRoute | None = None

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        return self._route.open(head, exchange) if self._route is not None else self._first(head, exchange)

    async def _first(self, head: RequestHead, exchange: Exchange) -> MessageHandler:
        async with self._being_made:
            if self._route is None:
                self._route = await asyncio.to_thread(self._make)
        return FileRequest(self._route, head, exchange)


@dataclass(slots=True)
class FileRequest:
    """One request for it. A body is dropped."""

    route: FileRoute
    head: RequestHead
    exchange: Exchange

    def data_received(self, chunk: bytes) -> None:
        """Nothing is done with it."""

    def finish(self) -> None:
        route, exchange = self.route, self.exchange
        if self.head.method not in _METHODS:
            status = HTTPStatus.METHOD_NOT_ALLOWED
            fields = [("Allow", ", ".join(_METHODS)), ("Cache-Control", "no-store"), ("Content-Type", MEDIA_TYPE)]
            exchange.respond(status, [*fields, *route.common], to_json(bare_members(status)))
        elif _names(self.head.headers.get_list("if-none-match"), route.etag):
            exchange.respond(HTTPStatus.NOT_MODIFIED, route.fields)
        else:
            exchange.respond(HTTPStatus.OK, [("Content-Type", route.media_type), *route.fields], route.body)

    def body_too_large(self) -> None:
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self.exchange.respond(status, [("Content-Type", MEDIA_TYPE)], to_json(bare_members(status)))

    def on_connection_close(self) -> None:
        """Nothing was begun."""


def _names(fields: list[str], etag: str) -> bool:
    """Whether ``If-None-Match`` names it (RFC 9110, section 13.1.2): weak or strong makes no difference."""
    tags = [tag.strip().removeprefix("W/") for tag in ",".join(fields).split(",")]
    return etag in tags or tags == ["*"]
