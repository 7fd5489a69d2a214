"""A server of inboxes that says what a test has it say, rightly or not, and remembers when it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from tornado.testing import bind_unused_port

COUNTS = {"unread": 1, "unseen": 1, "total": 1}
DONE = {"ok": True, "changed": 1, "counts": COUNTS, "as_of": "e:2"}
EMPTY_LIST = {"ok": True, "items": [], "next": None, "counts": COUNTS, "as_of": "e:1"}
READY = {"user": {"id": "42", "role": "freelance"}, "recovered": True, "counts": COUNTS, "server_time": "rubbish"}


def event(name: str, argument: object, cursor: str | None = None) -> bytes:
    identifier = f"id: {cursor}\n" if cursor is not None else ""
    data = argument if isinstance(argument, str) else json.dumps(argument)
    return f"event: {name}\n{identifier}data: {data}\n\n".encode()


def notification(identifier: str) -> dict[str, object]:
    return {"id": identifier, "title": identifier, "read_at": None, "seen_at": None, "archived_at": None}


@dataclass(frozen=True)
class Says:
    """One answer to a request for the stream. It ends after ``pieces`` where ``stays`` is false."""

    pieces: Sequence[bytes] = (event("session.ready", READY, "e:1"),)
    status: int = 200
    media_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()
    stays: bool = False


@dataclass
class Scripted:
    """``says`` are the answers for the stream, and ``acts`` those to what is to be changed, each a status and a body.

    The last one is given from then on.
    """

    says: Sequence[Says]
    acts: Sequence[tuple[int, object]] = ((200, DONE),)
    url: str = ""
    listed: int = 0
    acted: int = 0
    asked_at: list[float] = field(default_factory=list)
    """When a stream was asked for, in the seconds of the loop."""
    cursors: list[str | None] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def list(self, request: web.Request) -> web.Response:
        self.listed += 1
        return web.json_response(EMPTY_LIST)

    async def act(self, request: web.Request) -> web.Response:
        status, body = self.acts[min(self.acted, len(self.acts) - 1)]
        self.acted += 1
        return web.json_response(body, status=status, headers={"Retry-After": "1"} if status == 503 else None)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        says = self.says[min(len(self.asked_at), len(self.says) - 1)]
        self.asked_at.append(asyncio.get_running_loop().time())
        self.cursors.append(request.headers.get("Last-Event-ID"))
        self.asked.set()
        answer = web.StreamResponse(status=says.status, headers=dict(says.headers))
        answer.content_type = says.media_type
        await answer.prepare(request)
        try:
            for piece in says.pieces:
                await answer.write(piece)
                # In a packet of its own.
                await asyncio.sleep(0.001)
            if says.stays:
                await asyncio.Event().wait()
        except ConnectionError:
            # Its client has had enough.
            pass
        return answer

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.asked_at) < times:
                self.asked.clear()
                await self.asked.wait()


@asynccontextmanager
async def scripted(*says: Says, acts: Sequence[tuple[int, object]] = ((200, DONE),)) -> AsyncIterator[Scripted]:
    server = Scripted(says, acts)
    application = web.Application()
    application.router.add_get("/v1/inbox", server.list)
    application.router.add_get("/v1/stream", server.stream)
    application.router.add_post("/v1/inbox/{action}", server.act)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    socket, port = bind_unused_port()
    await web.SockSite(runner, socket).start()
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
