"""The outbox in a PostgreSQL database: where ``synkrone_publish`` puts what applications publish in transactions.

Of all servers that have the database open one relays at a time, the one that holds an advisory lock. That saves the
others from reading what is gone by the time that they are done; without it nothing would be stored twice either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import psycopg

from adapters.contract.json_text import InvalidJson
from adapters.contract.publications import parse_publication
from adapters.store.postgresql import parked
from adapters.store.postgresql.connecting import Address, one_line
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.outbox_place import Place
from adapters.store.postgresql.relaying import OutboxRow
from adapters.store.served import OutboxState
from adapters.store.times import moment
from domain.errors import InvalidPublication, StoreUnavailable
from domain.model import Appended, Draft, FieldError, Incoming
from domain.model.value import value

LOOK_SECONDS: Final = 0.1
"""A hint at every commit would cost all applications of the database more than looking does."""
LOOK_SHARE: Final = 0.1
"""Of the time is spent on looking at most, where what was deleted cannot be removed and is in the way."""
PAUSE_MAX: Final = 1.0
STAND_BY_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 5
"""A relay that has not looked for so long is cut off or stands still: the server ends its session, and lets another
one have the lock."""
WHOLE_SECONDS: Final = 60.0

BATCH_ROWS: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024

# ``SYNK`` and 2: whoever migrates has 0, and whoever moves something into the database 1.
_LOCK = f"SELECT pg_try_advisory_lock({0x53594E4B}, 2)".encode()
_LOOK = f"""
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, number, weight
    FROM (VALUES (1)) AS once LEFT JOIN (
        SELECT number, weight FROM synkrone.outbox WHERE number = ANY(%(missing)s::bigint[])
        UNION ALL
        (SELECT number, weight FROM synkrone.outbox WHERE number > %(after)s::bigint
            ORDER BY number LIMIT {BATCH_ROWS} + 1)) AS found ON true
    ORDER BY number""".encode()  # noqa: S608
# In a statement of its own: the id is then one that was given out after the snapshot of the look.
_READ = b"""
    SELECT newest, number, published_at, recipient::text, type, title, body, data::text, id, expires_at,
        deliver_at, collapse_key
    FROM (SELECT pg_current_xact_id()::text::bigint AS newest) AS mine
    LEFT JOIN synkrone.outbox ON number = ANY(%(numbers)s::bigint[])
    ORDER BY number"""

# What the database takes for JSON and not every client does.
_UNREADABLE: Final = FieldError("data", "holds an unpaired surrogate or a number out of range, or is nested too deeply")


class PostgresqlOutbox:
    """``take_over`` and ``park`` are what the store does with rows. ``address`` leads to no pooler that gives each
    transaction another connection of the server's."""

    def __init__(
        self,
        address: Address,
        take_over: Callable[[Sequence[OutboxRow], Sequence[Draft]], Awaitable[Mapping[OutboxRow, Appended]]],
        park: Callable[[Mapping[OutboxRow, str]], Awaitable[Collection[OutboxRow]]],
    ) -> None:
        self._address = address
        self._take_over = take_over
        self._park = park
        self._given: Mapping[str, OutboxRow] = {}

    async def waiting(self) -> AsyncGenerator[Sequence[Incoming], None]:
        """As the port has it, while no other server relays."""
        session = _Session(self._address)
        try:
            while True:
                looked = await session.look()
                if looked.items:
                    self._given = {str(row.number): row for row in looked.items}
                    yield list(looked.items.values())
                await asyncio.sleep(looked.pause)
        finally:
            session.close()

    async def take_over(self, drafts: Mapping[str, Draft]) -> Mapping[str, Appended]:
        if not drafts:
            return {}
        outcomes = await self._take_over([self._given[name] for name in drafts], list(drafts.values()))
        return {str(row.number): appended for row, appended in outcomes.items()}

    async def park(self, reasons: Mapping[str, str]) -> Collection[str]:
        if not reasons:
            return ()
        parked = await self._park({self._given[name]: why for name, why in reasons.items()})
        return [str(row.number) for row in parked]

    # for operators, over connections of their own

    def state(self) -> OutboxState:
        """Blocks. Raises StoreUnusable."""
        return parked.state(self._address)

    def retry(self, numbers: Sequence[int] | None) -> int:
        """As ``state``."""
        return parked.retry(self._address, numbers)

    def discard(self, numbers: Sequence[int]) -> int:
        """As ``state``."""
        return parked.discard(self._address, numbers)


