"""``move``: a store goes from a SQLite file into the PostgreSQL database of the settings, while a server serves."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

from adapters.store.moving.progress import Moved, Progress, Step
from adapters.system.configuration import ConfigurationError
from domain.errors import SynkroneError
from entrypoints.commands.database import database_of
from entrypoints.commands.options import DONE, FAILED, Commands, add_command, add_config, complain, settings_of
from entrypoints.progress import progress_for
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_types import Address

FOLLOWING: Final = (
    "All is copied but what comes in. Restart the server now: it ends, the rest is moved, and it begins anew with the "
    "database."
)


class NotMoved(Exception):
    """It broke off. The message is one line."""


def add_to(commands: Commands) -> None:
    about = "bring a store from a SQLite file into the database of the settings"
    examples = (
        "move --from sqlite:///synkrone.db",
        "move --config new.toml --from sqlite:////var/lib/synkrone/synkrone.db",
    )
    command = add_command(commands, "move", about, examples=examples)
    add_config(command)
    command.add_argument(
        "--from", dest="source", metavar="URL", required=True, help="for example sqlite:///synkrone.db"
    )
    command.add_argument("--json", action="store_true", help="say how far it has come in lines of JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        try:
            move(settings, options.source, as_json=options.json)
        except NotMoved as error:
            complain(error)
            return FAILED
    return DONE


def move(settings: Settings, source: str, *, as_json: bool) -> None:
    """Blocks until the server that serves from the file has ended, and everything is in the database.

    ``source`` is as the setting ``store`` has a file. Raises SettingsError and NotMoved.
    """
    path = _path_of(source)
    if settings.store.scheme != "postgresql":
        raise SettingsError("store: must name the database to move to, as postgresql://…")
    database = database_of(settings)
    # What it needs is an extra, which is there.
    from adapters.store.moving import moving  # noqa: PLC0415

    steps = Steps(as_json=as_json)
    began = time.monotonic()
    try:
        moved = moving.move(path, database, tell=steps.show)
    except SynkroneError as error:
        raise NotMoved(str(error)) from None
    finally:
        steps.close()
    steps.end(moved, database.place, time.monotonic() - began)


class Steps:
    """What is said of a move, on standard output: each step as it begins, and when the server is to be restarted."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._progress = progress_for(as_json=as_json, out=sys.stdout, at_once=True)
        self._step: Step | None = None

    def show(self, progress: Progress) -> None:
        is_new, self._step = progress.step is not self._step, progress.step
        if progress.step is Step.FOLLOWING and not is_new:
            return
        if progress.step is Step.FOLLOWING and not self._as_json:
            self._progress.close()
            print(FOLLOWING, flush=True)
            return
        self._progress.show(progress.step.value, progress.done, progress.total)

    def close(self) -> None:
        """Nothing more is shown of how far it has come."""
        self._progress.close()

    def end(self, moved: Moved, place: str, seconds: float) -> None:
        """It is done. ``seconds`` is how long it took in all."""
        if self._as_json:
            times = {"pause_seconds": round(moved.pause, 3), "seconds": round(seconds, 3)}
            print(json.dumps({"step": "moved", "to": place, "head": moved.head, "before": moved.before} | times))
        elif moved.before:
            print(f"It was moved to {place} before.")
        else:
            print(f"Moved to {place} in {seconds:.1f} s, {moved.pause:.1f} s of them after the server had ended.")


def _path_of(source: str) -> Path:
    address = Address(source)
    if address.scheme != "sqlite":
        raise SettingsError("--from: must be sqlite:/// and the path of a file")
    try:
        return address.path
    except ConfigurationError as error:
        raise SettingsError(f"--from: {error.message}") from None
