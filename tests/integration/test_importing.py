"""What is imported from a file that is whole, where, and that nothing half-done is ever served."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.store.moving import database_origin as database_slices
from adapters.store.moving import destination as batches
from adapters.store.moving import exporting
from adapters.store.moving import source as file_slices
from adapters.store.moving.lines import BadFile
from adapters.store.moving.origin import LINE_OF
from adapters.store.moving.tables import TABLES
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.schema import migrate
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.backup import back_up
from domain.errors import CursorRefused
from domain.model import Action, Checkpoint, Position, RecoveryReason, UnblockUser, UserId
from entrypoints.cli import main
from entrypoints.commands import export as command
from tests.contract.inbox_harness import DUPLICATE, HOUR, STORED, draft, ids_of, outcomes, pass_time, register
from tests.documents import block
from tests.doubles import ManualClock
from tests.integration.test_moving import move
from tests.postgresql import PostgresqlServer, Servers
from tests.transfers import (
    KINDS,
    RETENTION,
    InDatabase,
    InFile,
    Place,
    assert_nothing_is_served,
    double,
    empty_place,
    export,
    fill,
    filled_export,
    import_,
    lines_of,
    octets_of,
    opened,
    said,
    sealed,
    taken_apart,
    tell,
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_export(tmp_path_factory.mktemp("filled"))


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Somewhere that a store may be imported into."""
    with empty_place(request, tmp_path) as place:
        yield place


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SLICE_OFFSETS", 3)


LEFT = {
    *("meta", "log", "schema_versions", "moving"),  # said in the first line, or of one store alone
    *("rooms", "placed", "locators", "ids", "waiting"),  # made anew from others, or exported with the contents
    *("all_of", "all_of_parts"),  # made anew from the rooms' names
    "erasing",  # found by the names in the log
    *("log_lock", "appends", "cluster", "nodes", "present", "connections", "outbox", "parked"),  # of servers that run
}
"""Tables that are not exported as they are."""


def test_every_table_of_a_store_is_exported_or_known_not_to_be(filled: Path) -> None:
    """Of a table that is new somebody decides whether it goes with an export."""
    with closing(sqlite3.connect(filled.with_name("synkrone.db"))) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    renamed = {"generations": "epochs"}
    known = {*LINE_OF, "entries", "contents", *LEFT}
    left = {renamed.get(name, name) for name in tables if not name.startswith(("sqlite_", "ledger_"))} - known
    assert left == set()


@pytest.mark.check
def test_so_is_every_column(filled: Path, postgresql: Servers) -> None:
    place = InDatabase(postgresql.of(18))
    migrate(Address(place.url))
    rows = place.server.execute(
        "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'synkrone'",
        place.name,
    )
    place.drop()
    # By which a publish that is tried again is known: those of before are over.
    of_the_writer = {("scheduled", "name")}
    # Whether it was looked at, which is done again.
    of_the_deleted = {("state", "settled")}
    # How far it was gone through, which begins anew, and what is found by the rooms of what waits.
    of_the_erased = {("erasures", "members_upto"), ("erasures", "waits_again")}
    here = {(name, column) for name, column in rows if not name.startswith("ledger_")}
    here -= of_the_writer | of_the_deleted | of_the_erased
    exported = {(table.name, column.name) for table in TABLES for column in table.target}
    of_the_log = {
        "entries": ["log_offset", "stored_at", "event", "form", "rooms", "payload", "about", "expires_at"],
        "contents": [
            *("log_offset", "stored_at", "expires_at", "id", "type", "form", "rooms", "payload", "recalled", "revised"),
        ],
    }
    exported |= {(name, column) for name, columns in of_the_log.items() for column in columns}
    assert {(name, column) for name, column in here if name not in LEFT} == exported


@pytest.mark.gen_test(timeout=60)
async def test_what_was_imported_goes_on_where_the_file_ends(empty: Place, tmp_path: Path) -> None:
    clock = ManualClock()
    source = InFile(tmp_path / "synkrone.db")
    await fill(source, clock)
    async with opened(source, clock, **RETENTION) as store:
        ann = await register(store)
        good = await store.head()
        before = (await ids_of(store, ann), await store.count(ann), await store.restricted(), await store.secret())
        first = await store.read(ann, good, max_entries=10, max_bytes=1 << 20)
        assert not first.entries
        exported = export(source, tmp_path / "export.ndjson")
        await store.append([draft("n-later")])
        lost = await store.head()
    imported = import_(tmp_path / "export.ndjson", empty)
    assert (imported.lines, imported.head, imported.epoch) == (exported.lines, good.offset, good.epoch)
    assert (imported.went_on_after, imported.before) == (0, False)
    async with opened(empty, clock, **RETENTION) as store:
        assert await register(store) == ann
        after = (await ids_of(store, ann), await store.count(ann), await store.restricted(), await store.secret())
        assert after[0] == before[0]
        assert after[1].counts == before[1].counts
        assert after[2].restrictions == before[2].restrictions
        assert after[3] == before[3]
        assert await store.checkpoint("feed") == "r-1"
        assert outcomes(await store.append([draft("n-5"), draft("n-later")])) == [DUPLICATE, STORED]
        page = await store.read(ann, good, max_entries=10, max_bytes=1 << 20)
        (entry,) = page.entries
        # At the same offset is something else now: whoever had that one is told so.
        assert (entry.position.offset, entry.position.epoch == lost.epoch) == (lost.offset, False)
        with pytest.raises(CursorRefused) as refused:
            await store.read(ann, lost, max_entries=10, max_bytes=1 << 20)
        assert refused.value.reason is RecoveryReason.INVALID
        with pytest.raises(CursorRefused) as refused:
            await store.read(ann, Position("never", 1), max_entries=10, max_bytes=1 << 20)
        assert refused.value.reason is RecoveryReason.UNKNOWN_EPOCH
    with pytest.raises(StoreUnusable, match=r"holds a store already|was opened|has stored"):
        import_(_another(tmp_path), empty)
    again = import_(tmp_path / "export.ndjson", empty)
    assert again.before
    async with opened(empty, clock, **RETENTION) as store:
        assert "n-later" in await ids_of(store, ann)


