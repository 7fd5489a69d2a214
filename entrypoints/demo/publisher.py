"""The demo's backend: it publishes as one should, each again with the same id until the server has answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from adapters.contract.json_text import to_json
from entrypoints.demo.people import PEOPLE, recipients

MAX_RATE: Final = 50
"""Publications a second."""

PUBLISH: Final = "/v1/notifications"
MAX_UNANSWERED: Final = 500
HISTORY: Final = 20_000
GIVE_UP_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.2
NO_ANSWER: Final = f"the server did not answer within {GIVE_UP_SECONDS:.0f} s"

_AUTOMATIC: Final[tuple[tuple[dict[str, object], str, str], ...]] = (
    ({"user": PEOPLE[0].id}, "message.received", f"A message for user {PEOPLE[0].id}"),
    ({"user": PEOPLE[1].id}, "message.received", f"A message for user {PEOPLE[1].id}"),
    ({"role": "company"}, "plan.changed", "News for every company"),
    ({"everyone": True}, "maintenance.planned", "A word to everyone"),
)


@dataclass(frozen=True, slots=True)
class Published:
    """What the server has answered with 2xx. ``sent_at`` is when that request began, in ms since 1970."""

    number: int
    id: str
    to: Mapping[str, object]
    recipients: tuple[str, ...]
    cursor: str
    sent_at: float


class Unanswered(Exception):
    """The server was away for too long, or too much waits for it. The message says which."""


class Publisher:
    """``published`` are the newest that the server has taken; ``unanswered`` is how many are being asked for."""

    def __init__(self, session: aiohttp.ClientSession, server_port: Callable[[], int | None], api_key: str) -> None:
        """``server_port`` says where the server is at the moment, or None while it is away."""
        self.run = secrets.token_hex(4)
        self.rate = 0
        self.unanswered = 0
        self.given_up = 0
        self.published: deque[Published] = deque(maxlen=HISTORY)
        self._session = session
        self._server_port = server_port
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._numbers = itertools.count(1)
        self._ids = itertools.count(1)
        self._rate_changed = asyncio.Event()
        self._automatic: set[asyncio.Task[None]] = set()

    def since(self, number: int, limit: int) -> list[Published]:
        """What was published after the one with this number, the oldest first; ``limit`` at most."""
        if not self.published:
            return []
        start = max(0, number + 1 - self.published[0].number)
        return list(itertools.islice(self.published, start, start + limit))

    async def publish(self, publication: Mapping[str, Any]) -> tuple[int, bytes]:
        """The status and body of the server's answer. Raises Unanswered."""
        if self.unanswered >= MAX_UNANSWERED:
            raise Unanswered("too many publications wait for the server")
        self.unanswered += 1
        try:
            return await self._publish({"id": f"demo-{self.run}-{next(self._ids)}", **publication})
        finally:
            self.unanswered -= 1

    async def _publish(self, publication: dict[str, Any]) -> tuple[int, bytes]:
        until = time.monotonic() + GIVE_UP_SECONDS
        body = to_json(publication)
        while time.monotonic() < until:
            sent_at = time.time() * 1000
            answer = await self._request("POST", PUBLISH, body)
            if answer is not None:
                status, text = answer
                if status < HTTPStatus.BAD_REQUEST:
                    to, cursor = publication["to"], json.loads(text)["cursor"]
                    number = next(self._numbers)
                    self.published.append(Published(number, publication["id"], to, recipients(to), cursor, sent_at))
                return answer
            await asyncio.sleep(RETRY_SECONDS)
        self.given_up += 1
        raise Unanswered(NO_ANSWER)

    async def ask(self, method: str, path: str, body: object | None) -> tuple[int, bytes]:
        """The status and body of the server's answer to a request that may be sent again. Raises Unanswered."""
        until = time.monotonic() + GIVE_UP_SECONDS
        octets = None if body is None else to_json(body)
        while time.monotonic() < until:
            answer = await self._request(method, path, octets)
            if answer is not None:
                return answer
            await asyncio.sleep(RETRY_SECONDS)
        raise Unanswered(NO_ANSWER)

    async def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes] | None:
        """Status and body; None where the server has to be asked again."""
        port = self._server_port()
        if port is None:
            return None
        try:
            async with self._session.request(
                method,
                f"http://127.0.0.1:{port}{path}",
                data=body,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            ) as answer:
                text = await answer.read()
                return None if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR else (answer.status, text)
        except (aiohttp.ClientError, TimeoutError):
            return None

    def set_rate(self, rate: int) -> None:
        """How many are published a second by themselves, 0 to ``MAX_RATE``."""
        self.rate = rate
        self._rate_changed.set()

    async def publish_automatically(self) -> None:
        """At the rate that is set, until cancelled."""
        try:
            for number in itertools.count():
                while not self.rate:
                    self._rate_changed.clear()
                    await self._rate_changed.wait()
                if self.unanswered < MAX_UNANSWERED:
                    task = asyncio.create_task(self._publish_one(number))
                    self._automatic.add(task)
                    task.add_done_callback(self._automatic.discard)
                await asyncio.sleep(1 / self.rate)
        finally:
            for task in self._automatic:
                task.cancel()

    async def _publish_one(self, number: int) -> None:
        to, kind, title = _AUTOMATIC[number % len(_AUTOMATIC)]
        publication = {"to": to, "type": kind, "title": title, "body": f"Number {number + 1}, published by itself."}
        try:
            await self.publish(publication)
        except Unanswered:
            # It is counted, and shown.
            return
