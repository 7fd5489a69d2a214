"""A SQLite file as what is exported."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from adapters.store.moving.source import Row, Source
from adapters.store.moving.tables import Table, rows_of
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.schema import MIGRATIONS, check_version, unusable


class FileOrigin(Source):
    """It is not changed, and a server may have it open."""

    kind: Final = "sqlite"
    waiting: Final = 0

    def __init__(self, path: Path) -> None:
        """Raises StoreUnusable."""
        if not path.is_file():
            raise StoreUnusable(f"{path.absolute()} is no file: there is nothing to export")
        with faults_of(path):
            super().__init__(path)

    def check(self) -> None:
        version = check_version(self.db, self.path)
        if not version:
            raise StoreUnusable(f"{self.path} is empty: there is nothing to export")
        if version < len(MIGRATIONS):
            raise StoreUnusable(
                f"{self.path} is of version {version}: stop its server, and run synkrone-socket migrate"
            )

    def rows_of(self, table: Table) -> Iterator[Row]:
        return rows_of(self, table)

    def faults(self) -> AbstractContextManager[None]:
        return faults_of(self.path)


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Raises StoreUnusable."""
    try:
        yield
    except sqlite3.Error as error:
        raise unusable(path, error) from None
