"""A move of another store into a PostgreSQL database, as those see it who want to open the database meanwhile."""

from __future__ import annotations

import logging
from typing import Final

import psycopg

from adapters.store.postgresql.connecting import Address, Line
from adapters.store.served import StoreUnusable

_log = logging.getLogger("synkrone.store")

MOVING: Final = (0x53594E4B, 1)
"""An advisory lock of the database, which whoever moves something into it holds: ``SYNK`` and 1."""

WAIT_SECONDS: Final = 60
"""A server that is started while a move ends waits for it. One that has to wait for longer was started too early."""


_UNFINISHED: Final = "a move into this database is not finished: run synkrone-socket move again"


def look_at_move(line: Line) -> str | None:
    """What ``wait_for_move`` would wait for; None where it would not. Raises StoreUnusable, and psycopg.Error."""
    if not is_unfinished(line):
        return None
    with line.transaction():
        free = line.execute("SELECT pg_try_advisory_xact_lock_shared(%s, %s)", MOVING).fetchone()
    if free == (False,):
        return "a move into this database is under way"
    if is_unfinished(line):
        raise StoreUnusable(_UNFINISHED)
    return None


def wait_for_move(address: Address) -> None:
    """Return when no move is under way, or none that is not finished. Raises StoreUnusable, and psycopg.Error."""
    with address.connect(statement_timeout=False) as line:
        if not is_unfinished(line):
            return
        _log.warning("a move into this database is not finished yet: waiting for it")
        line.answer_seconds = 2.0 * WAIT_SECONDS
        try:
            # Both for a transaction: of a pooled connection somebody else would have it.
            with line.transaction():
                line.execute(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'".encode())
                line.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", MOVING)
        except psycopg.errors.LockNotAvailable:
            raise StoreUnusable("a move into this database is under way: start again when it has ended") from None
        if is_unfinished(line):
            raise StoreUnusable(_UNFINISHED)


def is_unfinished(line: Line) -> bool:
    return line.execute("SELECT FROM synkrone.moving WHERE finished_at IS NULL").fetchone() is not None
