"""A PostgreSQL database as what is imported into."""

from __future__ import annotations

from contextlib import AbstractContextManager

import psycopg

from adapters.store.moving.database_origin import DatabaseOrigin, faults_of_database
from adapters.store.moving.destination import Batch
from adapters.store.moving.lines import Header
from adapters.store.moving.source import Row
from adapters.store.moving.tables import TABLES, Table
from adapters.store.moving.target import Database, Target
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.importing import Begun


class DatabaseDestination:
    def __init__(self, database: Database) -> None:
        """Raises StoreUnusable."""
        self.place = database.place
        self._database = database
        with self.faults():
            self._target = Target(database)

    def close(self) -> None:
        self._target.close()

    @property
    def begun(self) -> Begun | None:
        found = self._target.move
        return Begun(found.name, found.copied_upto, found.is_finished) if found is not None else None

    def begin(self, header: Header) -> None:
        self._target.begin(None, 0, header.name)
        self._target.raise_floor(header.floor, header.floor_stored_at)

    def write(self, batch: Batch) -> None:
        try:
            with self._target.advancing(batch.upto):
                self._target.insert(batch.part)
                for table in TABLES:
                    rows = batch.tables.get(table.name)
                    if rows:
                        self._target.put(table, [_row(table, row) for row in rows])
        except (psycopg.errors.UniqueViolation, psycopg.errors.CardinalityViolation):
            raise StoreUnusable(f"two of the lines up to {batch.upto} say what only one can") from None

    def written(self) -> DatabaseOrigin:
        return DatabaseOrigin(self._database)

    def finish(self, header: Header) -> None:
        self._target.finish(bytes.fromhex(header.secret))

    def faults(self) -> AbstractContextManager[None]:
        return faults_of_database()


def _row(table: Table, said: Row) -> Row:
    """As the database has it."""
    fields = zip(said, table.target, strict=False)
    octets = (bytes.fromhex(field) if column.type == "bytea" and field else field for field, column in fields)
    return (*octets, *_RESTS.get(table.name, ()))


_RESTS = {"epochs": ("moved",)}
"""What no line has. Of no database: whoever opens this one begins a new epoch."""
