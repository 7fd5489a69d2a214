"""What may happen, at random, to one user's inbox, to the server that keeps it and to the lines that lead there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.line import Cut, Line
from tests.processes import ONE_SECRET, ServerProcess, token

ACTIONS = ("read", "unread", "seen", "archive", "unarchive", "delete")
AUDIENCES: Sequence[dict[str, object]] = ({"user": "42"}, {"user": "42"}, {"role": "freelance"}, {"everyone": True})
SETTINGS = ONE_SECRET | {"SYNKRONE_LIMITS__PING_INTERVAL": "2s", "SYNKRONE_LIMITS__PING_TIMEOUT": "3s"}
"""A stock client that is cut while its upgrade pauses its polling notices that by the missing ping alone."""


class World:
    """A server, and lines to it. ``own`` is a token of the user, ``published`` the ids of all that there ever was."""

    def __init__(self, seed: int, server: ServerProcess, lines: Sequence[Line]) -> None:
        self.random = random.Random(seed)
        self.own = token("42")
        self.published: list[str] = []
        self.server = server
        self._lines = lines

    async def publish(self, **members: object) -> None:
        """To the user alone, or with others. The title is how many there were before it."""
        answer = await self.server.publish(self.random.choice(AUDIENCES), title=f"{len(self.published)}", **members)
        self.published.append(answer["id"])

    def some(self, ids: Sequence[str]) -> list[str]:
        """Up to three of them."""
        return self.random.sample(ids, min(len(ids), self.random.randint(1, 3)))

    def cut(self) -> int:
        """Cut a line, in whatever way; how many connections that were."""
        return self.random.choice(self._lines).cut(self.random.choice(list(Cut)))

    async def kill(self, backup: Path | None = None) -> None:
        """Kill the server, and have it back, with what it had or with what it had at a backup."""
        self.server.kill()
        if backup is not None:
            self.server.restore(backup)
        self.server.start_again()
        await self.server.ready()

    async def listed(self, **named: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """What the server lists of what is ``named`` by ``state`` and ``type``, on all pages, and what it counts."""
        items: list[dict[str, Any]] = []
        page: str | None = ""
        query = "".join(f"&{name}={value}" for name, value in named.items())
        while page is not None:
            answer = await self.server.inbox(self.own, f"?limit=100{query}{page and f'&page={page}'}")
            items += answer["items"]
            page = answer["next"]
        return items, answer["counts"]
