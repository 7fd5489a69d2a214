"""The stores."""

from __future__ import annotations

from adapters.store.memory import MemoryStore
from adapters.store.observing import StoreObserver
from adapters.store.served import ServedStore
from adapters.store.sqlite.store import SqliteStore
from adapters.system.configuration import ConfigurationError
from domain.ports import Clock
from entrypoints.building.errors import plain
from entrypoints.settings import Settings


def build_memory_store(settings: Settings, clock: Clock) -> MemoryStore:
    settings.store.check_bare()
    _check_is_alone(settings)
    return MemoryStore(
        clock=clock,
        max_entries=settings.limits.memory_entries,
        max_bytes=settings.limits.memory_bytes,
        retention=settings.retention.log,
        inbox_per_user=settings.retention.inbox_per_user,
        scheduled_most=settings.limits.scheduled,
        retention_deliveries=settings.retention.deliveries,
    )


def build_sqlite_store(settings: Settings, clock: Clock, observer: StoreObserver) -> SqliteStore:
    _check_is_alone(settings)
    return SqliteStore(
        settings.store.path,
        clock=clock,
        observer=observer,
        retention_log=settings.retention.log,
        retention_inbox=settings.retention.inbox_age,
        inbox_per_user=settings.retention.inbox_per_user,
        scheduled_most=settings.limits.scheduled,
        retention_deliveries=settings.retention.deliveries,
    )


def _check_is_alone(settings: Settings) -> None:
    """What somebody relies on is not passed over. Raises ConfigurationError."""
    for name, is_given in (
        ("store_durability", settings.store_durability == "sync"),
        ("store_listen", settings.store_listen is not None),
    ):
        if is_given:
            raise ConfigurationError(name, f"is for a store of postgresql://, and the store is {settings.store.scheme}")


def build_postgresql_store(settings: Settings, clock: Clock, observer: StoreObserver) -> ServedStore:
    try:
        from adapters.store.postgresql.store import PostgresqlStore  # noqa: PLC0415 (what it needs is an extra)
    except ImportError:
        raise ConfigurationError("", "needs psycopg: pip install 'synkrone-socket[postgresql]'") from None
    return PostgresqlStore(
        settings.store,
        clock=clock,
        observer=observer,
        password=plain(settings.store_password) if settings.store_password is not None else None,
        listen_url=settings.store_listen,
        migrates=settings.store_migrate,
        sync=settings.store_durability == "sync",
        retention_log=settings.retention.log,
        retention_inbox=settings.retention.inbox_age,
        inbox_per_user=settings.retention.inbox_per_user,
        scheduled_most=settings.limits.scheduled,
        retention_deliveries=settings.retention.deliveries,
    )
