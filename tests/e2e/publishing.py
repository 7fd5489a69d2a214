"""A backend that publishes at a steady pace, and says everything again until it is acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

import aiohttp

RETRY_SECONDS = 0.05
ATTEMPT_SECONDS = 5.0
PUBLISHERS = 4


class Publishing(Protocol):
    """What takes notifications: a server, or one of several."""

    async def post(self, session: aiohttp.ClientSession, body: Mapping[str, object]) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer."""


@dataclass(eq=False)
class Backend:
    """``publishers`` at once, ``rate`` notifications a second in all, each with an id of its own.

    ``acknowledged`` holds the cursor of each id that was for the user; ``retries`` counts what had to be said again.
    """

    server: Publishing
    user: str
    role: str
    rate: float
    acknowledged: dict[str, str] = field(default_factory=dict)
    for_others: set[str] = field(default_factory=set)
    retries: int = 0
    duplicates: int = 0
    _stopping: bool = False
    _publishers: list[asyncio.Task[None]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.acknowledged)} acknowledged, {self.retries} tried again"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        self._publishers = [asyncio.create_task(self._publish(number)) for number in range(PUBLISHERS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for publisher in self._publishers:
            publisher.cancel()
        await asyncio.gather(*self._publishers, return_exceptions=True)
        await self._session.close()

    async def stop(self) -> None:
        """Begin nothing new, and see through what was begun."""
        self._stopping = True
        await asyncio.gather(*self._publishers)

    async def say(self, identifier: str, to: Mapping[str, object]) -> str:
        """Publish until it is acknowledged: its cursor."""
        body = {"to": to, "type": "load", "id": identifier, "title": "x" * random.randrange(200)}
        while (answer := await self._attempt(body)) is None:
            self.retries += 1
            await asyncio.sleep(RETRY_SECONDS)
        self.duplicates += answer["duplicate"]
        return str(answer["cursor"])

    async def _publish(self, publisher: int) -> None:
        choice = random.Random(publisher)
        ours: list[Mapping[str, object]] = [
            {"user": self.user},
            {"users": ["someone", self.user]},
            {"role": self.role},
            {"everyone": True},
        ]
        number = 0
        began = time.monotonic()
        while not self._stopping:
            number += 1
            identifier = f"{publisher}-{number}"
            if number % 10 == 0:
                await self.say(identifier, {"user": "someone"})
                self.for_others.add(identifier)
            else:
                self.acknowledged[identifier] = await self.say(identifier, choice.choice(ours))
            due = began + number * PUBLISHERS / self.rate
            if due < time.monotonic():
                # What was missed while nobody answered is not made up for: the rate is one of a steady load.
                began += time.monotonic() - due
            await asyncio.sleep(due - time.monotonic())

    async def _attempt(self, body: Mapping[str, object]) -> dict[str, Any] | None:
        """None where nobody knows, or it was refused for now."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                status, answer = await self.server.post(self._session, body)
        except (aiohttp.ClientError, TimeoutError):
            return None
        assert status in (201, 503), answer
        return answer if status == 201 else None