@value
class _Looked:
    """What was found, and for how many seconds nobody need look again."""

    items: Mapping[OutboxRow, Incoming]
    pause: float


class _Session:
    """One connection, and the one thread that uses it."""

    def __init__(self, address: Address) -> None:
        self._db = Database(address)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-outbox")
        self._place = Place()
        self._read_whole_at = time.monotonic()
        self._has_lock = False

    async def look(self) -> _Looked:
        """What was found is taken out before the next look. Raises StoreUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
        except psycopg.Error as error:
            raise StoreUnavailable(one_line(error)) from None

    def close(self) -> None:
        """As soon as what it is at is done."""
        self._thread.submit(self._db.close)
        self._thread.shutdown(wait=False)

    def _look(self) -> _Looked:
        if not self._has_lock:
            self._db.execute(f"SET idle_session_timeout = '{SILENT_SECONDS}s'".encode())
            (self._has_lock,) = self._db.one(_LOCK)
            if not self._has_lock:
                return _Looked({}, STAND_BY_SECONDS)
        began = time.monotonic()
        wanted = {"missing": list(self._place.missing), "after": self._place.after}
        if began - self._read_whole_at > WHOLE_SECONDS:
            self._read_whole_at = began
            wanted = {"missing": [], "after": 0}
        rows = self._db.execute(_LOOK, wanted).fetchall()
        oldest_open = rows[0][0]
        weights = {number: weight for _, number, weight in rows if number is not None}
        numbers = _first(weights)
        newest, items = self._read(numbers) if numbers else (0, {})
        more = len(numbers) < len(weights)
        self._place.read(numbers, is_all=not more, oldest_open=oldest_open, newest=newest)
        return _Looked(items, 0 if more else _pause_after(time.monotonic() - began))

    def _read(self, numbers: Sequence[int]) -> tuple[int, dict[OutboxRow, Incoming]]:
        """A transaction id, and what is still there."""
        rows = self._db.execute(_READ, {"numbers": numbers}).fetchall()
        found = [row[1:] for row in rows if row[1] is not None]
        return rows[0][0], {
            OutboxRow(number, published_at): _incoming(number, *row) for number, published_at, *row in found
        }


def _pause_after(seconds: float) -> float:
    return min(PAUSE_MAX, max(LOOK_SECONDS, seconds / LOOK_SHARE))


def _first(weights: Mapping[int, int]) -> list[int]:
    """As many as are read at a time; one in any case."""
    numbers: list[int] = []
    total = 0
    for number, weight in weights.items():
        total += weight
        if numbers and (total > BATCH_BYTES or len(numbers) == BATCH_ROWS):
            break
        numbers.append(number)
    return numbers


def _incoming(
    number: int,
    recipient: str,
    kind: str,
    title: str | None,
    body: str | None,
    data: str | None,
    id_: str | None,
    expires_at: int | None,
    deliver_at: int | None,
    collapse_key: str | None,
) -> Incoming:
    publication = {
        "to": msgspec.Raw(recipient.encode()),
        "type": kind,
        "title": title,
        "body": body,
        "data": msgspec.Raw(data.encode()) if data is not None else None,
        "id": id_,
        "expires_at": moment(expires_at).isoformat() if expires_at is not None else None,
        "deliver_at": moment(deliver_at).isoformat() if deliver_at is not None else None,
        "collapse_key": collapse_key,
    }
    try:
        return Incoming(str(number), parse_publication(msgspec.json.encode(publication)))
    except InvalidPublication as error:
        return Incoming(str(number), None, error.errors)
    except InvalidJson:
        return Incoming(str(number), None, (_UNREADABLE,))
