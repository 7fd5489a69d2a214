"""What the tests of the inbox in a SQLite file share: opening it, and handling the file."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from tests.doubles import ManualClock


@asynccontextmanager
async def opened(path: Path, clock: ManualClock | SystemClock, **limits: Any) -> AsyncIterator[SqliteStore]:
    inbox = SqliteStore(path, clock=clock, **limits)
    await inbox.open()
    try:
        yield inbox
    finally:
        await inbox.close()


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


def fill_up(path: Path) -> None:
    """Make a file as large as the disk lets it be."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def copy(path: Path, to: Path) -> None:
    """As a backup of a store that is not open."""
    shutil.copyfile(path, to)


def rows_of(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        return {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
            for name in ("entries", "contents", "locators", "placed", "state", "watermarks", "rooms", "starts")
        }
