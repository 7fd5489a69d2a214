"""One run: everybody at once, for a time, and then quiet until everybody has everything."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from tests.processes import token
from tests.prove.backends import Caller, Publisher, Reader
from tests.prove.history import History
from tests.prove.people import ForgetfulPerson, JsPerson, Person, PythonPerson, StreamPerson
from tests.prove.stage import USERS, Stage, on_stage
from tests.prove.troubles import Troubles

PUBLISHERS = 3
PUBLISHED_PER_SECOND = 4.0
"""By each publisher, beside batches."""
EVERYTHING_SECONDS = 60.0
SETTLE_SECONDS = 2.0
LOOK_SECONDS = 0.1
LOOKS = 10


async def run(
    history: History, *, seed: int, seconds: float, against: str, folder: Path, script: Path | None, fault: str | None
) -> None:
    """Write a history. ``script`` is that of the client in JavaScript, if there is to be one; ``fault`` is one
    to be planted in the server."""
    async with on_stage(against, folder, fault) as stage:
        await _Run(history, seed, stage, script).play(seconds)


class _Run:
    def __init__(self, history: History, seed: int, stage: Stage, script: Path | None) -> None:
        self._history = history
        self._seed = seed
        self._stage = stage
        self._script = script
        self._tokens = {user: token(user, role, ttl=86_400) for user, role in USERS.items()}
        self._publishers = [
            Publisher(f"p{number}", USERS, self._caller(f"p{number}"), PUBLISHED_PER_SECOND)
            for number in range(PUBLISHERS)
        ]
        self._readers = [
            Reader(user, self._tokens[user], self._caller(f"reader of {user}"), self._publishers) for user in USERS
        ]

    def _choice(self, name: str) -> random.Random:
        """Chance of its own for each: what one does depends on nobody else."""
        return random.Random(f"{self._seed} {name}")

    def _caller(self, name: str) -> Caller:
        return Caller(self._stage.servers, self._history, self._choice(name))

    async def play(self, seconds: float) -> None:
        self._history.write("begin", users=USERS)
        for reader in self._readers:
            await _until(reader.count)
        people = await self._people()
        troubles = Troubles(self._stage, self._history, self._choice("troubles"))
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(person.live(), name=person.name) for person in people]
            acting = [group.create_task(publisher.publish()) for publisher in self._publishers]
            acting += [group.create_task(reader.read()) for reader in self._readers]
            making = group.create_task(troubles.make())
            watching = group.create_task(troubles.watch())
            await asyncio.sleep(seconds)
            making.cancel()
            await troubles.mend()
            watching.cancel()
            await asyncio.gather(*(server.ready() for server in self._stage.servers))
            self._history.write("quiet")
            for publisher in self._publishers:
                publisher.finish()
            for reader in self._readers:
                reader.finish()
            await asyncio.gather(*acting)
            await self._everybody_has_everything(people)
            await self._last_looks()
            for life in lives:
                life.cancel()
        for server in self._stage.servers:
            for line in server.process.log.splitlines():
                if "Traceback" in line:
                    self._history.write("defect", server=str(server), said=line[-1000:])

    async def _people(self) -> Sequence[Person]:
        kinds: list[Callable[..., Person]] = [PythonPerson, StreamPerson]
        if self._script is not None:
            kinds[0] = partial(JsPerson, script=self._script)
        kinds_of: dict[str, list[Callable[..., Person]]] = {
            "ada": [*kinds, partial(PythonPerson, transports=["polling"])],
            # Not for a user of the client in JavaScript: what comes while that one leaves, its application never gets,
            # and a device without a cursor is not given what the library of another has received.
            "bob": [StreamPerson, partial(PythonPerson, transports=["websocket"]), ForgetfulPerson],
            "cleo": [PythonPerson, StreamPerson],
        }
        people: list[Person] = []
        for user, own in kinds_of.items():
            for number, kind in enumerate(own):
                name = f"{user}-{number}-{getattr(kind, 'func', kind).__name__}"
                line = await self._stage.line()
                people.append(kind(name, user, self._tokens[user], line, self._history, self._choice(name)))
        return people

    async def _everybody_has_everything(self, people: Sequence[Person]) -> None:
        for person in people:
            person.stay()
        await _within(EVERYTHING_SECONDS, lambda: all(person.is_welcome for person in people))
        absent = {person.name for person in people if not person.is_welcome}
        last = {"to": {"everyone": True}, "type": "proof", "title": "", "id": "last", "data": {"name": "last"}}
        await self._publishers[0].say([last])
        # Who keeps no cursor may have come when another device of the user had it already.
        keeping = [person for person in people if person.keeps]
        await _within(EVERYTHING_SECONDS, lambda: all("last" in person.has for person in keeping))
        absent |= {person.name for person in keeping if "last" not in person.has}
        for name in sorted(absent):
            self._history.write("gave_up", client=name)

    async def _last_looks(self) -> None:
        """Until nothing happens any more that somebody had given up waiting for."""
        before: list[str] = []
        for _ in range(LOOKS):
            await asyncio.sleep(SETTLE_SECONDS)
            now = [await reader.last_look() for reader in self._readers]
            if now == before:
                return
            before = now


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    while not await done():  # noqa: ASYNC110 (servers tell nobody)
        await asyncio.sleep(LOOK_SECONDS)


async def _within(seconds: float, condition: Callable[[], bool]) -> None:
    """Or not, as the history then says."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 (people tell nobody)
                await asyncio.sleep(LOOK_SECONDS)
