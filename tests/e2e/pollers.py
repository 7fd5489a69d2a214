"""Clients of other languages, by what they put on the wire while they poll, as their sources have it."""

from __future__ import annotations

import asyncio
import json
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from itertools import count, repeat
from typing import Any, NamedTuple, Self, TypeAlias

from tests.protocol.scripted_peer import SEPARATOR, Cut, Gone, Wire

CLOCK_SPEED = 0.02
"""How fast the clock of a client that stamps its requests goes: they repeat as on a line that is fifty times faster."""

PATIENCE = 30.0
"""Seconds, much longer than a server may wonder whether a poll is a new one."""

Stamps: TypeAlias = Callable[[], Iterator[str]]
"""The values of ``t`` of one client, one after the other."""


def _seconds() -> Iterator[str]:
    return (str(int(time.time())) for _ in count())


def _milliseconds() -> Iterator[int]:
    began = time.time()
    return (int((began + (time.time() - began) * CLOCK_SPEED) * 1000) for _ in count())


def _digits(number: int, alphabet: str) -> str:
    base, text = len(alphabet), ""
    while number:
        number, digit = divmod(number, base)
        text = alphabet[digit] + text
    return text


_BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_YEAST = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"


def _yeast() -> Iterator[str]:
    """Milliseconds, and a number behind them where they repeat."""
    last, seed = 0, 0
    for now in _milliseconds():
        seed = seed + 1 if now == last else 0
        last = now
        yield _digits(now, _YEAST) + (f".{_digits(seed, _YEAST) or '0'}" if seed else "")


@cache
def _hashed_times() -> list[tuple[int, int]]:
    """Adler-32 of Rust's debug text of many times within a second, and how many of these have it: most first."""
    second = int(time.time())
    texts = (
        f"SystemTime {{\n    tv_sec: {second},\n    tv_nsec: {n},\n}}" for n in range(100_000_000, 199_000_000, 2_003)
    )
    return Counter(zlib.adler32(text.encode()) for text in texts).most_common()


def _colliding_hashes() -> Iterator[str]:
    """Five times in a row it is the hash of another time that comes out the same."""
    for hashed, times in _hashed_times():
        assert times >= 5
        yield from [str(hashed)] * 5


class Pong(Enum):
    """When the POST with a pong is sent, beside the poll that follows the answer with the ping."""

    BEFORE = "before it, and answered first"
    BESIDE = "at the same time"
    BEHIND = "once the poll is under way"
    LATE = "half a second after the poll"


_DELAY = {Pong.BESIDE: 0.0, Pong.BEHIND: 0.02, Pong.LATE: 0.5}


@dataclass(frozen=True, slots=True)
class Habits:
    """What one library does.

    ``query`` has places for ``sid`` and ``t``, in its order; ``headers`` are its own. It fails on an answer with more
    than ``most_packets``.
    """

    name: str
    query: str
    stamps: Stamps
    pong: Pong
    headers: tuple[str, ...] = ()
    stamps_posts: bool = True
    most_packets: int | None = None

    def __str__(self) -> str:
        return self.name


CSHARP_3 = Habits(
    "csharp-3",
    "EIO=4&transport=polling&sid={sid}&t={t}",
    _seconds,
    Pong.BEFORE,
)
"""SocketIOClient 3 (doghappy): unix seconds; what an answer holds is handled before the next poll."""

CSHARP_4 = Habits(
    "csharp-4",
    "EIO=4&transport=polling&sid={sid}&t={t}",
    lambda: map(str, _milliseconds()),
    Pong.BEHIND,
    stamps_posts=False,
)
"""SocketIOClient 4: milliseconds; the next poll is sent before the answer is looked into."""

DART = Habits(
    "dart",
    "EIO=4&transport=polling&t={t}&sid={sid}",
    lambda: (_digits(now, _BASE_36) for now in _milliseconds()),
    Pong.BESIDE,
    ("User-Agent: Dart/3.5 (dart:io)", "Accept-Encoding: gzip", "Accept: */*"),
)
"""socket_io_client: milliseconds of base 36."""

