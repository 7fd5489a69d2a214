"""``synkrone-socket export``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from adapters.store.moving.exporting import Exported, export
from adapters.store.moving.file_origin import FileOrigin
from adapters.store.moving.origin import Origin
from adapters.store.new_file import NotMade, give_name, refuse_existing, unfinished
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
from entrypoints.progress import Progress, progress_for
from entrypoints.settings import Settings
from entrypoints.version import installed_version

STALLED_SECONDS: Final = 600.0
"""So long nobody may take what is written: the store has to keep what is dead for as long as it is exported."""


def add_to(commands: Commands) -> None:
    about = "write the store as lines of JSON, while servers serve from it"
    examples = (
        "export --output copy.ndjson",
        "export --config /etc/synkrone.toml | gzip > copy.ndjson.gz",
        "export --json --output /var/backups/synkrone.ndjson",
    )
    command = add_command(commands, "export", about, examples=examples)
    add_config(command)
    completes_files(
        command.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="to be made; one that is there is not written over (default: standard output)",
        )
    )
    command.add_argument("--json", action="store_true", help="say what was exported, and how far it has come, as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    progress = progress_for(as_json=options.json)
    output = options.output.absolute() if options.output is not None else None
    try:
        with settings_of(options) as (settings, _):
            if output is not None:
                refuse_existing(output)
            with closing(_origin(settings)) as origin, _ended_when_stalled():
                exported = _written(origin, output, progress)
    except SynkroneError as error:
        progress.close()
        complain(error)
        if output is None:
            # At its end the process would write what is left, which nobody may ever read.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        progress.close()
        if output is None and isinstance(error, BrokenPipeError):
            raise
        complain(f"{output or 'standard output'} cannot be written: {error.strerror}")
        return FAILED
    progress.close()
    # With the lines on standard output nothing else may be there.
    said = sys.stdout if output is not None else sys.stderr
    print(_as_json(exported, output) if options.json else f"Exported {_described(exported, output)}", file=said)
    if exported.waiting:
        complain(f"{exported.waiting} that an outbox holds are in no log yet, and not exported")
    return DONE


def _origin(settings: Settings) -> Origin:
    """Raises SettingsError and SynkroneError."""
    path = file_of(settings)
    if path is not None:
        return FileOrigin(path)
    database = database_of(settings)
    # What it needs is an extra, which is there.
    from adapters.store.moving.database_origin import DatabaseOrigin  # noqa: PLC0415

    return DatabaseOrigin(database)


@contextmanager
def _ended_when_stalled() -> Iterator[None]:
    """Raises NotMade out of a write that blocks, as nothing else ends one."""

    def end(_number: int, _frame: object) -> None:
        raise NotMade(f"nobody has taken what is exported for {STALLED_SECONDS:.0f} s: run it again")

    before = signal.signal(signal.SIGALRM, end)
    _go_on()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _go_on() -> None:
    signal.setitimer(signal.ITIMER_REAL, STALLED_SECONDS)


def _written(origin: Origin, output: Path | None, progress: Progress) -> Exported:
    """Raises SynkroneError and OSError."""

    def tell(what: str, done: int, total: int | None) -> None:
        _go_on()
        progress.show(what, done, total)

    if output is None:
        exported = export(origin, sys.stdout.buffer, tell, version=installed_version())
        sys.stdout.buffer.flush()
        return exported
    with unfinished(output) as part:
        with part.open("wb") as file:
            exported = export(origin, file, tell, version=installed_version())
            file.flush()
            os.fsync(file.fileno())
        give_name(part, output)
    return exported


def _described(exported: Exported, output: Path | None) -> str:
    where = f": {output}, {exported.bytes} bytes" if output is not None else ""
    return f"{exported.notifications} notifications, up to offset {exported.head}, in {exported.lines} lines{where}"


def _as_json(exported: Exported, output: Path | None) -> str:
    return json.dumps(
        {
            "file": str(output) if output is not None else None,
            "bytes": exported.bytes,
            "lines": exported.lines,
            "entries": exported.entries,
            "notifications": exported.notifications,
            "epoch": exported.epoch,
            "head": exported.head,
            "left_in_outbox": exported.waiting,
        },
        ensure_ascii=False,
    )
