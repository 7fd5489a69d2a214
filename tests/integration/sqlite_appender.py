"""A program that stores as much as it can, and prints what it was told is stored: to be killed at any moment.

``python -m tests.integration.sqlite_appender FILE ROUND``. A line is ``offset id``; of a mark it is ``mark offset``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys

from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from domain.model import EVERYONE, Action, AppendOutcome, Position, Room, UserId
from tests.contract.inbox_harness import draft

ROOM, USER = Room("user:ann"), UserId("ann")


def say(line: str) -> None:
    # At once and in one piece: nothing that was printed is lost with the process.
    os.write(1, f"{line}\n".encode())


async def publish(inbox: SqliteStore, prefix: str, chance: random.Random) -> None:
    for number in itertools.count():
        size = chance.choice((1, 1, 1, 20, 200))
        names = [f"{prefix}-{number}-{item}" for item in range(size)]
        appended = await inbox.append([draft(name, ROOM) for name in names], all_or_nothing=chance.random() < 0.5)
        say("\n".join(f"{one.position.offset} {one.id}" for one in appended if one.outcome is AppendOutcome.STORED))


async def use(inbox: SqliteStore, prefix: str, chance: random.Random) -> None:
    subscriber = await inbox.register(USER, "company", frozenset((ROOM, EVERYONE)))
    clock = SystemClock()
    for number in itertools.count():
        await asyncio.sleep(chance.uniform(0, 0.005))
        await inbox.change(subscriber, Action.READ, [f"{prefix}-{number}-0"], clock.now())
        head = await inbox.head()
        await inbox.acknowledge({(USER, "company"): Position(head.epoch, head.offset)})
        say(f"mark {head}")


async def run(path: str, number: str) -> None:
    inbox = SqliteStore(path, clock=SystemClock())
    await inbox.open()
    chance = random.Random(number)
    say("open")
    await asyncio.gather(
        *(publish(inbox, f"{number}-{publisher}", chance) for publisher in range(4)), use(inbox, f"{number}-0", chance)
    )


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