def _another(folder: Path) -> Path:
    lines = lines_of(folder / "export.ndjson")
    lines[0]["name"] = "00000000-0000-4000-8000-000000000000"
    path = folder / "another.ndjson"
    path.write_bytes(sealed(lines))
    return path


class Held(io.BytesIO):
    """Where nothing goes on behind the first line until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def write(self, octets: Any, /) -> int:
        self.has_begun.set()
        assert self.may_go_on.wait(30)
        return super().write(octets)


@pytest.mark.gen_test(timeout=60)
async def test_an_export_is_of_one_moment_whatever_is_stored_meanwhile(
    empty: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (file_slices, database_slices):
        monkeypatch.setattr(module, "SLICE_OFFSETS", 2)
    clock = ManualClock()
    await fill(empty, clock)
    async with opened(empty, clock, **RETENTION) as store:
        ann = await register(store)
        export(empty, tmp_path / "before.ndjson")
        out = Held()
        with closing(empty.origin()) as origin:
            under_way = asyncio.create_task(asyncio.to_thread(exporting.export, origin, out, tell, version="1.2.3"))
            await asyncio.to_thread(out.has_begun.wait, 30)
            await store.append([draft("n-later")], checkpoint=Checkpoint("feed", "r-2", "r-1"))
            await store.change(ann, Action.READ, ["n-5"], clock.now())
            await store.read_all(ann, None, clock.now())
            await store.acknowledge({(ann.user, ann.role): await store.head()})
            await register(store, "carl", "admin")
            await store.append_control(UnblockUser(UserId("bob")))
            await pass_time(store, clock, 3 * HOUR)
            out.may_go_on.set()
            await under_way
        write(tmp_path / "meanwhile.ndjson", out.getvalue())
        assert said(lines_of(tmp_path / "meanwhile.ndjson")) == said(lines_of(tmp_path / "before.ndjson"))
        # All that was done has changed something.
        export(empty, tmp_path / "after.ndjson")
        gone, new = ({json.loads(one)["kind"] for one in some} for some in differences(tmp_path))
        assert gone >= {"entry", "contents", "checkpoint", "trimmed", "state", "restriction", "mark"}
        assert new >= {"checkpoint", "trimmed", "start", "restriction", "mark"}


@pytest.mark.gen_test(timeout=60)
async def test_an_export_that_nobody_reads_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = InFile(tmp_path / "synkrone.db")
    async with opened(place, ManualClock()) as store:
        await store.append([draft(f"n-{number}", body="x" * 1000) for number in range(200)])
    monkeypatch.setenv("SYNKRONE_STORE", f"sqlite:///{place.path}")
    monkeypatch.setattr(command, "STALLED_SECONDS", 0.5)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe, os.fdopen(reading, "rb", buffering=0):
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["export"]) == 1
        # What is left is written as it is closed, and does not block.
        monkeypatch.undo()
    assert "nobody has taken what is exported for 0 s" in capsys.readouterr().err


def differences(folder: Path) -> tuple[set[str], set[str]]:
    """What was said before and not after, and the other way round."""
    before, after = (set(said(lines_of(folder / f"{name}.ndjson"))) for name in ("before", "after"))
    return before - after, after - before


def write(file: Path, octets: bytes) -> None:
    file.write_bytes(octets)


@pytest.mark.gen_test(timeout=60)
@pytest.mark.usefixtures("small_batches")
async def test_one_that_broke_off_goes_on_from_there_and_with_no_other_file(
    empty: Place, filled: Path, tmp_path: Path
) -> None:
    whole = taken_apart(octets_of(filled))
    part = tmp_path / "part.ndjson"
    part.write_bytes(b"".join(whole[:10]))
    with pytest.raises(BadFile, match="FILE is cut short: it ends with line 10"):
        import_(part, empty)
    await assert_nothing_is_served(empty)
    other = tmp_path / "export.ndjson"
    other.write_bytes(octets_of(filled))
    with pytest.raises(StoreUnusable, match=r"an import of another export into .* was begun"):
        import_(_another(tmp_path), empty)
    part.write_bytes(b"".join(whole[:4]))
    with pytest.raises(BadFile, match="it ends with line 4"):
        import_(part, empty)
    await assert_nothing_is_served(empty)
    imported = import_(filled, empty)
    # Whole batches of three, behind the first line.
    assert (imported.went_on_after, imported.lines) == (10, len(whole))
    exported = tmp_path / "again.ndjson"
    async with opened(empty, ManualClock()):
        pass
    export(empty, exported)
    assert said(lines_of(exported)) == said(lines_of(filled))


@pytest.mark.parametrize("kind", ["contents", "start", "mark", "state", "restriction", "checkpoint"])
@pytest.mark.gen_test(timeout=30)
async def test_what_is_said_twice_is_refused(kind: str, empty: Place, filled: Path, tmp_path: Path) -> None:
    lines = lines_of(filled)
    double(lines, kind)
    file = tmp_path / "edited.ndjson"
    file.write_bytes(sealed(lines))
    with pytest.raises(StoreUnusable, match=r"say what only one can"):
        import_(file, empty)
    await assert_nothing_is_served(empty)


@pytest.mark.gen_test(timeout=30)
async def test_a_store_that_a_server_has_opened_is_left_as_it_is(empty: Place, filled: Path) -> None:
    async with opened(empty, ManualClock()) as store:
        await store.append([draft("precious")])
    with pytest.raises(StoreUnusable, match=r"holds a store already|has stored in this database"):
        import_(filled, empty)
    async with opened(empty, ManualClock()) as store:
        assert (await store.head()).offset == 1


@pytest.mark.gen_test(timeout=30)
async def test_an_import_is_alone(empty: Place, filled: Path) -> None:
    alone = pytest.raises(StoreUnusable, match=r"is in use by another process|another move or import into this")
    with closing(empty.destination()), alone:
        import_(filled, empty)
    import_(filled, empty)


@pytest.mark.gen_test(timeout=30)
async def test_what_is_not_as_the_file_says_is_not_served(
    empty: Place, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _lose_a_mark(patch)
        with pytest.raises(StoreUnusable, match="is not what the file says: remove it, and begin anew"):
            import_(filled, empty)
    await assert_nothing_is_served(empty)


def _lose_a_mark(patch: pytest.MonkeyPatch) -> None:
    add = batches.Batch.add

    def lose(batch: batches.Batch, line: Any) -> None:
        add(batch, line)
        batch.tables.pop("marks", None)

    patch.setattr(batches.Batch, "add", lose)


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_a_move_and_an_import_do_not_go_on_with_each_other(
    postgresql: Servers, filled: Path, tmp_path: Path
) -> None:
    server: PostgresqlServer = postgresql.of(18)
    half, moved_into = InDatabase(server), InDatabase(server)
    part = tmp_path / "part.ndjson"
    part.write_bytes(b"".join(taken_apart(octets_of(filled))[:10]))
    with pytest.raises(BadFile):
        import_(part, half)
    source = filled.with_name("synkrone.db")
    ended = await move(_copy(source, tmp_path / "moved.db"), half.url)
    assert "a move of another file than" in str(ended.error)
    with pytest.raises(StoreUnusable, match="an import into this database is not finished"):
        export(half, tmp_path / "no.ndjson")
    ended = await move(_copy(source, tmp_path / "again.db"), moved_into.url)
    assert ended.moved is not None
    with pytest.raises(StoreUnusable, match="holds a store already, which is not of this export"):
        import_(filled, moved_into)
    for place in (half, moved_into):
        place.drop()


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_the_rights_of_a_server_are_enough(postgresql: Servers, filled: Path, tmp_path: Path) -> None:
    place = InDatabase(postgresql.of(18))
    role = f"of_{place.name}"
    migrate(Address(place.url))
    place.server.execute(f"CREATE ROLE {role} LOGIN")
    grants = block("docs/how-to/postgresql.md", "sql", "GRANT").replace("TO synkrone;", f"TO {role};")
    for statement in grants.split(";\n"):
        place.server.execute(statement, place.name)
    place.url = place.server.url(place.name, role)
    import_(filled, place)
    export(place, tmp_path / "again.ndjson")
    assert said(lines_of(tmp_path / "again.ndjson")) == said(lines_of(filled))
    place.server.execute(f"DROP OWNED BY {role}", place.name)
    place.server.execute(f"DROP ROLE {role}")
    place.drop()


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


@pytest.mark.gen_test(timeout=30)
async def test_a_file_that_is_imported_into_is_neither_backed_up_nor_exported(filled: Path, tmp_path: Path) -> None:
    place = InFile(tmp_path / "half.db")
    part = tmp_path / "part.ndjson"
    part.write_bytes(b"".join(taken_apart(octets_of(filled))[:10]))
    with pytest.raises(BadFile):
        import_(part, place)
    with pytest.raises(StoreUnusable, match="is not finished"):
        back_up(place.path, tmp_path / "copy.db", lambda _done, _total: None)
    with pytest.raises(StoreUnusable, match="is not finished"):
        export(place, tmp_path / "no.ndjson")