SWIFT = Habits(
    "swift",
    "transport=polling&b64=1&EIO=4&sid={sid}",
    lambda: repeat(""),
    Pong.BESIDE,
    ("Accept: */*", "User-Agent: App/1 CFNetwork/1498 Darwin/23.6.0", "Accept-Language: en"),
)
"""socket.io-client-swift: nothing tells one poll from another."""

RUST = Habits(
    "rust",
    "EIO=4&transport=polling&sid={sid}&t={t}",
    _colliding_hashes,
    Pong.BEFORE,
    ("Accept: */*",),
)
"""rust_socketio: a checksum of the time, and everything on one thread."""

JAVA = Habits(
    "java",
    "EIO=4&transport=polling&t={t}&sid={sid}",
    _yeast,
    Pong.BESIDE,
    ("Accept: */*", "Accept-Encoding: gzip", "User-Agent: okhttp/3.12.12"),
)
"""socket.io-client-java, and JavaScript up to 4.7: unique."""

PYTHON = Habits(
    "python",
    "transport=polling&EIO=4&sid={sid}&t={t}",
    lambda: (str(time.time()) for _ in count()),
    Pong.BESIDE,
    ("Accept: */*", "Accept-Encoding: gzip, deflate", "User-Agent: Python/3.11 aiohttp/3.14.5"),
    stamps_posts=False,
    most_packets=16,
)
"""python-engineio: the time as a float."""

