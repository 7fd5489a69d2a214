"""Which files an inbox can be opened in, and what becomes of older ones."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.store.sqlite.schema import MIGRATIONS
from adapters.store.sqlite.store import SqliteStore, StoreUnusable
from adapters.system.clock import SystemClock
from domain.model import (
    EVERYONE,
    Action,
    Counts,
    Position,
    RecoveryReason,
)
from tests.contract.inbox_harness import (
    ANN,
    COMPANY,
    STORED,
    arrival,
    arrive,
    assert_readable,
    assert_refused,
    draft,
    events_of,
    ids_of,
    items_of,
    mark_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    register,
)
from tests.data import make_inbox_1
from tests.doubles import START, ManualClock
from tests.integration.sqlite_harness import content_of, copy, opened, remove, write
from tests.processes import REPOSITORY, environment
from tests.requirements import require

pytestmark = pytest.mark.gen_test


async def unusable(path: Path) -> str:
    with pytest.raises(StoreUnusable) as refused:
        await SqliteStore(path, clock=SystemClock()).open()
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message


async def test_nothing_happens_to_a_file_before_it_is_opened(path: Path, clock: ManualClock) -> None:
    SqliteStore(path, clock=clock)
    assert list(path.parent.iterdir()) == []


async def test_a_second_process_is_refused_in_one_line(path: Path, clock: ManualClock) -> None:
    program = (
        "import asyncio, sys\n"
        "from adapters.system.clock import SystemClock\n"
        "from adapters.store.sqlite.store import SqliteStore, StoreUnusable\n"
        "try:\n"
        "    asyncio.run(SqliteStore(sys.argv[1], clock=SystemClock()).open())\n"
        "except StoreUnusable as error:\n"
        "    print(error)\n"
    )

    def second() -> str:
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(
            command, cwd=REPOSITORY, env=environment({}), capture_output=True, text=True, timeout=20, check=True
        ).stdout

    async with opened(path, clock) as inbox:
        said = f"{path} is in use by another process: stop that one first, or name another file in the setting store"
        assert await asyncio.to_thread(second) == f"{said}\n"
        assert SqliteStore(path, clock=clock).check() == said
        assert "in use" in await unusable(path)
        assert outcomes(await inbox.append([draft("a")])) == [STORED]
    async with opened(path, clock) as inbox:
        assert await ids_of(inbox, reader(ANN)) == ["a"]


async def test_a_file_of_a_newer_version_is_left_alone(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = content_of(path)
    assert f"version {len(MIGRATIONS) + 1}" in await unusable(path)
    assert content_of(path) == before


async def test_a_database_of_somebody_else_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = content_of(path)
    assert "another application" in await unusable(path)
    assert content_of(path) == before


@pytest.mark.parametrize(
    "content", [b"something else entirely, and long enough to be looked at", b"SQLite format 3\0" + bytes(200)]
)
async def test_what_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    write(path, content)
    await unusable(path)
    assert content_of(path) == content


ELSEWHERE = "or name another file in the setting store"


def is_database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)


def file(path: Path) -> None:
    write(path, b"")


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere" / "inbox.db")


@pytest.mark.parametrize(
    ("name", "prepare", "says"),
    [
        (
            "nope/inbox.db",
            None,
            "{path} cannot be opened: the folder {folder} does not exist: make it first, " + ELSEWHERE,
        ),
        ("a/b/inbox.db", None, "{path} cannot be opened: the folder {folder} does not exist: make it first, "),
        (
            "file/inbox.db",
            lambda path: file(path.parent),
            "{path} cannot be opened: {folder} is not a folder: name a file in one in the setting store",
        ),
        ("", None, "{path} is a directory: name a file in it, such as sqlite:///{path}/synkrone.db"),
        ("folder", lambda path: path.mkdir(), "{path} is a directory: name a file in it, such as "),
        ("..", None, "{path} is a directory: name a file in it, such as "),
        ("x" * 300, None, "{path} cannot be opened: File name too long"),
        ("text", lambda path: write(path, b"x" * 4096), "{path} is not a database of SQLite: move it away, "),
        (
            "theirs",
            lambda path: is_database(path, "CREATE TABLE theirs (x)"),
            "{path} is a database of another application: name another file in the setting store",
        ),
        (
            "newer",
            lambda path: is_database(path, "PRAGMA application_id = 1398361675", "PRAGMA user_version = 99"),
            f"{{path}} is of version 99, and this program knows versions up to {len(MIGRATIONS)}: use the newer",
        ),
    ],
    ids=["folder missing", "two missing", "in a file", "here", "folder", "above", "long", "text", "theirs", "newer"],
)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
async def test_what_cannot_be_opened_is_named_absolutely_with_what_to_do_and_a_check_knows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    prepare: Callable[[Path], object] | None,
    says: str,
    relative: bool,  # noqa: FBT001 (a column of the table)
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if prepare is not None:
        prepare(path)
    before = everything_in(tmp_path)
    inbox = SqliteStore(Path(name) if relative else path, clock=SystemClock())
    with pytest.raises(StoreUnusable) as foreseen:
        inbox.check()
    assert everything_in(tmp_path) == before
    with pytest.raises(StoreUnusable) as refused:
        await inbox.open()
    said = str(refused.value)
    assert said == str(foreseen.value)
    assert said.startswith(says.format(path=path, folder=path.parent))
    assert "\n" not in said


async def test_a_link_to_where_nothing_can_be(tmp_path: Path) -> None:
    link_to_nowhere(tmp_path / "inbox.db")
    says = "inbox.db cannot be opened: No such file or directory: name a file elsewhere in the setting store"
    assert (await unusable(tmp_path / "inbox.db")).endswith(says)


@pytest.mark.parametrize("state", ["new", "empty", "closed", "killed"])
async def test_a_check_of_what_can_be_opened_leaves_no_trace(
    path: Path, clock: ManualClock, tmp_path: Path, state: str
) -> None:
    if state == "empty":
        file(path)
    elif state != "new":
        async with opened(path, clock) as inbox:
            await inbox.append([draft("a")])
            if state == "killed":
                copies = {each.name: each.read_bytes() for each in path.parent.iterdir()}
        if state == "killed":
            for name, content in copies.items():
                write(path.parent / name, content)
            assert (path.parent / f"{path.name}-wal").stat().st_size > 0
    before = {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in path.parent.iterdir()}
    assert SqliteStore(path, clock=clock).check() is None
    assert {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in path.parent.iterdir()} == before
    async with opened(path, clock) as inbox:
        assert await ids_of(inbox, reader(ANN)) == ([] if state in ("new", "empty") else ["a"])


UNPRIVILEGED = """
import asyncio, concurrent.futures.thread, os, sys, urllib.parse
from adapters.system.clock import SystemClock
from adapters.store.sqlite.store import SqliteStore, StoreUnusable
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
inbox = SqliteStore(sys.argv[1], clock=SystemClock())
for attempt in (inbox.check, lambda: asyncio.run(inbox.open())):
    try:
        print(attempt())
    except StoreUnusable as error:
        print(error)
