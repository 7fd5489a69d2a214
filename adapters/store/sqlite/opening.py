"""Opening the SQLite file of a log: a new generation, and what is to be kept at hand of the old ones."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from adapters.store.form import UnknownForm
from adapters.store.sqlite.ledger import begin_run
from adapters.store.sqlite.log import RoomSets, head, log_floor, stored, tail_floor
from adapters.store.sqlite.schema import connect, prepare_file, unreadable, unusable
from adapters.store.sqlite.topics import groups_in
from adapters.store.times import microseconds, moment
from domain.model import Entry
from domain.model.value import value
from domain.rules.epochs import Generation, Generations


@value
class Found:
    """What the file holds. ``stored_at`` is that of the last entry; the ``entries`` are all after ``tail_floor``. The
    ``run`` is that of the ledger, None where none is kept. ``has_topics`` is as that of a Tail."""

    generations: Generations
    head: int
    stored_at: int
    log_floor: int
    tail_floor: int
    entries: Sequence[Entry]
    secret: bytes
    run: int | None
    has_topics: bool


def open_file(path: Path, now: datetime, tail_entries: int, tail_bytes: int, *, keeps_deliveries: bool) -> Found:
    """Blocks, for as long as it takes to read so much of a tail. Raises StoreUnusable."""
    prepare_file(path)
    try:
        with closing(connect(path)) as db:
            last = head(db)
            generations = _new_generation(db, last + 1, now)
            run = begin_run(db, now, is_kept=keeps_deliveries)
            (stored_at,) = db.execute(
                """
                SELECT max(coalesce((SELECT stored_at FROM entries ORDER BY offset DESC LIMIT 1), 0),
                    coalesce((SELECT stored_at FROM contents ORDER BY offset DESC LIMIT 1), 0))"""
            ).fetchone()
            (secret,) = db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
            floor = tail_floor(db, tail_entries, tail_bytes)
            entries: list[Entry] = []
            room_sets = RoomSets()
            while (upto := floor + len(entries)) < last:
                entries.extend(stored(db, generations, upto, last, room_sets))
            return Found(generations, last, stored_at, log_floor(db), floor, entries, secret, run, bool(groups_in(db)))
    except sqlite3.Error as error:
        raise unusable(path, error) from None
    except UnknownForm as error:
        raise unreadable(path, error) from None


def _new_generation(db: sqlite3.Connection, first: int, now: datetime) -> Generations:
    """Committed before anybody is given a cursor of it."""
    db.execute(
        "INSERT INTO generations (epoch, first, opened_at) VALUES (?, ?, ?)",
        (secrets.token_hex(8), first, microseconds(now)),
    )
    rows = db.execute("SELECT number, epoch, first, opened_at FROM generations ORDER BY number")
    return Generations([Generation(number, epoch, first, moment(at)) for number, epoch, first, at in rows])
