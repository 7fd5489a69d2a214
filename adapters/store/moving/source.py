"""A SQLite file that is read: in slices of the log, beside the server that has it open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from adapters.store.served import StoreUnusable
from adapters.store.sqlite.importing import is_unfinished
from adapters.store.sqlite.log import head, log_floor
from adapters.store.sqlite.schema import APPLICATION_ID, MIGRATIONS, as_json, connect
from adapters.store.sqlite.sealing import SEALED, Seal, put_seal, seal_of
from domain.model.value import value

Row = tuple[Any, ...]

SLICE_OFFSETS: Final = 2000
SLICE_BYTES: Final = 8 * 1024 * 1024
CHANGED_AT_ONCE: Final = 200
"""Contents, each of which may have a payload of 64 KiB."""

_UPTO = """
    SELECT max(offset) FROM (
        SELECT offset, sum(bytes) OVER (ORDER BY offset) AS total, row_number() OVER (ORDER BY offset) AS number FROM (
            SELECT offset, coalesce(length(payload), 0) + coalesce(length(rooms), 0) AS bytes
            FROM contents WHERE offset > :after AND offset <= :last
            UNION ALL
            SELECT offset, coalesce(length(payload), 0) + coalesce(length(rooms), 0)
            FROM entries WHERE offset > :after AND offset <= :last))
    WHERE total <= :bytes OR number = 1"""
_COLUMNS_OF_ENTRIES = """
    SELECT offset, stored_at, event, form, CAST(rooms AS TEXT), CAST(payload AS TEXT), about, expires_at FROM entries"""
_ENTRIES = f"{_COLUMNS_OF_ENTRIES} WHERE offset > ? AND offset <= ? ORDER BY offset"
_COLUMNS = """
    SELECT offset, stored_at, expires_at, id, type, form, CAST(rooms AS TEXT), CAST(payload AS TEXT),
        CAST(recalled AS TEXT), revised, key, digest
    FROM contents"""
_CONTENTS = f"{_COLUMNS} WHERE offset > ? AND offset <= ? ORDER BY offset"
_CHANGED = f"""
    {_COLUMNS} WHERE offset > ? AND offset <= ? AND (recalled IS NOT NULL OR revised > ?)
    ORDER BY offset LIMIT {CHANGED_AT_ONCE}"""
_AMENDED = f"""
    {_COLUMNS} WHERE offset IN (
        SELECT about FROM entries WHERE offset > :after AND offset <= :upto AND about <= :after)"""  # noqa: S608
_ERASED = f"""
    {_COLUMNS} WHERE offset IN (SELECT value FROM json_each(:offsets)) AND offset <= :upto AND payload IS NULL
        AND rooms IS NOT NULL"""  # noqa: S608
_ERASED_ENTRIES = f"""
    {_COLUMNS_OF_ENTRIES} WHERE about IN (SELECT value FROM json_each(:offsets)) AND offset <= :upto
        AND payload IS NULL"""  # noqa: S608
_AMENDED_ENTRIES = f"""
    {_COLUMNS_OF_ENTRIES} WHERE offset <= :after AND about IN (
        SELECT about FROM entries WHERE offset > :after AND offset <= :upto)"""  # noqa: S608


@value
class Extent:
    """How far a log reaches. Entries before ``first_entry`` and contents before ``first_content`` are gone.

    ``floor_stored_at`` is when the last contents at or before the floor were stored, or 0.
    """

    head: int
    floor: int
    floor_stored_at: int
    first_entry: int
    first_content: int

    @property
    def first(self) -> int:
        return min(self.first_entry, self.first_content)


@value
class Slice:
    """What lies between two offsets, the first of them not included.

    ``entries`` are rows of offset, time, event, form, rooms, payload, what they are about and expiry; ``contents`` of
    offset, time, expiry, id, type, form, rooms, payload, the rooms of before a recall, the last revision, key and
    digest. ``amended`` is what lies before them, and is by now as the entries say.
    """

    after: int
    upto: int
    entries: Sequence[Row]
    contents: Sequence[Row]
    amended: Amended = field(default_factory=lambda: Amended((), ()))


@value
class Amended:
    """Entries that are about the same as later ones, and the contents that these are about."""

    entries: Sequence[Row]
    contents: Sequence[Row]


@value
class Erased:
    """As of which offset the last user was erased, or 0; and the erasures of those of whom there is something left."""

    last: int
    running: Sequence[str]


def changed_since(part: Slice, offset: int) -> Amended:
    """What of a slice entries behind an offset may have changed, whether or not these have left the log."""
    return Amended(
        [row for row in part.entries if row[6] is not None and row[5] is None],
        [row for row in part.contents if row[7] is None or row[8] is not None or (row[9] or 0) > offset],
    )


class Source:
    """The file, which has to be there. It is not changed until it is sealed.

    One thread uses it. Everything raises sqlite3.Error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.db = connect(self.path)
        # What was copied is remembered on the disk: there may be more of it than fits into memory.
        self.db.execute("PRAGMA temp_store = FILE")
        self.db.execute("ATTACH '' AS copied")

    def close(self) -> None:
        self.db.close()

    @property
    def place(self) -> str:
        """As a URL for operators."""
        return f"sqlite:///{self.path}"

    @property
    def seal(self) -> Seal | None:
        return seal_of(self.db)

    def put_seal(self, seal: Seal) -> None:
        """Nobody serves from the file any more. It is on the disk when this returns."""
        put_seal(self.db, seal)

    def check(self) -> None:
        """Raises StoreUnusable where this program cannot read the file as it is."""
        (application,) = self.db.execute("PRAGMA application_id").fetchone()
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StoreUnusable(f"{self.path} is no store of this server")
        if is_unfinished(self.db):
            raise StoreUnusable(f"an import into {self.path} is not finished")
        if version % SEALED != len(MIGRATIONS):
            raise StoreUnusable(
                f"{self.path} is of version {version % SEALED}, and {len(MIGRATIONS)} is needed: "
                "serve from it once with this program, or stop the server"
            )

    @property
    def secret(self) -> bytes:
        (secret,) = self.db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
        return bytes(secret)

    @property
    def erased(self) -> Erased:
        (last,) = self.db.execute("SELECT coalesce(max(offset), 0) FROM erasures").fetchone()
        running = self.db.execute("SELECT id FROM erasures WHERE user IS NOT NULL ORDER BY id")
        return Erased(last, [id_ for (id_,) in running])

    @property
    def extent(self) -> Extent:
        with self.snapshot():
            return self._extent()

    def slice_after(self, after: int, upto: int | None = None) -> tuple[Slice, Extent]:
        """The next one, with an offset no further than that, and how far the log reached when it was read."""
        with self.snapshot():
            extent = self._extent()
            last = min(after + SLICE_OFFSETS, extent.head if upto is None else upto)
            (found,) = self.db.execute(_UPTO, {"after": after, "last": last, "bytes": SLICE_BYTES}).fetchone()
            end = last if found is None else found
            entries = self.db.execute(_ENTRIES, (after, end)).fetchall()
            contents = self.db.execute(_CONTENTS, (after, end)).fetchall()
            return Slice(after, end, entries, contents, self._amended(after, end)), extent

    def changed_upto(self, upto: int, since: int) -> Iterator[Sequence[Row]]:
        """Contents at or before an offset that entries behind the offset ``since`` may have changed, whether or not
        these have left the log by now; many at once, all of them read after the call."""
        after = -1
        while rows := self.db.execute(_CHANGED, (after, upto, since)).fetchall():
            yield rows
            after = rows[-1][0]

    def erased_among(self, offsets: Sequence[int], upto: int) -> Amended:
        """What lost its content, as all whom it names have deleted it; up to an offset."""
        limits = {"offsets": as_json(offsets), "upto": upto}
        contents = self.db.execute(_ERASED, limits).fetchall()
        limits["offsets"] = as_json([row[0] for row in contents])
        return Amended(self.db.execute(_ERASED_ENTRIES, limits).fetchall(), contents)

    def _amended(self, after: int, upto: int) -> Amended:
        limits = {"after": after, "upto": upto}
        entries = self.db.execute(_AMENDED_ENTRIES, limits).fetchall()
        return Amended(entries, self.db.execute(_AMENDED, limits).fetchall())

    def rooms_at(self, offset: int) -> str | None:
        """Where the contents at an offset are still placed; None where there are no contents."""
        row = self.db.execute(
            "SELECT coalesce(CAST(rooms AS TEXT), '') FROM contents WHERE offset = ?", (offset,)
        ).fetchone()
        return str(row[0]) if row is not None else None

    def _extent(self) -> Extent:
        last, floor = head(self.db), log_floor(self.db)
        (first_entry,) = self.db.execute("SELECT min(offset) FROM entries").fetchone()
        (first_content,) = self.db.execute("SELECT min(offset) FROM contents").fetchone()
        stored = self.db.execute(
            "SELECT stored_at FROM contents WHERE offset <= ? ORDER BY offset DESC LIMIT 1", (floor,)
        ).fetchone()
        return Extent(
            head=last,
            floor=floor,
            floor_stored_at=stored[0] if stored is not None else 0,
            first_entry=last + 1 if first_entry is None else first_entry,
            first_content=last + 1 if first_content is None else first_content,
        )

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """While it lasts, what the server writes cannot be put into the file. One within another is that one."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.execute("ROLLBACK")