"""


@pytest.mark.parametrize("what", ["folder", "file", "lock", "file-system"])
def test_what_may_not_be_written_is_named(what: str) -> None:
    require(os.geteuid() == 0, "another user can only be tried as root")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        path = folder / "inbox.db"
        folder.chmod(0o755 if what == "folder" else 0o777)
        named = {"folder": folder, "file": path, "lock": folder / "inbox.db-lock"}.get(what)
        expected = (
            f"{path} cannot be opened: the user of this process (65534) may not write {named}: let it, {ELSEWHERE}"
        )
        if what in ("file", "lock"):
            assert named is not None
            file(named)
        mounted = False
        if what == "file-system":
            mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", directory]
            mounted = not subprocess.run(mount, capture_output=True, timeout=10, check=False).returncode
            require(mounted, "a file system can only be mounted as root")
            expected = f"{path} cannot be opened: {folder} is read-only: name a file elsewhere in the setting store"
        try:
            said = subprocess.run(
                [sys.executable, "-c", UNPRIVILEGED, str(path)],
                cwd=REPOSITORY,
                env=environment({}),
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            ).stdout
        finally:
            if mounted:
                subprocess.run(["umount", directory], capture_output=True, timeout=10, check=True)
        assert said.splitlines() == [expected] * 2


async def test_a_store_that_was_refused_can_be_opened_later(path: Path, clock: ManualClock) -> None:
    write(path, b"no database, and not empty either")
    inbox = SqliteStore(path, clock=clock)
    with pytest.raises(StoreUnusable):
        await inbox.open()
    remove(path)
    await inbox.open()
    await inbox.close()


async def test_only_the_owner_can_read_the_file(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a")])
        assert {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {
            f"inbox.db{suffix}": 0 for suffix in ("", "-wal", "-shm", "-lock")
        }


async def test_a_file_of_version_1_becomes_one_of_today(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    made = tmp_path / "made.sqlite"
    make_inbox_1.make(made)
    with closing(sqlite3.connect(made)) as new, closing(sqlite3.connect(make_inbox_1.FILE)) as kept:
        assert list(new.iterdump()) == list(kept.iterdump())
    copy(make_inbox_1.FILE, path)
    async with opened(path, clock) as inbox:
        ann = await register(inbox)
        assert ann.starts == {ANN: 0, COMPANY: 0, EVERYONE: 0}
        assert await ids_of(inbox, ann) == ["n-6", "n-5", "n-3", "n-2", "n-1"]
        assert (await inbox.count(ann)).counts == Counts(unread=4, unseen=4, total=5)
        assert (await items_of(inbox, ann))[-1]["read_at"] == "2030-01-31T12:00:00.000Z"
        assert await mark_of(inbox, ann) == Position(make_inbox_1.FIRST, 3)
        assert (await inbox.checkpoint("feed"), await inbox.secret()) == ("r-6", make_inbox_1.SECRET)
        for epoch, end in ((make_inbox_1.FIRST, 4), (make_inbox_1.SECOND, 6)):
            assert await offsets_of(inbox, ann, Position(epoch, 2)) == [3, 4, 5, 6]
            await assert_readable(inbox, ann, Position(epoch, end))
            await assert_refused(inbox, ann, Position(epoch, end + 1), RecoveryReason.INVALID)
        (event, argument) = (await events_of(inbox, ann, Position(make_inbox_1.FIRST, 3)))[0]
        assert (event, argument["ids"]) == ("notification.updated", ["n-1"])
        assert (await inbox.change(ann, Action.READ, ["n-1", "n-2"], START)).changed == 1
        assert (await inbox.read_all(ann, None, START)).counts == Counts(unread=0, unseen=0, total=5)
        await pass_time(inbox, clock, timedelta(days=400))
        assert (await arrive(inbox, arrival())).reason is RecoveryReason.TRIMMED
        assert await ids_of(inbox, ann) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_a_migration_that_fails_changes_nothing(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(make_inbox_1.FILE, path)

    def fail(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM entries")
        raise sqlite3.OperationalError("it does not work")

    with monkeypatch.context() as patched:
        patched.setattr("adapters.store.sqlite.schema.MIGRATIONS", [MIGRATIONS[0], fail])
        assert "it does not work" in await unusable(path)
    async with opened(path, clock) as inbox:
        assert (await inbox.head()).offset == 6
