"""``synkrone-socket restore``."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from adapters.store.sqlite.backup import restore
from domain.errors import SynkroneError
from entrypoints.commands.backup import ELSEWHERE, as_json, described, file_of
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
from entrypoints.settings import SettingsError


def add_to(commands: Commands) -> None:
    about = "put a backup where the store of the settings is, while no server serves from it"
    command = add_command(commands, "restore", about, examples=("restore copy.db", "restore --replace copy.db"))
    add_config(command)
    completes_files(
        command.add_argument("file", type=Path, metavar="FILE", help="that backup has made; it stays as it is")
    )
    command.add_argument("--replace", action="store_true", help="set the store that is there aside, under another name")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, sources):
        path = file_of(settings)
        if path is not None and not path.exists() and not sources.has_file and "store" not in sources.variables:
            raise SettingsError(
                f"store: nothing says where it is, and {path.absolute()} does not exist: "
                "give the server's settings with --config, or its store in SYNKRONE_STORE"
            )
    if path is None:
        complain(ELSEWHERE)
        return FAILED
    progress = progress_for(as_json=options.json)
    try:
        copied = restore(
            options.file, path, partial(progress.show, "pages"), now=datetime.now(UTC), replace=options.replace
        )
    except SynkroneError as error:
        progress.close()
        complain(error)
        return FAILED
    progress.close()
    if options.replace and copied.set_aside is None:
        complain(f"there was nothing to replace: {copied.path.absolute()} is new")
    if options.json:
        print(as_json(copied))
        return DONE
    print(f"Restored {described(copied)}")
    if copied.set_aside is not None:
        print(f"What was there is in {copied.set_aside}")
    return DONE
