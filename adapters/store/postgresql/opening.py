"""Opening a store in a PostgreSQL database: its schema, its secret, its epoch, and what is to be kept at hand."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime

import psycopg

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.ledger import begin_run
from adapters.store.postgresql.log import stored, tail_floor
from adapters.store.postgresql.moved import wait_for_move
from adapters.store.postgresql.schema import prepare, unusable
from adapters.store.served import StoreUnusable
from domain.errors import StoreUnavailable
from domain.model import Entry
from domain.model.value import value
from domain.rules.epochs import Generations

_SECRET_BYTES = 32


@value
class Found:
    """What the database holds. The ``entries`` are all after ``tail_floor``. The ``run`` is that of the ledger, None
    where none is kept."""

    generations: Generations
    floor: int
    tail_floor: int
    entries: Sequence[Entry]
    secret: bytes
    run: int | None
    has_topics: bool


def open_database(
    address: Address,
    at: datetime | None,
    *,
    migrates: bool,
    tail_entries: int,
    tail_bytes: int,
    keeps_deliveries: bool,
) -> Found:
    """Blocks, for as long as it takes to read so much of a tail. Raises StoreUnusable."""
    try:
        prepare(address, migrates=migrates)
        wait_for_move(address)
        with closing(Database(address)) as db:
            secret = _secret(db)
            db.begin_epoch(at)
            run = begin_run(db, at, is_kept=keeps_deliveries)
            with db.snapshot() as snapshot:
                floor = tail_floor(snapshot, tail_entries, tail_bytes)
                has_any = snapshot.has_groups
                entries: list[Entry] = []
                while (upto := floor + len(entries)) < snapshot.head:
                    entries.extend(stored(snapshot, upto, snapshot.head))
            return Found(snapshot.generations, snapshot.floor, floor, entries, secret, run, has_any)
    except psycopg.Error as error:
        raise unusable(error) from None
    except StoreUnavailable as error:
        raise StoreUnusable(f"{error}: put a backup back, or name another database in the setting store") from None


def _secret(db: Database) -> bytes:
    """Of several who open it first, one gives it a secret."""
    db.execute(
        b"UPDATE synkrone.log SET secret = %(secret)s::bytea WHERE secret IS NULL",
        {"secret": secrets.token_bytes(_SECRET_BYTES)},
    )
    (secret,) = db.one(b"SELECT secret FROM synkrone.log")
    return bytes(secret)
