"""Inbox stores as pages have them, in a process of Node: what each shows, and what its page has it do."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.e2e.clients import NODE
from tests.e2e.inbox_build import copy_modules

SCRIPT = Path(__file__).parent / "js" / "inbox.mjs"
WAIT_SECONDS = 15.0
BACKOFF = {"base": 100, "max": 400}
"""Milliseconds; as short as that, since a test waits for it."""

Snapshot: TypeAlias = dict[str, Any]


class Refused(Exception):
    """A store refused to do something; ``problem`` says why."""

    def __init__(self, problem: Any) -> None:
        super().__init__(problem)
        self.problem = problem


def last_part(identifier: str) -> str:
    return identifier.rpartition(".")[2]


class Store:
    """One of them. ``shown`` are its snapshots, in order; ``asked`` is how often it asked for a token."""

    def __init__(self, name: str, stores: Stores) -> None:
        self.name = name
        self.shown: list[Snapshot] = []
        self.asked = 0
        self.changed = asyncio.Event()
        self._stores = stores

    @property
    def now(self) -> Snapshot:
        return self.shown[-1]

    @property
    def ids(self) -> list[str]:
        return [item["id"] for item in self.now["items"]]

    @property
    def names(self) -> list[str]:
        """The last parts of the ids."""
        return list(map(last_part, self.ids))

    async def until(self, condition: Callable[[Snapshot], object], within: float = WAIT_SECONDS) -> Snapshot:
        """Wait until it shows what is wanted."""
        try:
            async with asyncio.timeout(within):
                while not self.shown or not condition(self.now):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} shows {self.now}") from None
        return self.now

    async def live(self) -> Snapshot:
        return await self.until(lambda snapshot: snapshot["status"] == "live")

    async def shows(self, names: Sequence[str]) -> Snapshot:
        """Wait until it shows just those whose ids end like this, in this order."""
        return await self.until(lambda snapshot: [last_part(item["id"]) for item in snapshot["items"]] == list(names))

    async def has_asked(self, times: int) -> None:
        """Wait until it has asked for so many tokens."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self.asked < times:
                self.changed.clear()
                await self.changed.wait()

    async def does(self, method: str, *arguments: object) -> Any:
        """What the method gives in the end. Raises Refused."""
        return await (await self.begins(method, *arguments))

    async def begins(self, method: str, *arguments: object) -> asyncio.Future[Any]:
        """Have it called, and do not wait for what it gives."""
        return await self._stores.call(self.name, method, arguments)

    async def on_socket(self, method: str, *arguments: object) -> None:
        """Have its page call a method of the socket."""
        await self._stores.tell({"socket": self.name, "method": method, "args": arguments})

    async def will_be_given(self, *tokens: str) -> None:
        """The tokens that come after those it was opened with."""
        await self._stores.tell({"tokens": self.name, "are": tokens})


class Stores:
    """The process. On leaving, nothing may have been broken that pages rely on."""

    def __init__(self, directory: Path, *, is_secure: bool = False, speed: int = 1) -> None:
        """With ``is_secure`` the stores may share a stream, as in tabs of one browser. Their clocks and timers go
        ``speed`` times as fast as those of the test."""
        self._is_secure = is_secure
        self._speed = speed
        self._module = copy_modules(directory)
        self._stores: dict[str, Store] = {}
        self._numbers = count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._broken: list[str] = []
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            NODE,
            SCRIPT,
            json.dumps({"module": str(self._module), "isSecure": self._is_secure, "speed": self._speed}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                code = await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._reading
        if error is None:
            assert (code, self._broken) == (0, []), self._broken

    async def stream(self, name: str, url: str, *tokens: str, **options: object) -> Store:
        """A store that speaks HTTP."""
        return await self._open(name, {"url": url, "backoff": BACKOFF, **options}, tokens, None)

    async def socket(
        self,
        name: str,
        url: str,
        *tokens: str,
        socket: Mapping[str, object] | None = None,
        gives_token: bool = False,
        is_connected_before: bool = False,
        **options: object,
    ) -> Store:
        """A store over a stock client's socket. With ``gives_token`` it can ask for tokens, too."""
        quick = {"reconnectionDelay": 100, "reconnectionDelayMax": 400}
        given = {
            "url": url,
            "options": {**quick, **(socket or {})},
            "givesToken": gives_token,
            "isConnectedBefore": is_connected_before,
        }
        return await self._open(name, {"backoff": BACKOFF, **options}, tokens, given)

    async def view(self, name: str, of: Store, **names: str) -> Store:
        """A view of the store, of what ``state`` and ``type`` name; it shows ``items``, ``hasMore``, ``isListed``."""
        view = self._stores[name] = Store(name, self)
        await self.tell({"view": name, "of": of.name, "filter": names})
        await view.until(bool)
        return view

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def happens(self, event: str) -> None:
        """To the page: ``online``, ``visibilitychange``, …"""
        await self.tell({"page": event})

    async def call(self, name: str, method: str, arguments: Sequence[object]) -> asyncio.Future[Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self.tell({"call": name, "method": method, "args": arguments, "number": number})
        return answer

    async def tell(self, command: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def _open(
        self, name: str, options: Mapping[str, object], tokens: Sequence[str], socket: Mapping[str, object] | None
    ) -> Store:
        store = self._stores[name] = Store(name, self)
        await self.tell({"open": name, "options": options, "tokens": tokens, "socket": socket})
        await store.until(bool)
        return store

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "broken" in said:
                self._broken.append(said["broken"])
            elif "asked" in said:
                store = self._stores[said["asked"]]
                store.asked += 1
                store.changed.set()
            elif "store" in said:
                store = self._stores[said["store"]]
                store.shown.append(said["snapshot"])
                store.changed.set()
            elif "problem" in said:
                self._answers.pop(said["number"]).set_exception(Refused(said["problem"]))
            else:
                self._answers.pop(said["number"]).set_result(said["answer"])
