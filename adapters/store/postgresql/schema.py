"""The schema of a store in a PostgreSQL database: its versions, and how an older one becomes one of today's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg

from adapters.store.postgresql.connecting import Address, Line, check_server, one_line
from adapters.store.postgresql.database import Snapshot
from adapters.store.postgresql.moved import look_at_move
from adapters.store.served import StoreUnusable
from domain.model.value import value

_log = logging.getLogger("synkrone.store")

# An advisory lock of the database, which whoever migrates holds: ``SYNK`` and 0.
_MIGRATING: Final = (0x53594E4B, 0)

# Of the catalog itself: names that are looked up otherwise are remembered, and one that was not there stays so for a
# while though somebody else has made it.
_HAS_SCHEMA = b"SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'synkrone'"
_HAS_VERSIONS = b"""
    SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'synkrone' AND relname = 'schema_versions'"""

_SIZE = b"""
    SELECT coalesce(sum(pg_catalog.pg_total_relation_size(pg_class.oid)), 0)::bigint
    FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'synkrone' AND relkind = 'r'"""


def size(snapshot: Snapshot, _: object) -> int:
    """How many bytes its tables take, with their indexes."""
    (octets,) = snapshot.db.one(_SIZE, {})
    return int(octets)


@value
class Migration:
    """What makes a schema of the version before one of ``version``.

    Programs that know versions from ``usable_from`` on can work with it, so that those of before run on while servers
    are replaced one after the other.
    """

    version: int
    usable_from: int

    @property
    def statements(self) -> bytes:
        """Of files such as ``version_2.sql`` and ``version_2_nodes.sql``, in the order of their names."""
        files = Path(__file__).parent.glob(f"version_{self.version}[._]*sql")
        return b"\n".join(file.read_bytes() for file in sorted(files))


MIGRATIONS: Sequence[Migration] = (
    Migration(1, usable_from=1),
    Migration(2, usable_from=2),
    Migration(3, usable_from=2),
    Migration(4, usable_from=2),
    Migration(5, usable_from=2),
    Migration(6, usable_from=2),
    Migration(7, usable_from=2),
)
"""In order, without a gap. A new schema goes through all of them, so that every one is the same."""


@value
class SchemaVersion:
    """What a database has; version 0 where there is no schema yet."""

    version: int
    usable_from: int

    @property
    def is_old(self) -> bool:
        return self.version < MIGRATIONS[-1].version


def prepare(address: Address, *, migrates: bool) -> None:
    """See to it that the schema is one that this program knows. Raises StoreUnusable, and psycopg.Error."""
    with address.connect(statement_timeout=False) as line:
        check_server(line)
        found = version_of(line)
        if not found.is_old:
            return
        if not migrates:
            raise StoreUnusable(_of_old(found))
        _migrate(line)


def check_current(line: Line) -> None:
    """Raises StoreUnusable for a schema that is not one of today's, and psycopg.Error."""
    check_server(line)
    found = version_of(line)
    if found.is_old:
        raise StoreUnusable(_of_old(found))


def migrate(address: Address) -> tuple[int, int]:
    """Make the schema one of today's: from which version, to which. Raises StoreUnusable."""
    try:
        with address.connect(statement_timeout=False) as line:
            check_server(line)
            return _migrate(line), version_of(line).version
    except psycopg.Error as error:
        raise unusable(error) from None


def check(address: Address, *, migrates: bool) -> str | None:
    """Whether the database could be opened, as far as can be seen without changing anything.

    A move that it would wait for is answered with. Raises StoreUnusable.
    """
    try:
        with address.connect() as line:
            check_server(line)
            found = version_of(line)
            move = None if found.is_old else look_at_move(line)
    except psycopg.Error as error:
        raise unusable(error) from None
    if found.is_old and not migrates:
        raise StoreUnusable(_of_old(found))
    return move


def change(address: Address) -> str | None:
    """What a migration would change of what is there. Raises StoreUnusable."""
    try:
        with address.connect() as line:
            found = version_of(line)
    except psycopg.Error as error:
        raise unusable(error) from None
    if not found.is_old or not found.version:
        return None
    return f"the schema is of version {found.version}, and becomes one of version {MIGRATIONS[-1].version}"


def version_of(line: Line) -> SchemaVersion:
    """Raises StoreUnusable for a schema that is newer than this program, and psycopg.Error."""
    if not _has(line, _HAS_VERSIONS):
        return SchemaVersion(0, 0)
    row = line.execute(
        "SELECT version, usable_from FROM synkrone.schema_versions ORDER BY version DESC LIMIT 1"
    ).fetchone()
    found = SchemaVersion(*row) if row is not None else SchemaVersion(0, 0)
    known = MIGRATIONS[-1].version
    if found.usable_from > known:
        raise StoreUnusable(
            f"the schema is of version {found.version}, for programs that know {found.usable_from}, and this one knows "
            f"versions up to {known}: use the newer program that made it"
        )
    return found


def _migrate(line: Line) -> int:
    """From which version. Of several who do it at once the first one does, and the others wait for it."""
    with line.transaction():
        # However long it takes the one who is first.
        line.execute("SET LOCAL lock_timeout = 0")
        line.answer_seconds = float("inf")
        line.execute("SELECT pg_advisory_xact_lock(%s, %s)", _MIGRATING)
        line.execute("SET LOCAL lock_timeout = '5s'")
        found = version_of(line)
        if not _has(line, _HAS_SCHEMA):
            line.execute("CREATE SCHEMA synkrone")
        for migration in MIGRATIONS[found.version :]:
            if migration.version == 1:
                line.execute(
                    """
                    CREATE TABLE synkrone.schema_versions (
                        version integer PRIMARY KEY,
                        usable_from integer NOT NULL,
                        applied_at timestamptz NOT NULL DEFAULT now())"""
                )
            line.execute(migration.statements)
            line.execute(
                "INSERT INTO synkrone.schema_versions (version, usable_from) VALUES (%s, %s)",
                (migration.version, migration.usable_from),
            )
            _log.info("the schema of the store is now of version %d", migration.version)
    return found.version


def _of_old(found: SchemaVersion) -> str:
    has = f"is of version {found.version}" if found.version else "is not there yet"
    return f"the schema {has}, and {MIGRATIONS[-1].version} is needed: run synkrone-socket migrate"


def is_passing(error: psycopg.Error) -> bool:
    """Whether it may be otherwise by itself: a server that is away, and not one that refuses."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    said = str(error)
    refused = error.sqlstate is not None or any(
        words in said for words in ("authentication failed", "does not exist", "no pg_hba.conf entry", "certificate")
    )
    return not refused


def unusable(error: psycopg.Error) -> StoreUnusable:
    """What the server says, and what can be done."""
    said = one_line(error)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return StoreUnusable(f"{said}: grant it, or run synkrone-socket migrate as a role that may create it")
    return StoreUnusable(said)


def _has(line: Line, query: bytes) -> bool:
    return line.execute(query).fetchone() is not None
