"""Devices that take what comes due, put some of it off, and note when each of it came."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

import aiohttp

from tests.processes import ServerProcess, token

AWAY_SECONDS = 0.05
SNOOZED_AT_ONCE = 50
TIMEOUT = aiohttp.ClientTimeout(total=30)


def from_now(seconds: float) -> float:
    return time.time() + seconds


class Device:
    """A client of the stream. Whenever it loses that, it comes back with its last cursor, to the next server that takes
    it. ``got`` is when each id came, ``order`` are the ids as they came."""

    def __init__(self, jwt: str, servers: Sequence[ServerProcess], first: int) -> None:
        self.got: defaultdict[str, list[float]] = defaultdict(list)
        self.order: list[str] = []
        self.on_new: Callable[[str], None] = lambda _id: None
        self._jwt = jwt
        self._servers = itertools.islice(itertools.cycle(servers), first % len(servers), None)
        self._cursor = ""

    async def run(self) -> None:
        """For ever."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._read(next(self._servers))
            await asyncio.sleep(AWAY_SECONDS)

    async def _read(self, server: ServerProcess) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            resumed = f"Last-Event-ID: {self._cursor}\r\n" if self._cursor else ""
            asked = f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._jwt}\r\n{resumed}\r\n"
            writer.write(asked.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[1] != b"200":
                return
            left = b""
            while octets := await reader.read(65_536):
                # What is not whole yet counts for nothing, and comes again.
                *events, left = (left + octets).split(b"\n\n")
                for event in events:
                    self._take(event, time.time())
        finally:
            writer.close()

    def _take(self, event: bytes, at: float) -> None:
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
        self._cursor = fields[b"id"].decode() if b"id" in fields else self._cursor
        if fields.get(b"event") == b"notification.new":
            id_ = json.loads(fields[b"data"])["id"]
            self.got[id_].append(at)
            self.order.append(id_)
            self.on_new(id_)


class User:
    """Somebody with one device or two, who puts off, on the first, what ``puts_off`` says, for so many seconds.

    ``returns`` is until when what is known to be put off. Of what is ``in_doubt`` nobody knows whether it was: the
    answer was lost.
    """

    def __init__(
        self,
        name: str,
        servers: Sequence[ServerProcess],
        number: int,
        *,
        devices: int,
        puts_off: Callable[[str], float | None],
    ) -> None:
        self.name = name
        self.number = number
        self.jwt = token(name, ttl=86_400)
        self.devices = [Device(self.jwt, servers, number + which) for which in range(devices)]
        self.returns: dict[str, float] = {}
        self.in_doubt: set[str] = set()
        self._to_put_off = 0
        self._servers = servers
        self._puts_off = puts_off
        self._queue: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
        self.devices[0].on_new = self._note

    def has_all(self, ids: int) -> bool:
        """Whether everything has come that is known to come, of so many ids."""
        return not self._to_put_off and all(
            len(device.order) >= ids + (len(self.returns) if device is self.devices[0] else 0) + doubtful
            for device in self.devices
            for doubtful in [sum(len(device.got[id_]) - 1 for id_ in self.in_doubt if id_ in device.got)]
        )

    def _note(self, id_: str) -> None:
        if len(self.devices[0].got[id_]) == 1 and (seconds := self._puts_off(id_)) is not None:
            self._to_put_off += 1
            self._queue.put_nowait((id_, seconds))

    async def put_off(self, session: aiohttp.ClientSession) -> None:
        """For ever."""
        while True:
            id_, seconds = await self._queue.get()
            # They come back together, as what is put off at once does.
            ids = [id_]
            while not self._queue.empty() and len(ids) < SNOOZED_AT_ONCE:
                ids.append(self._queue.get_nowait()[0])
            await self.snooze(session, ids, partial(from_now, seconds))
            self._to_put_off -= len(ids)

    async def snooze(self, session: aiohttp.ClientSession, ids: Sequence[str], until: Callable[[], float]) -> None:
        """Once they are read, and so that they have to come back unread."""
        for server in itertools.cycle(self._servers):
            try:
                await self._post(session, server, "read", {"ids": ids})
            except ConnectionError:
                await asyncio.sleep(AWAY_SECONDS)
                continue
            at = until()
            argument = {"ids": ids, "until": datetime.fromtimestamp(at, UTC).isoformat()}
            try:
                changed = await self._post(session, server, "snooze", argument)
            except ConnectionError:
                self.in_doubt.update(ids)
                return
            if not changed and time.time() >= at:
                # It was over as the server came to it.
                self.in_doubt.update(ids)
                return
            assert changed == len(ids), f"{changed} of {len(ids)} were put off"
            self.returns.update(dict.fromkeys(ids, at))
            return

    async def _post(
        self, session: aiohttp.ClientSession, server: ServerProcess, action: str, argument: Mapping[str, object]
    ) -> int:
        """How many were changed. Raises ConnectionError where nobody knows."""
        while True:
            try:
                async with session.post(
                    f"{server.url}/v1/inbox/{action}",
                    json=argument,
                    headers={"Authorization": f"Bearer {self.jwt}"},
                    timeout=TIMEOUT,
                ) as answer:
                    if answer.status == HTTPStatus.OK:
                        return int((await answer.json())["changed"])
                    assert answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
                    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                        raise ConnectionError
            except (aiohttp.ClientError, TimeoutError) as error:
                raise ConnectionError from error
            await asyncio.sleep(1.0)

    def mistakes(self) -> list[str]:
        """What came too often, or too seldom."""
        wrong: list[str] = []
        for which, device in enumerate(self.devices):
            for id_, times in device.got.items():
                until = self.returns.get(id_)
                after = len(times) if until is None else sum(at >= until - 0.001 for at in times)
                before = len(times) - after
                if id_ in self.in_doubt:
                    is_right = len(times) in (1, 2)
                elif until is None:
                    is_right = after == 1
                else:
                    # Another device may come back when it is put off, or has returned: then it hears of it once.
                    is_right = after == 1 and (before == 1 or (which > 0 and before == 0))
                if not is_right:
                    wrong.append(f"{self.name}/{which} got {id_} at {times}, put off until {until}")
        return wrong

    async def listed(self, session: aiohttp.ClientSession, server: ServerProcess) -> list[tuple[str, bool]]:
        """Their inbox, the newest first: each id, and whether it is unread."""
        items: list[tuple[str, bool]] = []
        page: str | None = ""
        while page is not None:
            query = {"limit": "100", "state": "all", **({"page": page} if page else {})}
            async with session.get(
                f"{server.url}/v1/inbox", params=query, headers={"Authorization": f"Bearer {self.jwt}"}
            ) as answer:
                if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                    await asyncio.sleep(1.0)
                    continue
                assert answer.status == HTTPStatus.OK, await answer.text()
                told = await answer.json()
            items += [(item["id"], item["read_at"] is None) for item in told["items"]]
            page = told["next"]
        return items
