"""The PostgreSQL database of the settings, as commands use it that bring a store into it or out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.system.configuration import ConfigurationError
from entrypoints.settings import Settings, SettingsError

if TYPE_CHECKING:
    from adapters.store.moving.target import Database


def database_of(settings: Settings) -> Database:
    """Raises SettingsError."""
    try:
        # What they need is an extra.
        from adapters.store.moving.target import Database  # noqa: PLC0415
        from adapters.store.postgresql.connecting import Address  # noqa: PLC0415
    except ImportError:
        raise SettingsError("store: needs psycopg: pip install 'synkrone-socket[postgresql]'") from None
    password = settings.store_password.get_secret_value() if settings.store_password is not None else None
    try:
        store = Address(settings.store, password)
        # Around a pooler: these hold a lock, or a snapshot, for as long as they last.
        line = Address(settings.store_listen, password) if settings.store_listen is not None else store
    except ConfigurationError as error:
        raise SettingsError(f"store: {error.message}") from None
    return Database(line, store.place, migrates=settings.store_migrate, sync=settings.store_durability == "sync")