BROWSER = Habits(
    "browser",
    "EIO=4&transport=polling&t={t}&sid={sid}",
    _yeast,
    Pong.BESIDE,
    ("Accept: */*", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Sec-Fetch-Mode: cors"),
)
"""JavaScript in a browser: unique, and what is sent again by itself is sent by the browser."""

CONSTANT = Habits(
    "constant",
    "EIO=4&transport=polling&t=1&sid={sid}",
    lambda: repeat(""),
    Pong.BESIDE,
)
"""An application that puts ``t`` into the query of the connection itself."""

SLOW_PONG = Habits(
    "slow-pong",
    "EIO=4&transport=polling&t=1&sid={sid}",
    lambda: repeat(""),
    Pong.LATE,
)
"""The same over a line on which requests overtake one another: the pong is there long after the poll."""

EVERY_CLIENT = (CSHARP_3, CSHARP_4, DART, SWIFT, RUST, JAVA, PYTHON, BROWSER, CONSTANT, SLOW_PONG)


async def all_at_once(cases: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Run them beside one another; name those that failed."""
    outcomes = await asyncio.gather(*cases.values(), return_exceptions=True)
    failed = [f"{name}: {outcome!r}" for name, outcome in zip(cases, outcomes, strict=True) if outcome is not None]
    assert not failed, "\n".join(failed)


class Lines(Enum):
    """The HTTP connections of a client. Of two that are idle it uses either."""

    ONE = "one_connection"
    TWO = "a_pool_of_two"
    NEW = "a_new_one_a_request"


class Answer(NamedTuple):
    """``octets`` is how many it took on the wire."""

    status: int
    body: str
    octets: int


class Connection(Wire):
    """One HTTP connection, used for one request after the other."""

    async def ask(self, request: bytes) -> Answer:
        """Raises Gone where it ended before the answer did."""
        try:
            await self.send(request)
        except OSError as error:
            raise Gone from error
        return await self.answer()

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE):
            while not self.received:
                try:
                    await self.read_until(1)
                except TimeoutError:
                    continue
                except OSError as error:
                    raise Gone from error
        end = await self.read_to(b"\r\n\r\n")
        head = self.received[:end].decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        await self.read_until(end + length)
        octets, self.received = self.received, b""
        return Answer(int(head.split(" ", 2)[1]), octets[end:].decode(), len(octets))


class Pool:
    """Where a client gets its connections from."""

    def __init__(self, port: int, lines: Lines, choice: random.Random) -> None:
        self._port = port
        self._lines = lines
        self._choice = choice
        self._idle: list[Connection] = []
        self._opened: list[Connection] = []
        self._places = asyncio.Semaphore({Lines.ONE: 1, Lines.TWO: 2, Lines.NEW: 1000}[lines])

    async def ask(self, method: str, path: str, headers: tuple[str, ...], body: str = "") -> Answer:
        """A connection that was closed while it was idle is replaced, as HTTP clients do by themselves."""
        more: tuple[str, ...] = ("Connection: close",) if self._lines is Lines.NEW else ()
        octets = body.encode()
        if method == "POST":
            more += ("Content-Type: text/plain;charset=UTF-8", f"Content-Length: {len(octets)}")
        lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", *headers, *more, "", "")
        request = "\r\n".join(lines).encode() + octets
        async with self._places:
            is_used = bool(self._idle)
            connection = await self._connection()
            try:
                answer = await connection.ask(request)
            except Gone:
                if not is_used or connection.received:
                    raise
                connection = await self._open()
                answer = await connection.ask(request)
            if self._lines is Lines.NEW:
                connection.cut(Cut.FIN)
            else:
                self._idle.append(connection)
        return answer

    async def _connection(self) -> Connection:
        if not self._idle:
            return await self._open()
        return self._idle.pop(self._choice.randrange(len(self._idle)))

    async def _open(self) -> Connection:
        connection = await Connection.open(self._port)
        self._opened.append(connection)
        return connection

    async def fill(self) -> None:
        """Open what a pool of two has at the most."""
        if self._lines is Lines.TWO:
            self._idle = [await self._open() for _ in range(2)]

    def close(self) -> None:
        for connection in self._opened:
            connection.cut(Cut.FIN)


@dataclass
class Heard:
    """What a client was told. ``entries`` are the ids of notifications; ``offset`` and ``pid`` as the stock client
    keeps them, for its next connection."""

    entries: list[str] = field(default_factory=list)
    connects: int = 0
    offset: str = ""
    pid: str = ""
    is_ready: bool = False
    is_closed: bool = False

    def take(self, body: str) -> bool:
        """The packets of an answer to a poll; whether there is a ping among them."""
        packets = body.split(SEPARATOR)
        for packet in packets:
            if packet.startswith("40"):
                self.connects += 1
                self.pid = json.loads(packet[2:]).get("pid", "")
            elif packet.startswith("42"):
                self._hear(*json.loads(packet[2:]))
            elif packet == "1":
                self.is_closed = True
            else:
                assert packet in ("2", "6"), packet
        return "2" in packets

    def __str__(self) -> str:
        different = len(set(self.entries))
        return f"{self.connects} CONNECT, {len(self.entries)} notifications of which {different} are different"

    def _hear(self, name: str, first: dict[str, object], *rest: str) -> None:
        if rest:
            self.offset = rest[-1]
        if name == "notification.new":
            self.entries.append(str(first["id"]))
        elif name == "session.ready":
            self.is_ready = True
        else:
            assert name == "inbox.counts", name


class Poller:
    """A client with those habits, which polls and answers pings until it is stopped; ``most_polls`` bounds it."""

    def __init__(self, habits: Habits, lines: Lines, port: int, token: str, *, most_polls: int) -> None:
        self.heard = Heard()
        self.polls = 0
        self._habits = habits
        self._is_alone = lines is Lines.ONE
        self._pool = Pool(port, lines, random.Random(habits.name))
        self._auth = json.dumps({"token": token})
        self._most_polls = most_polls
        self._stamps = habits.stamps()
        self._sid = ""
        self._posting = asyncio.Lock()
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait((self._running,))
        self._pool.close()
        if not self._running.cancelled() and (failure := self._running.exception()) is not None and kind is None:
            raise failure

    async def has(self, number: int) -> None:
        """Wait until so many different notifications have come; fail with the client where it fails."""
        self._running.add_done_callback(lambda _: self._changed.set())
        async with asyncio.timeout(PATIENCE):
            while len(set(self.heard.entries)) < number:
                if self._running.done():
                    await self._running
                self._changed.clear()
                await self._changed.wait()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._pool.fill()
                opened = await self._get("EIO=4&transport=polling")
                self._sid = json.loads(opened[1:])["sid"]
                await self._post(f"40{self._auth}")
                while True:
                    # What waits for its turn gets it before the next poll.
                    await asyncio.sleep(0)
                    body = await self._get(self._query())
                    packets, most_packets = body.count(SEPARATOR) + 1, self._habits.most_packets
                    assert most_packets is None or packets <= most_packets, f"{self}; an answer has {packets} packets"
                    is_pinged = self.heard.take(body)
                    self._changed.set()
                    assert not self.heard.is_closed, f"{self}: the server closed the session"
                    if is_pinged:
                        await self._answer_ping(group)
        except* AssertionError as failures:
            raise failures.exceptions[0] from None

    async def _answer_ping(self, group: asyncio.TaskGroup) -> None:
        pong = self._habits.pong
        # With one connection a pong behind a poll that waits would never leave.
        if pong is Pong.BEFORE or self._is_alone:
            await self._post("3")
        else:
            group.create_task(self._post("3", _DELAY[pong]))

    def _query(self, *, is_stamped: bool = True) -> str:
        query = self._habits.query
        if not is_stamped:
            query = query.replace("&t={t}", "")
        return query.format(sid=self._sid, t=next(self._stamps))

    async def _get(self, query: str) -> str:
        self.polls += 1
        assert self.polls <= self._most_polls, f"{self}; it polls in a tight loop"
        answer = await self._pool.ask("GET", f"/socket.io/?{query}", self._habits.headers)
        assert answer.status == 200, f"{self}: a poll got {answer}"
        return answer.body

    async def _post(self, packet: str, delay: float = 0.0) -> None:
        if delay:
            await asyncio.sleep(delay)
        async with self._posting:
            query = self._query(is_stamped=self._habits.stamps_posts)
            answer = await self._pool.ask("POST", f"/socket.io/?{query}", self._habits.headers, packet)
        assert answer.status == 200, f"{self}: a POST got {answer}"

    def __str__(self) -> str:
        return f"{self._habits}: {self.polls} polls, {self.heard}"


class Break(Enum):
    """Where the connection of a poll breaks, the request having been sent."""

    WAITING = "before_the_server_has_answered"
    UNDELIVERED = "before_any_octet_of_the_answer_came"
    UNREAD = "before_any_octet_of_the_answer_was_read"
    IN_THE_HEAD = "after_part_of_the_head"
    IN_A_LARGE_ANSWER = "in_an_answer_that_came_in_part"


class Ending(Enum):
    """What the server sees of it. SILENT is nothing: the network is another one, or a proxy keeps the line."""

    FIN = "fin"
    RESET = "reset"
    SILENT = "silent"


FILLING = 12
"""Requests whose answers are more than a small receive buffer takes, and less than makes the server wait."""
_SMALL = 1024


class Browser:
    """A client that sends a poll again by itself, to the letter, when the connection breaks under it, and comes back
    with its cursor when its session has ended."""

    def __init__(self, habits: Habits, port: int, token: str, *, is_small: bool = False) -> None:
        """With ``is_small`` the kernel takes in little that is not read yet."""
        self.heard = Heard()
        self.polls = 0
        self.returns = 0
        self._habits = habits
        self._port = port
        self._token = token
        self._receive_bytes = _SMALL if is_small else None
        self._stamps = habits.stamps()
        self._opened: list[Connection] = []
        self._connection: Connection
        self._posts: Connection
        self._sid = ""
        self._filling = 0

    async def __aenter__(self) -> Self:
        """Connect, and poll up to ``session.ready``."""
        self._connection = await self._open(self._receive_bytes)
        self._posts = await self._open()
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._opened:
            connection.cut(Cut.FIN)

    async def _open(self, receive_bytes: int | None = None) -> Connection:
        connection = await Connection.open(self._port, receive_bytes=receive_bytes)
        self._opened.append(connection)
        return connection

    async def _begin(self) -> None:
        auth = {"token": self._token}
        if self.heard.pid:
            auth |= {"pid": self.heard.pid, "offset": self.heard.offset}
        self.heard.is_ready = self.heard.is_closed = False
        opened = await self._connection.ask(self._request("GET", "/socket.io/?EIO=4&transport=polling"))
        self._sid = json.loads(opened.body[1:])["sid"]
        await self._post(f"40{json.dumps(auth)}")
        while not self.heard.is_ready:
            await self.poll()

    async def poll(self) -> None:
        """A poll, its answer, and the pong where that has a ping."""
        await self.send_poll()
        await self.takes_answer()

    async def has(self, number: int) -> None:
        """Poll on until so many different notifications have come."""
        most_polls = self.polls + 2 * number + 10
        try:
            async with asyncio.timeout(PATIENCE):
                while len(set(self.heard.entries)) < number:
                    await self.poll()
                    assert self.polls <= most_polls, f"{self}; it polls in a tight loop"
        except TimeoutError:
            raise AssertionError(f"{self}; it waits in vain for {number}") from None

    async def fill(self) -> None:
        """Ask for more than the kernel has room for, and leave it there: nothing of the next answer comes."""
        one = await self._posts.ask(self._request("GET", "/health/live"))
        await self._connection.send(self._request("GET", "/health/live") * FILLING)
        self._filling = FILLING * one.octets

    @property
    def is_full(self) -> bool:
        """Whether something of what fills it has not come yet, and so nothing of what is behind that."""
        return self._connection.unread < self._filling

    async def send_poll(self) -> bytes:
        """Only the request, which ``sends_again`` can then send again."""
        self.polls += 1
        request = self._request("GET", self._path())
        await self._connection.send(request)
        return request

    async def reads(self, place: Break) -> None:
        """Read of the answer what is read before the connection breaks."""
        if place is not Break.WAITING:
            await self._connection.arrived()
        if place in (Break.IN_THE_HEAD, Break.IN_A_LARGE_ANSWER):
            await self._connection.read_until(20)

    def breaks(self, ending: Ending) -> None:
        if ending is Ending.RESET:
            self._connection.cut(Cut.RESET)
        elif ending is Ending.FIN:
            self._connection.say_no_more()

    async def sends_again(self, request: bytes) -> None:
        """On a new connection; whatever comes of it."""
        self._connection = await self._open()
        await self._connection.send(request)

    async def takes_answer(self) -> None:
        await self._take(await self._connection.answer())

    async def _take(self, answer: Answer) -> None:
        assert answer.status in (200, 400), answer
        is_pinged = answer.status == 200 and self.heard.take(answer.body)
        if answer.status == 400 or self.heard.is_closed:
            self.returns += 1
            await self._begin()
        elif is_pinged:
            await self._post("3")

    async def _post(self, packet: str) -> None:
        octets = packet.encode()
        request = self._request("POST", self._path(), f"Content-Length: {len(octets)}") + octets
        try:
            answer = await self._posts.ask(request)
        except Gone:
            # What cut the poll off cut this connection too.
            self._posts = await self._open()
            answer = await self._posts.ask(request)
        assert answer.status == 200

    def _path(self) -> str:
        return "/socket.io/?" + self._habits.query.format(sid=self._sid, t=next(self._stamps))

    def _request(self, method: str, path: str, *more: str) -> bytes:
        lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", *self._habits.headers, *more, "", "")
        return "\r\n".join(lines).encode()

    def __str__(self) -> str:
        return f"{self._habits}: {self.polls} polls, {self.heard}, came back {self.returns} times"
