"""``move``: a store goes from a SQLite file into the PostgreSQL database of the settings, while a server serves."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from adapters.system.configuration import ConfigurationError
from domain.errors import SynkroneError
from entrypoints.commands.options import DONE, FAILED, Commands, add_command, add_config, complain, settings_of
from entrypoints.move_progress import Display, display_for
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_types import Address


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
            move(settings, options.source, display_for(as_json=options.json))
        except NotMoved as error:
            complain(error)
            return FAILED
    return DONE


def move(settings: Settings, source: str, display: Display) -> None:
    """Blocks until the server that serves from the file has ended, and everything is in the database.

    ``source`` is as the setting ``store`` has a file. Raises SettingsError and NotMoved.
    """
    try:
        # What they need is an extra.
        from adapters.store.moving import moving  # noqa: PLC0415
        from adapters.store.postgresql.connecting import Address as DatabaseAddress  # noqa: PLC0415
    except ImportError:
        raise SettingsError("store: needs psycopg: pip install 'synkrone-socket[postgresql]'") from None
    path = _path_of(source)
    if settings.store.scheme != "postgresql":
        raise SettingsError("store: must name the database to move to, as postgresql://…")
    password = settings.store_password.get_secret_value() if settings.store_password is not None else None
    try:
        store = DatabaseAddress(settings.store, password)
        # Around a pooler: the move holds a lock for as long as it lasts.
        line = DatabaseAddress(settings.store_listen, password) if settings.store_listen is not None else store
    except ConfigurationError as error:
        raise SettingsError(f"store: {error.message}") from None
    database = moving.Database(
        line, store.place, migrates=settings.store_migrate, sync=settings.store_durability == "sync"
    )
    began = time.monotonic()
    try:
        moved = moving.move(path, database, tell=display.show)
    except SynkroneError as error:
        raise NotMoved(str(error)) from None
    finally:
        display.close()
    display.end(moved, store.place, time.monotonic() - began)


def _path_of(source: str) -> Path:
    address = Address(source)
    if address.scheme != "sqlite":
        raise SettingsError("--from: must be sqlite:/// and the path of a file")
    try:
        return address.path
    except ConfigurationError as error:
        raise SettingsError(f"--from: {error.message}") from None
