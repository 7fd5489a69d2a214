"""A backend's feed of Server-Sent Events on loopback, which can be told to misbehave."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

PATIENCE = 15.0


async def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


def event(id_: str | None, body: object) -> bytes:
    """One event as it stands in a feed."""
    own_id = f"id: {id_}\n" if id_ is not None else ""
    return f"{own_id}data: {json.dumps(body)}\n\n".encode()


def notification(id_: str, **members: object) -> bytes:
    return event(id_, {"to": {"user": "ann"}, "type": "test", **members})


async def event_stream(request: web.Request, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", **(headers or {})})
    await response.prepare(request)
    return response


class FeedServer:
    """Answers each request with the next of ``answers``, and from then on with what follows its Last-Event-ID."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.requests: list[Mapping[str, str]] = []
        self.open = 0
        self.sent = 0
        self.port = 0
        self._ids: list[str] = []
        self._events: list[bytes] = []
        self._changed = asyncio.Event()
        application = web.Application()
        application.router.add_get("/feed", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/feed"

    @property
    def last_ids(self) -> list[str | None]:
        """The Last-Event-ID of each request."""
        return [headers.get("Last-Event-ID") for headers in self.requests]

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def requested(self, times: int) -> None:
        """Return when there have been that many requests."""
        await eventually(lambda: len(self.requests) >= times)

    def add(self, id_: str, raw: bytes) -> None:
        """Add to the feed; ``id_`` is what a client that has it sends as Last-Event-ID."""
        self._ids.append(id_)
        self._events.append(raw)
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, last_id: str | None) -> bytes:
        """What a client that has ``last_id`` is still to be sent."""
        return b"".join(self._events[self._start(last_id) :])

    def _start(self, last_id: str | None) -> int:
        return self._ids.index(last_id) + 1 if last_id in self._ids else 0

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.headers)
        self.open += 1
        try:
            if self.answers:
                return await self.answers.popleft()(request)
            return await self._feed(request)
        finally:
            self.open -= 1

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        response = await event_stream(request)
        number = self._start(request.headers.get("Last-Event-ID"))
        while True:
            while number < len(self._events):
                await response.write(self._events[number])
                self.sent += len(self._events[number])
                number += 1
            await self._changed.wait()
