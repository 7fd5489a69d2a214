"""Users who are connected, and a backend that publishes to them at a steady rate."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from adapters.contract.json_text import to_json
from entrypoints.unreachable import reason_of

CONNECTING_AT_ONCE: Final = 50
CONNECT_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 3.0
"""After the last publish, for what is on its way."""

PUBLISHING_AT_ONCE: Final = 200


class CannotLoad(Exception):
    """The load cannot be made. The message is one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate`` is of publishes a second, over ``seconds``. ``mint`` makes the token of a user."""

    url: str
    key: str
    mint: Callable[[str], str]
    connections: int
    rate: float
    seconds: float


@dataclass(slots=True)
class Measured:
    """Times in seconds: of the answer to each publish, and from the publish to its client having it. ``late`` is how
    far behind its plan the backend was in the end."""

    connected: int = 0
    published: int = 0
    refused: int = 0
    late: float = 0.0
    answers: list[float] = field(default_factory=list)
    deliveries: list[float] = field(default_factory=list)


async def put_load(plan: Plan, began: Callable[[], None]) -> Measured:
    """``began`` is called when all are connected. Bounded by ``seconds`` and a few for the beginning and the end.

    Raises CannotLoad.
    """
    load = _Load(plan)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=CONNECT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await load.run(session, began)
    return load.measured


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._run = secrets.token_hex(4)
        self._sent: dict[str, float] = {}
        self.measured = Measured()

    async def run(self, session: aiohttp.ClientSession, began: Callable[[], None]) -> None:
        gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        users = [f"bench-{number}" for number in range(self._plan.connections)]
        try:
            sockets = await asyncio.gather(*(self._connect(session, gate, user) for user in users))
        except (aiohttp.ClientError, OSError, TypeError, ValueError) as error:
            raise CannotLoad(f"{self._plan.url}: cannot connect: {reason_of(error)}") from None
        self.measured.connected = len(sockets)
        reading = [asyncio.create_task(self._read(socket)) for socket in sockets]
        try:
            began()
            await self._publish_all(session, users)
            until = time.monotonic() + SETTLE_SECONDS
            while self._sent and time.monotonic() < until:  # noqa: ASYNC110 (it is looked at but a few times)
                await asyncio.sleep(0.02)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*(socket.close() for socket in sockets), return_exceptions=True)

    async def _connect(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, user: str
    ) -> aiohttp.ClientWebSocketResponse:
        """Raises CannotLoad for whom the server refuses."""
        async with gate, asyncio.timeout(CONNECT_SECONDS):
            socket = await session.ws_connect(f"{self._plan.url}/socket.io/?EIO=4&transport=websocket")
            await socket.receive_str()
            await socket.send_str(f"40{json.dumps({'token': self._plan.mint(user)})}")
            while not (packet := await socket.receive_str()).startswith('42["session.ready"'):
                if packet.startswith("44"):
                    raise CannotLoad(f"{self._plan.url} refuses the token of {user}: {packet[2:]}")
            return socket

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            text = str(message.data)
            if text == "2":
                await socket.send_str("3")
            elif text.startswith('42["notification.new"'):
                came = time.monotonic()
                sent = self._sent.pop(json.loads(text[2:])[1]["id"], None)
                # What lay there from another run is of no interest.
                if sent is not None:
                    self.measured.deliveries.append(came - sent)

    async def _publish_all(self, session: aiohttp.ClientSession, users: Sequence[str]) -> None:
        plan, gate = self._plan, asyncio.Semaphore(PUBLISHING_AT_ONCE)
        start, tasks = time.monotonic(), set[asyncio.Task[None]]()
        for number in range(int(plan.rate * plan.seconds)):
            due = start + number / plan.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - start > plan.seconds:
                break
            await gate.acquire()
            task = asyncio.create_task(
                self._publish(session, gate, users[number % len(users)], f"{self._run}-{number}")
            )
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            self.measured.late = max(0.0, time.monotonic() - due)
        if tasks:
            await asyncio.wait(tasks)

    async def _publish(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, user: str, identifier: str
    ) -> None:
        body = {"to": {"user": user}, "type": "bench", "title": "A notification of usual length", "id": identifier}
        headers = {"Authorization": f"Bearer {self._plan.key}", "Content-Type": "application/json"}
        began = self._sent[identifier] = time.monotonic()
        try:
            async with session.post(
                f"{self._plan.url}/v1/notifications", data=to_json(body), headers=headers
            ) as answer:
                await answer.read()
                is_stored = answer.status == 201
        except (aiohttp.ClientError, TimeoutError):
            is_stored = False
        finally:
            gate.release()
        if is_stored:
            self.measured.published += 1
            self.measured.answers.append(time.monotonic() - began)
        else:
            self.measured.refused += 1
            self._sent.pop(identifier, None)
