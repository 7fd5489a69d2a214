"""``synkrone-socket import``."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from adapters.store.moving.destination import Destination
from adapters.store.moving.file_destination import FileDestination
from adapters.store.moving.importing import Imported, import_
from domain.errors import SynkroneError
from entrypoints.commands.backup import file_of
from entrypoints.commands.database import database_of
from entrypoints.commands.options import (
    DONE,
    FAILED,
    Commands,
    add_command,
    add_config,
    complain,
    completes_files,
    settings_of,
)
from entrypoints.progress import progress_for
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_sources import Sources

STDIN: Final = "-"


def add_to(commands: Commands) -> None:
    about = "read what export has written into the store of the settings, which has to be empty"
    examples = (
        "import copy.ndjson",
        "import --config new.toml copy.ndjson",
        "import --json - < copy.ndjson",
    )
    command = add_command(commands, "import", about, examples=examples)
    add_config(command)
    completes_files(
        command.add_argument("file", metavar="FILE", help=f"that export has made; {STDIN} is standard input")
    )
    command.add_argument("--json", action="store_true", help="say what was imported, and how far it has come, as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    progress = progress_for(as_json=options.json)
    try:
        with (
            settings_of(options) as (settings, sources),
            _opened(options.file) as (file, size),
        ):
            destination = partial(_destination, settings, sources)
            imported = import_(file, _name(options.file), size, destination, progress.show)
    except SynkroneError as error:
        progress.close()
        complain(error)
        return FAILED
    except OSError as error:
        progress.close()
        complain(f"{_name(options.file)} cannot be read: {error.strerror}")
        return FAILED
    progress.close()
    print(_as_json(imported) if options.json else _described(imported))
    return DONE


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """With its size in bytes, where it has one. Raises OSError."""
    if file == STDIN:
        yield sys.stdin.buffer, None
        return
    with Path(file).open("rb") as opened:
        status = os.fstat(opened.fileno())
        yield opened, status.st_size if stat.S_ISREG(status.st_mode) else None


def _name(file: str) -> str:
    return "standard input" if file == STDIN else str(Path(file).absolute())


def _destination(settings: Settings, sources: Sources) -> Destination:
    """Raises SettingsError and SynkroneError."""
    path = file_of(settings)
    if path is not None:
        if not path.exists() and not sources.has_file and "store" not in sources.variables:
            raise SettingsError(
                f"store: nothing says where it is, and {path.absolute()} does not exist: "
                "give the server's settings with --config, or its store in SYNKRONE_STORE"
            )
        return FileDestination(path)
    database = database_of(settings)
    # What it needs is an extra, which is there.
    from adapters.store.moving.database_destination import DatabaseDestination  # noqa: PLC0415

    return DatabaseDestination(database)


def _described(imported: Imported) -> str:
    if imported.before:
        return f"It was imported into {imported.place} before."
    went_on = f", from line {imported.went_on_after + 1} on" if imported.went_on_after else ""
    return f"Imported {imported.notifications} notifications, up to offset {imported.head}{went_on}: {imported.place}"


def _as_json(imported: Imported) -> str:
    return json.dumps(
        {
            "store": imported.place,
            "lines": imported.lines,
            "entries": imported.entries,
            "notifications": imported.notifications,
            "epoch": imported.epoch,
            "head": imported.head,
            "went_on_after_line": imported.went_on_after,
            "before": imported.before,
        },
        ensure_ascii=False,
    )
