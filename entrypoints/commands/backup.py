"""``synkrone-socket backup``."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Final

from adapters.store.sqlite.backup import Copied, back_up
from adapters.system.configuration import ConfigurationError
from domain.errors import SynkroneError
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

ELSEWHERE: Final = """\
a postgresql:// store is backed up with what PostgreSQL has for that, while servers serve, such as
  pg_dump --format=custom --file=synkrone.dump "$STORE"
where $STORE is its URL; to put it back, stop all servers, make a new database, and
  pg_restore --exit-on-error --dbname="$STORE" synkrone.dump
More of it is in docs/how-to/cluster.md."""


def add_to(commands: Commands) -> None:
    about = "copy the store into one file, while a server serves from it"
    examples = ("backup /var/backups/synkrone.db", "backup --json copy.db")
    command = add_command(commands, "backup", about, examples=examples)
    add_config(command)
    completes_files(
        command.add_argument(
            "file", type=Path, metavar="FILE", help="to be made; one that is there is not written over"
        )
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        path = file_of(settings)
    if path is None:
        complain(ELSEWHERE)
        return FAILED
    progress = progress_for(as_json=options.json)
    try:
        copied = back_up(path, options.file, partial(progress.show, "pages"))
    except SynkroneError as error:
        progress.close()
        complain(error)
        return FAILED
    progress.close()
    print(as_json(copied) if options.json else f"Backed up {described(copied)}")
    return DONE


def file_of(settings: Settings) -> Path | None:
    """Of the store; None for one that is a database elsewhere. Raises SettingsError for one that has no file."""
    if settings.store.scheme == "postgresql":
        return None
    if settings.store.scheme != "sqlite":
        raise SettingsError(f"store: what is stored in {settings.store.scheme} has no file")
    try:
        return settings.store.path
    except ConfigurationError as error:
        raise SettingsError(f"store: {error.message}") from None


def described(copied: Copied) -> str:
    return f"{copied.notifications} notifications, up to offset {copied.head}: {copied.path}, {copied.size} bytes"


def as_json(copied: Copied) -> str:
    return json.dumps(
        {
            "file": str(copied.path),
            "bytes": copied.size,
            "version": copied.version,
            "notifications": copied.notifications,
            "head": copied.head,
            "set_aside": str(copied.set_aside) if copied.set_aside is not None else None,
        },
        ensure_ascii=False,
    )
