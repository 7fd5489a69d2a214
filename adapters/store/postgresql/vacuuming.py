"""Vacuuming the tables of a PostgreSQL database, behind the last rows of users who are erased: by one server at a time.

That may take hours, which nothing else waits for. What is over by then of other users is vacuumed together.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

import psycopg

from adapters.store.postgresql.connecting import Address, Line

_CANCEL_EVERY: Final = 0.1
_APART_SECONDS: Final = 0.2
"""So far apart it is begun at least, as each time is a connection."""

# ``SYNK`` and 3: whoever relays the outbox has 2.
_LOCK: Final = b"SELECT pg_try_advisory_lock(%(space)s::integer, 3)"
_LOCK_SPACE: Final = 0x53594E4B
_UNVACUUMED: Final = b"SELECT id FROM synkrone.erasures WHERE done_at IS NULL AND user_id IS NULL"
_TABLES: Final = b"""
    SELECT format('VACUUM %I.%I', nspname, relname)
    FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'synkrone' AND relkind = 'r' AND relpersistence = 'p' ORDER BY relname"""
_DONE: Final = b"UPDATE synkrone.erasures SET done_at = synkrone.microseconds() WHERE id = ANY (%(ids)s::text[])"


class Vacuuming:
    """For one event loop, beside which it has a thread while it is at it."""

    def __init__(self, address: Address) -> None:
        """``address`` leads to no pooler that gives each transaction another connection of the server's."""
        self._address = address
        self._line: Line | None = None
        self._is_over = False
        self._running: asyncio.Task[bool] | None = None
        self._begins_at = 0.0

    async def go_on(self, seconds: float) -> bool:
        """For about so many seconds: whether what had no rows any more as it began is done. Where another server is at
        it nothing is. Raises psycopg.Error where it failed; called again it is tried again."""
        running = self._running
        if running is None:
            early = self._begins_at - time.monotonic()
            if early > seconds:
                return False
            await asyncio.sleep(max(0.0, early))
            self._begins_at = time.monotonic() + _APART_SECONDS
            running = self._running = asyncio.create_task(asyncio.to_thread(self._vacuum))
        await asyncio.wait((running,), timeout=seconds)
        if not running.done():
            return False
        self._running = None
        return running.result()

    async def stop(self) -> None:
        """Leave the rest to others, or for later."""
        self._is_over = True
        running = self._running
        if running is None:
            return
        while not running.done():
            await asyncio.to_thread(self._cancel)
            await asyncio.wait((running,), timeout=_CANCEL_EVERY)
        with suppress(psycopg.Error):
            running.result()

    def _cancel(self) -> None:
        line = self._line
        if line is not None:
            with suppress(psycopg.Error):
                line.cancel()

    def _vacuum(self) -> bool:
        with self._address.connect(statement_timeout=False) as line:
            # A table takes as long as it is large.
            line.answer_seconds = float("inf")
            self._line = line
            try:
                return self._vacuum_over(line)
            finally:
                self._line = None

    def _vacuum_over(self, line: Line) -> bool:
        if line.execute(_LOCK, {"space": _LOCK_SPACE}).fetchone() != (True,):
            return False
        ids = [id_ for (id_,) in line.execute(_UNVACUUMED).fetchall()]
        for (statement,) in line.execute(_TABLES).fetchall():
            if self._is_over:
                return False
            line.execute(statement)
        line.execute(_DONE, {"ids": ids})
        return True
