"""Clients that stay up over cuts and restarts, each in its own way, and remember all that was logged for them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import socketio

from tests.e2e.clients import Clients, JsClient, end
from tests.e2e.curl import Curl

RETURN_SECONDS = (0.05, 0.5)
CONNECT_SECONDS = 3.0
ARRIVE_SECONDS = 60.0
LOGGED = ("notification.new", "notification.updated", "notification.deleted")


@dataclass(frozen=True)
class Logged:
    """One event of the log as a client got it; ``id`` is a new notification's."""

    cursor: str
    name: str
    id: str | None

    @property
    def offset(self) -> int:
        return int(self.cursor.rpartition(":")[2])


@dataclass
class Diary:
    """What a client got. ``cursor`` is the last it has; ``recovered`` what each ``session.ready`` behind one said, and
    ``deleted`` the ids that it was told are no more."""

    cursor: str | None = None
    logged: list[Logged] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    welcomes: int = 0
    recovered: list[bool] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __str__(self) -> str:
        return f"{len(self.ids)} notifications up to {self.cursor}, {self.welcomes} times welcome"

    def write(self, name: str, arguments: list[Any]) -> None:
        """Every event, in the order in which the client's application gets it."""
        if name == "session.ready":
            self.welcomes += 1
            if self.cursor is not None:
                self.recovered.append(arguments[0]["recovered"])
        elif name in LOGGED:
            identifier = arguments[0]["id"] if name == "notification.new" else None
            self.logged.append(Logged(arguments[-1], name, identifier))
            if identifier is not None:
                self.ids.add(identifier)
            if name == "notification.deleted":
                self.deleted.update(arguments[0]["ids"])
        if isinstance(arguments[-1], str):
            self.cursor = arguments[-1]
        self.changed.set()


class Follower(ABC):
    """A client of one user that is to miss nothing, to get nothing twice, and everything in order."""

    name: str

    def __init__(self, url: str, token: str) -> None:
        self.diary = Diary()
        self._url = url
        self._token = token
        self._following: asyncio.Task[None]

    async def start(self) -> None:
        """Return when it is welcome."""
        self._following = asyncio.create_task(self._follow())
        await self.welcomed(1)

    async def stop(self) -> None:
        """Raises what went wrong with the client itself."""
        self._following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._following

    async def welcomed(self, times: int) -> None:
        """Wait until there have been that many ``session.ready``."""
        await self._until(lambda: self.diary.welcomes >= times)

    async def has(self, identifier: str) -> None:
        await self._until(lambda: identifier in self.diary.ids | self.diary.deleted)

    async def _until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(ARRIVE_SECONDS):
                await self._changes_until(condition)
        except TimeoutError:
            raise AssertionError(f"{self.name} does not get on: {self.diary}") from None

    async def _changes_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.diary.changed.clear()
            waiting = asyncio.create_task(self.diary.changed.wait())
            await asyncio.wait((waiting, self._following), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._following.done():
                self._following.result()
                raise AssertionError(f"{self.name} has given up")

    @abstractmethod
    async def _follow(self) -> None:
        """Stay, and come back after every cut."""


class JsFollower(Follower):
    """The stock client: it comes back by itself, and recovers by itself. No code of an application is involved.

    ``connects`` is what ``socket.recovered`` was at each ``connect`` but the first.
    """

    name = "js"

    def __init__(self, url: str, token: str, clients: Clients, options: Mapping[str, object]) -> None:
        super().__init__(url, token)
        self.connects: list[bool] = []
        self._clients = clients
        self._options = options

    async def _follow(self) -> None:
        client: JsClient = await self._clients.js(self._url, {"token": self._token}, self._options)
        while True:
            happening = await client.next(within=60)
            if happening["what"] == "event":
                self.diary.write(happening["name"], happening["args"])
            elif happening["what"] == "connect" and self.diary.cursor is not None:
                self.connects.append(happening["recovered"])
            elif "active" in happening:
                assert happening["active"], f"it stays away: {happening}"


class PythonFollower(Follower):
    """The stock Python client, which knows nothing of recovery: its application gives it the last cursor it saw."""

    name = "python"

    def __init__(self, url: str, token: str, transports: Sequence[str] | None = None) -> None:
        """``transports`` are those it may use; with None, as it comes."""
        super().__init__(url, token)
        self._transports = transports

    async def _follow(self) -> None:
        while True:
            await self._stay()
            await asyncio.sleep(random.uniform(*RETURN_SECONDS))

    async def _stay(self) -> None:
        async with _released() as http:
            await self._stay_over(http)

    async def _stay_over(self, http: aiohttp.ClientSession) -> None:
        gone = asyncio.Event()
        client = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
        client.on("*", lambda name, *arguments: self.diary.write(name, list(arguments)))
        client.on("disconnect", lambda _reason: gone.set())
        auth = {"token": self._token} | ({"cursor": self.diary.cursor} if self.diary.cursor is not None else {})
        try:
            await client.connect(self._url, auth=auth, transports=self._transports, wait_timeout=CONNECT_SECONDS)
            await gone.wait()
        except socketio.exceptions.ConnectionError:
            pass
        finally:
            # What it is still to say is not waited for: the next connection starts from what it has said.
            client.on("*", lambda *_arguments: None)
            await end(client)


@asynccontextmanager
async def _released() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for one client, which forgets an answer that refuses it: where that was cut before its end, its
    connection would stay open until it is collected."""
    answers: list[aiohttp.ClientResponse] = []

    async def note(_session: object, _context: object, ended: aiohttp.TraceRequestEndParams) -> None:
        answers.append(ended.response)

    noting = aiohttp.TraceConfig()
    noting.on_request_end.append(note)
    async with aiohttp.ClientSession(trace_configs=[noting]) as session:
        try:
            yield session
        finally:
            for answer in answers:
                answer.close()


class CurlFollower(Follower):
    """``curl -N`` on the stream, started anew with the last id it printed."""

    name = "curl"

    async def _follow(self) -> None:
        while True:
            async with Curl(self._url, self._token, self.diary.cursor) as curl, aclosing(curl.events()) as events:
                async for name, arguments in events:
                    self.diary.write(name, arguments)
            await asyncio.sleep(random.uniform(*RETURN_SECONDS))
