"""A move or an import into a PostgreSQL database, as those see it who want to open the database meanwhile."""

from __future__ import annotations

import logging
from typing import Final, Literal, TypeAlias

import psycopg

from adapters.store.postgresql.connecting import Address, Line
from adapters.store.served import StoreUnusable

_log = logging.getLogger("synkrone.store")

MOVING: Final = (0x53594E4B, 1)
"""An advisory lock of the database, which whoever brings a store into it holds: ``SYNK`` and 1."""

WAIT_SECONDS: Final = 60
"""A server that is started while a move ends waits for it. One that has to wait for longer was started too early."""

Kind: TypeAlias = Literal["move", "import"]
_A: Final[dict[Kind, str]] = {"move": "a move", "import": "an import"}


def look_at_move(line: Line) -> str | None:
    """What ``wait_for_move`` would wait for; None where it would not. Raises StoreUnusable, and psycopg.Error."""
    kind = unfinished(line)
    if kind is None:
        return None
    with line.transaction():
        free = line.execute("SELECT pg_try_advisory_xact_lock_shared(%s, %s)", MOVING).fetchone()
    if free == (False,):
        return f"{_A[kind]} into this database is under way"
    refuse_unfinished(line)
    return None


def wait_for_move(address: Address) -> None:
    """Return when none is under way, or none that is not finished. Raises StoreUnusable, and psycopg.Error."""
    with address.connect(statement_timeout=False) as line:
        kind = unfinished(line)
        if kind is None:
            return
        _log.warning("%s into this database is not finished yet: waiting for it", _A[kind])
        line.answer_seconds = 2.0 * WAIT_SECONDS
        try:
            # Both for a transaction: of a pooled connection somebody else would have it.
            with line.transaction():
                line.execute(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'".encode())
                line.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", MOVING)
        except psycopg.errors.LockNotAvailable:
            raise StoreUnusable(f"{_A[kind]} into this database is under way: start again when it has ended") from None
        refuse_unfinished(line)


def refuse_unfinished(line: Line) -> None:
    """Raises StoreUnusable where something was begun that is not finished, and psycopg.Error."""
    kind = unfinished(line)
    if kind is not None:
        raise StoreUnusable(f"{_A[kind]} into this database is not finished: run synkrone-socket {kind} again")


def unfinished(line: Line) -> Kind | None:
    """What was begun and is not finished, if anything is: an import brings the secret at its end."""
    row = line.execute(
        "SELECT secret IS NULL FROM synkrone.log, synkrone.moving WHERE moving.finished_at IS NULL"
    ).fetchone()
    if row is None:
        return None
    return "import" if row[0] else "move"
