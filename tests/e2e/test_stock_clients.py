"""The stock clients, old and new, over every transport, straight and behind nginx: each event once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.e2e import many
from tests.e2e.clients import NODE
from tests.e2e.routes import Route, Shared, shared
from tests.processes import environment, token

IS_FULL = os.environ.get("CAMPAIGN") == "full"
PUBLISHED = 200
AT_ONCE = (1, 7, 1, 1, 25, 1, 4)
PACE_SECONDS = 0.01
ROUNDS = 20 if IS_FULL else 1
PATIENCE = 60.0

VERSIONS = {
    "3.1": "socket.io-client-3.1",
    "4.0": "socket.io-client-4.0",
    "4.4": "socket.io-client-4.4",
    "4.6": "socket.io-client-4.6",
    "4.8": "socket.io-client",
}
TRANSPORTS: Mapping[str, Mapping[str, object]] = {
    "polling": {"transports": ["polling"]},
    "default": {},
    "websocket": {"transports": ["websocket"]},
}
CONNECTED = ["connect", "ready"]
EVERY_ROUTE = pytest.mark.parametrize("route", list(Route), ids=str)

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared(tmp_path_factory.mktemp("stock")) as it:
        yield it


def transports_of(route: Route) -> list[str]:
    """Over HTTP/1.0 there is no WebSocket: the default client stays on polling."""
    return [transport for transport in TRANSPORTS if (route, transport) != (Route.DEFAULT, "websocket")]


class Many:
    """Clients in a process of their own, by name: the ids that each was given, and whatever else happened to it."""

    def __init__(self, command: Sequence[str | Path], configurations: Sequence[Mapping[str, object]]) -> None:
        self._command = (*command, json.dumps(configurations))
        names = [str(one["name"]) for one in configurations]
        self.ids: dict[str, list[str]] = {name: [] for name in names}
        self.others: dict[str, list[Any]] = {name: [] for name in names}
        self.over: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=environment({}), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            happening = json.loads(line)
            name, what = happening["name"], happening["what"]
            if what == "notification":
                self.ids[name].append(happening["id"])
                self.over[name] = happening["over"]
            else:
                self.others[name].append(what if what in CONNECTED else happening)
            self._changed.set()
        self._changed.set()

    async def are_ready(self) -> None:
        await self._until(lambda: all("ready" in others for others in self.others.values()))
        late = [name for name, others in self.others.items() if "ready" not in others]
        assert late == [], f"not ready within {PATIENCE} s"

    async def have(self, number: int) -> None:
        """Wait until each has so many, or for as long as that may take at all."""
        await self._until(lambda: all(len(set(ids)) >= number for ids in self.ids.values()))

    async def _until(self, condition: Callable[[], bool]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    assert not self._reading.done(), "the process has ended"
                    self._changed.clear()
                    await self._changed.wait()

    def assert_each_had(self, published: list[str]) -> None:
        """In order; but the synchronous Python client has a thread for each event, and they overtake each other."""
        wrong = {
            name: f"{len(ids)} notifications of which {len(set(ids))} are different, and {self.others[name]}"
            for name, ids in self.ids.items()
            if (
                (sorted(ids), sorted(self.others[name])) != (sorted(published), sorted(CONNECTED))
                if name.startswith("sync")
                else (ids, self.others[name]) != (published, CONNECTED)
            )
        }
        assert wrong == {}, f"of {len(published)} published"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What happens while they leave is another matter.
        self._reading.cancel()
        self._process.kill()
        await self._process.wait()
        await asyncio.wait((self._reading,))


async def each_gets_everything_once(
    it: Shared, route: Route, command: Sequence[str | Path], modules: Mapping[str, str]
) -> None:
    """200 while they do nothing but listen, or upgrade, in bursts and at a pace; and one when it has been quiet."""
    user, url = it.new("user"), it.url(route)
    configurations = [
        {
            "name": f"{version}, {transport}",
            "module": module,
            "url": url,
            "auth": {"token": token(user)},
            "options": TRANSPORTS[transport],
        }
        for version, module in modules.items()
        for transport in transports_of(route)
    ]
    published: list[str] = []
    bursts = cycle(AT_ONCE)
    async with Many(command, configurations) as clients:
        await clients.are_ready()
        for _ in range(ROUNDS):
            end = len(published) + PUBLISHED
            while len(published) < end:
                number = min(next(bursts), end - len(published))
                published += await it.publish({"user": user}, number)
                await asyncio.sleep(PACE_SECONDS)
            await clients.have(len(published))
        published += await it.publish({"user": user})
        await clients.have(len(published))
        clients.assert_each_had(published)
    for name, transport in clients.over.items():
        is_polling = name.endswith(" polling") or route is Route.DEFAULT
        assert transport == ("polling" if is_polling else "websocket"), name


@EVERY_ROUTE
@pytest.mark.gen_test(timeout=600 if IS_FULL else 120)
async def test_javascript_clients_old_and_new_get_each_event_once(it: Shared, node_modules: Path, route: Route) -> None:
    await each_gets_everything_once(it, route, (NODE, node_modules.parent / "many.mjs"), VERSIONS)


@EVERY_ROUTE
@pytest.mark.parametrize("module", ["sync", "async"])
@pytest.mark.gen_test(timeout=600 if IS_FULL else 120)
async def test_python_clients_get_each_event_once(it: Shared, module: str, route: Route) -> None:
    await each_gets_everything_once(it, route, (sys.executable, many.__file__), {module: module})
