"""Those who connect, each with a client as it comes: they leave, are cut off, come back, and write all of it down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import socketio

from tests.e2e.clients import JsClient, end
from tests.e2e.line import Line
from tests.prove.history import History

STAY_SECONDS = (3.0, 20.0)
AWAY_SECONDS = (0.0, 2.0)
ASK_SECONDS = (0.3, 3.0)
CONNECT_SECONDS = 6.0
SILENT_SECONDS = 8.0
"""A stream on which nothing comes for so long, not even a comment, is given up."""

JS_OPTIONS: Mapping[str, object] = {"reconnectionDelay": 100, "reconnectionDelayMax": 1000, "timeout": 6000}


class Person(ABC):
    """One client of a user. ``has`` are the names of what it got, and ``cursor`` is how far it came."""

    keeps = True

    def __init__(self, name: str, user: str, token: str, line: Line, history: History, choice: random.Random) -> None:
        self.name = name
        self.user = user
        self.has: set[str] = set()
        self.cursor: str | None = None
        self.line = line
        self.is_welcome = False
        self._token = token
        self._history = history
        self._choice = choice
        self._stays = False
        self._leaves_at = 0.0

    def stay(self) -> None:
        """Leave no more by itself."""
        self._stays = True

    @abstractmethod
    async def live(self) -> None:
        """Until it is cancelled: connect, leave, and connect again."""

    def _connects(self) -> None:
        self._leaves_at = time.monotonic() + self._choice.uniform(*STAY_SECONDS)
        self._history.write("connects", client=self.name, user=self.user, keeps=self.keeps)

    def _got(self, name: str, arguments: Sequence[Any]) -> None:
        self._history.event(self.name, name, arguments)
        if name == "session.ready":
            self.is_welcome = True
        elif name == "notification.new":
            self.has.add(arguments[0]["data"].get("name"))
        if isinstance(arguments[-1], str):
            self.cursor = arguments[-1]

    def _replied(self, answer: Mapping[str, Any]) -> None:
        """An answer on its place between the events: to a question over the same connection."""
        if answer["ok"]:
            self._history.write("replied", client=self.name, as_of=answer["as_of"], counts=answer["counts"])

    def _parts(self, why: str) -> None:
        self._history.write("parts", client=self.name, why=why)
        self.is_welcome = False

    async def _until_it_leaves(self) -> None:
        while self._stays or time.monotonic() < self._leaves_at:  # noqa: ASYNC110 (the time tells nobody)
            await asyncio.sleep(0.2)

    async def _away(self) -> None:
        await asyncio.sleep(0.05 if self._stays else self._choice.uniform(*AWAY_SECONDS))


class PythonPerson(Person):
    """python-socketio, whose application keeps the last cursor."""

    def __init__(self, *arguments: Any, transports: Sequence[str] | None = None) -> None:
        """``transports`` are those it may use; with None, as it comes."""
        super().__init__(*arguments)
        self._transports = transports
        self._present: socketio.AsyncClient | None = None

    async def live(self) -> None:
        while True:
            why = await self._visit()
            self._parts(why)
            await self._away()

    async def _visit(self) -> str:
        gone = asyncio.Event()
        client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self._present = client
        client.on("connect", self._connects)
        client.on("*", lambda name, *arguments: self._got(name, arguments))
        client.on("disconnect", lambda _reason: gone.set())
        auth = {"token": self._token}
        if self.keeps and self.cursor is not None:
            auth["cursor"] = self.cursor
        try:
            async with asyncio.timeout(CONNECT_SECONDS + 2):
                await client.connect(
                    self.line.url, auth=auth, transports=self._transports, wait_timeout=CONNECT_SECONDS
                )
        except (socketio.exceptions.ConnectionError, TimeoutError) as error:
            return f"cannot connect: {error}"
        else:
            waiting = [asyncio.ensure_future(each) for each in (gone.wait(), self._until_it_leaves())]
            asking = asyncio.create_task(self._ask(client))
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in (*waiting, asking):
                    each.cancel()
            return "cut" if gone.is_set() else "left"
        finally:
            # What its library has taken by then may count as received, and is written down to the last.
            with contextlib.suppress(Exception):
                await asyncio.shield(end(client))
            self._present = None

    async def _ask(self, client: socketio.AsyncClient) -> None:
        while True:
            await asyncio.sleep(self._choice.uniform(*ASK_SECONDS))
            with contextlib.suppress(socketio.exceptions.SocketIOError):
                await client.emit("inbox.count", {}, callback=lambda answer: self._is_here(client, answer))

    def _is_here(self, client: socketio.AsyncClient, answer: Mapping[str, Any]) -> None:
        if client is self._present:
            self._replied(answer)


class ForgetfulPerson(PythonPerson):
    """The same without a cursor: each time a device that its user never had before."""

    keeps = False


class StreamPerson(Person):
    """The stream of Server-Sent Events, with ``Last-Event-ID``."""

    async def live(self) -> None:
        while True:
            self._parts(await self._visit())
            await self._away()

    async def _visit(self) -> str:
        headers = {"Authorization": f"Bearer {self._token}"}
        if self.cursor is not None:
            headers["Last-Event-ID"] = self.cursor
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self.line.url}/v1/stream", headers=headers) as answer,
            ):
                if answer.status != 200:
                    return f"refused with {answer.status}"
                self._connects()
                await self._read(answer.content)
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"cut: {error!r}"
        return "left"

    async def _read(self, lines: aiohttp.StreamReader) -> None:
        """Until it leaves, or the stream ends."""
        name, cursor = "", ""
        data: list[str] = []
        while self._stays or time.monotonic() < self._leaves_at:
            line = await lines.readline()
            if not line.endswith(b"\n"):
                return
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                cursor = value
            elif not field and data:
                is_logged = name == "session.ready" or name.startswith("notification.")
                self._got(name, [json.loads("\n".join(data)), *([cursor] if is_logged else [])])
                data = []


class _Talkative(JsClient):
    """It has counts among what happens, too."""

    def _happened(self, what: str, **details: Any) -> None:
        self._happenings.put_nowait({"what": what, **details})


class JsPerson(Person):
    """The stock client in JavaScript, which recovers by itself."""

    def __init__(self, *arguments: Any, script: Path) -> None:
        super().__init__(*arguments)
        self._script = script

    async def live(self) -> None:
        auth = {"token": self._token}
        client = _Talkative(self._script, self.line.url, auth, JS_OPTIONS, None)
        await client.open()
        reading = asyncio.create_task(self._read(client))
        asking = asyncio.create_task(self._ask(client))
        try:
            while True:
                self._leaves_at = time.monotonic() + self._choice.uniform(*STAY_SECONDS)
                leaving = asyncio.create_task(self._until_it_leaves())
                await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                if reading.done():
                    reading.result()
                await client.disconnect()
                await self._away()
                await client.connect(auth)
        finally:
            reading.cancel()
            asking.cancel()
            await client.close()

    async def _ask(self, client: JsClient) -> None:
        while True:
            await asyncio.sleep(self._choice.uniform(*ASK_SECONDS))
            if self.is_welcome:
                await client.emit("inbox.count", {})

    async def _read(self, client: JsClient) -> None:
        while True:
            happening = await client.next(within=3600)
            match happening["what"]:
                case "event":
                    self._got(happening["name"], happening["args"])
                case "connect":
                    self._history.write("connects", client=self.name, user=self.user, keeps=True)
                case "ack" if "error" not in happening:
                    self._replied(happening["answer"])
                case "disconnect":
                    self._parts(happening["reason"])
                case "connect_error" if not happening["active"]:
                    self._history.write("refused", client=self.name, why=happening["message"])
