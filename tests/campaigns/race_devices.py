"""Devices that come, go and ask while what they are told of is changed or taken back, and what each may be told."""

from __future__ import annotations

import asyncio
import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import aiohttp
import socketio

from tests.e2e.clients import end
from tests.engine_io import Closed, PollingPeer, WebSocketPeer, acknowledged, connected, event
from tests.processes import ServerProcess, token
from tests.sse_client import StreamClient

CONNECT_SECONDS = 10.0
OFFSET = re.compile(r":(\d+)")
"""In a cursor."""
ASKED = 7
"""The id of the acknowledgement of what a device asks."""


class Story:
    """What a publisher knows of a notification: the last version that was acknowledged, as its title says it, and
    whether it is acknowledged that it was taken back."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.version = 0
        self.is_recalled = False


class Memory:
    """What one device was told of a notification, and what of that is against the rules. Everything is told in a
    ``since``: as much was acknowledged before it was asked for."""

    def __init__(self, story: Story, who: str) -> None:
        self.shown = 0
        """How often it was told of it as something new."""
        self.last = -1
        self.is_deleted = False
        self.wrong: list[str] = []
        self._offset = 0
        self._story = story
        self._who = who
        self._told: list[str] = []

    def hear(self, name: str, arguments: Sequence[Any], since: tuple[int, bool]) -> None:
        if name.startswith("notification."):
            found = OFFSET.search(arguments[-1])
            offset = int(found[1]) if found is not None else 0
            self._note("", offset <= self._offset and f"{name} comes again, or late")
            self._offset = offset
        if name == "notification.deleted" and self._story.id in arguments[0]["ids"]:
            self._note("deleted", self.is_deleted and "it is deleted twice")
            self.is_deleted = True
        elif name in ("notification.new", "notification.revised") and arguments[0]["id"] == self._story.id:
            version = int(arguments[0]["title"])
            is_new = name == "notification.new"
            self._show(f"{name} {version}", version, since)
            self._note("", is_new and self.shown > 0 and "it is new twice")
            self._note("", not is_new and not self.shown and "it is revised before it is new")
            self.shown += is_new
            self.last = max(self.last, version)

    def list(self, items: Sequence[dict[str, Any]], since: tuple[int, bool]) -> None:
        """What an inbox has that was asked for in order with what is told."""
        versions = [int(item["title"]) for item in items if item["id"] == self._story.id]
        for version in versions:
            self._show(f"listed {version}", version, since)
            self.last = max(self.last, version)
        if not versions:
            self._note("not listed", self.shown and not self.is_deleted and "it is not listed and not deleted")

    def list_beside(self, items: Sequence[dict[str, Any]], since: tuple[int, bool]) -> None:
        """The same asked for by itself: it may have been answered before what was told meanwhile."""
        least, was_gone = since
        for version in [int(item["title"]) for item in items if item["id"] == self._story.id]:
            self._note(f"listed {version} beside", was_gone and "it is listed after it was gone")
            self._note("", version < least and f"an older one is listed than {least}, which was there before")

    def _show(self, what: str, version: int, since: tuple[int, bool]) -> None:
        least, was_recalled = since
        self._note(what, was_recalled and "it is shown after it was taken back")
        self._note("", self.is_deleted and "it is shown after it was deleted")
        self._note("", version < least and f"an older one is shown than {least}, which was acknowledged before")
        self._note("", version < self.last and "an older one is shown after a newer one")

    def _note(self, what: str, wrong: object) -> None:
        self._told += [what] if what else []
        if wrong:
            self.wrong.append(f"{self._who}: {wrong}: {self._told}")


class Device:
    """One device of a user of its own. It keeps its cursor."""

    def __init__(self, user: str, role: str, story: Story, choice: random.Random) -> None:
        self.user = user
        self.jwt = token(user, role)
        self.story = story
        self.choice = choice
        self.memory = Memory(story, user)
        self.cursor = ""
        self.visits = 0

    @property
    def since(self) -> tuple[int, bool]:
        return self.story.version, self.story.is_recalled

    def hear(self, name: str, arguments: Sequence[Any], since: tuple[int, bool]) -> None:
        if name != "inbox.counts" and arguments and isinstance(arguments[-1], str):
            self.cursor = arguments[-1]
        self.memory.hear(name, arguments, since)

    async def list(self, http: aiohttp.ClientSession, server: ServerProcess) -> None:
        version, is_recalled = self.since
        known = max(version, self.memory.last), is_recalled or self.memory.is_deleted
        headers = {"Authorization": f"Bearer {self.jwt}"}
        async with http.get(f"{server.url}/v1/inbox", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            self.memory.list_beside((await answer.json())["items"], known)


class Visit(ABC):
    """A connection of a device to a server, until it is cut."""

    def __init__(self, device: Device, server: ServerProcess, http: aiohttp.ClientSession) -> None:
        self.device = device
        self.server = server
        self.http = http
        self.since = device.since
        self._listening: asyncio.Task[None] | None = None
        device.visits += 1

    async def begin(self) -> None:
        """It is connected then."""
        async with asyncio.timeout(2 * CONNECT_SECONDS):
            await self._connect()
        self._listening = asyncio.create_task(self._listen())

    async def cut(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError, Closed, ConnectionError, TimeoutError, aiohttp.ClientError):
                await self._listening
        await self._end()

    async def ask(self) -> None:
        """For its inbox, in order with what it is told, where its transport can."""
        return

    @abstractmethod
    async def _connect(self) -> None: ...

    @abstractmethod
    async def _listen(self) -> None: ...

    @abstractmethod
    async def _end(self) -> None: ...


class PeerVisit(Visit):
    """``open`` is that of its transport."""

    open: ClassVar[Callable[..., Awaitable[Any]]]
    _peer: Any = None

    async def _connect(self) -> None:
        self._peer = await type(self).open(self.http, self.server.url)
        auth = {"cursor": self.device.cursor} if self.device.cursor else {}
        ready, cursor = await connected(self._peer, self.device.jwt, **auth)
        assert ready["recovered"] or not self.device.cursor, ready
        self.device.cursor = cursor

    async def _listen(self) -> None:
        while True:
            packet = await self._peer.next()
            if packet.startswith("43"):
                _, answer = acknowledged(packet)
                self.device.memory.list(answer["items"], self.since)
            else:
                self.device.hear(*event(packet), self.since)

    async def ask(self) -> None:
        await self._peer.send(f'42{ASKED}["inbox.list",{{"limit":5}}]')


class WebSocketVisit(PeerVisit):
    open = WebSocketPeer.open

    async def _end(self) -> None:
        if self._peer is not None:
            with suppress(AssertionError):
                self._peer.abort()


class PollingVisit(PeerVisit):
    """Whoever is cut leaves a poll behind."""

    open = PollingPeer.open

    async def _end(self) -> None:
        return


class StreamVisit(Visit):
    _stream: Any = None

    async def _connect(self) -> None:
        self._stream = await StreamClient.open(self.server.port)
        self._stream.ask(authorization=f"Bearer {self.device.jwt}", last_event_id=self.device.cursor or None)
        assert await self._stream.answer() == 200
        self._take(await self._stream.event())

    async def _listen(self) -> None:
        while (told := await self._stream.next()) is not None:
            self._take(told)

    def _take(self, told: Any) -> None:
        if told.name is not None and told.data is not None:
            self.device.hear(told.name, [json.loads(told.data), *([told.id] if told.id else [])], self.since)

    async def _end(self) -> None:
        if self._stream is not None:
            self._stream.writer.transport.abort()


class StockVisit(Visit):
    """python-socketio. It leaves in good order."""

    async def _connect(self) -> None:
        is_ready = asyncio.Event()

        def hear(name: str, *arguments: Any) -> None:
            self.device.hear(name, arguments, self.since)
            if name == "session.ready":
                is_ready.set()

        self._client = socketio.AsyncClient(http_session=self.http, reconnection=False, handle_sigint=False)
        self._client.on("*", hear)
        auth = {"token": self.device.jwt, **({"cursor": self.device.cursor} if self.device.cursor else {})}
        transports = self.device.choice.choice((None, ["websocket"], ["polling"]))
        try:
            await self._client.connect(self.server.url, auth=auth, transports=transports, wait_timeout=CONNECT_SECONDS)
        except socketio.exceptions.ConnectionError as error:
            raise ConnectionError from error
        await is_ready.wait()

    async def _listen(self) -> None:
        # Its library hears by itself.
        await asyncio.Event().wait()

    async def _end(self) -> None:
        await end(self._client)


VISITS: Sequence[type[Visit]] = (*[WebSocketVisit] * 10, *[StreamVisit] * 5, *[PollingVisit] * 4, StockVisit)
