"""Contents lie apart from the entries of the log in a SQLite file: how long each stays, and in what form."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from adapters.store.sqlite import append, changes, trimming
from adapters.store.sqlite.schema import APPLICATION_ID, MIGRATIONS
from adapters.store.sqlite.store import SqliteStore, StoreUnusable
from domain.errors import StoreUnavailable
from domain.model import EVERYONE, Action, Counts, InboxQuery, Position, RecoveryReason
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    CONFLICT,
    DUPLICATE,
    HOUR,
    STORED,
    Following,
    arrival,
    arrive,
    assert_readable,
    assert_refused,
    draft,
    events_of,
    floor_of,
    ids_of,
    items_of,
    mark_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    register,
)
from tests.doubles import START, ManualClock
from tests.integration.sqlite_harness import opened, rows_of
from tests.processes import REPOSITORY, environment

pytestmark = pytest.mark.gen_test

DUMP = REPOSITORY / "tests/data/inbox-2.sql"
FIRST, SECOND = "921dc87f3853c1f9", "e9feb3ce154b531f"
"""The generations in it: of the offsets 1 to 4, and 5 to 10."""


def make_version_2(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(DUMP.read_text(encoding="utf-8"))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 2")


def change_file(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        return int(version)


class TestVersion2:
    async def test_it_becomes_one_of_today_and_every_cursor_stays_good(self, path: Path, clock: ManualClock) -> None:
        make_version_2(path)
        async with opened(path, clock) as inbox:
            ann, bob = await register(inbox), await register(inbox, "bob")
            assert ann.starts == {ANN: 0, COMPANY: 0, EVERYONE: 0}
            for position in (Position(FIRST, 4), Position(SECOND, 4), Position(SECOND, 10)):
                await assert_readable(inbox, ann, position)
            for offset in (3, 1):
                await assert_refused(inbox, ann, Position(FIRST, offset))
            await assert_refused(inbox, ann, Position(FIRST, 5), RecoveryReason.INVALID)
            await assert_refused(inbox, ann, Position(SECOND, 11), RecoveryReason.INVALID)
            events = await events_of(inbox, ann, Position(FIRST, 4))
            assert [event.removeprefix("notification.") for event, _ in events] == [
                "new", "new", "updated", "new", "new", "updated",
            ]  # fmt: skip
            assert [argument.get("id") for _, argument in events] == ["n-5", "made", None, "n-8", "n-9", None]
            assert events[3][1]["data"] == {"text": "café it's"}
            assert await offsets_of(inbox, bob, await mark_of(inbox, bob)) == [5, 6, 8]
            assert (await mark_of(inbox, ann), await inbox.checkpoint("feed")) == (Position(SECOND, 6), "r-6")

    async def test_inboxes_and_what_users_did_to_them_are_kept(self, path: Path, clock: ManualClock) -> None:
        make_version_2(path)
        async with opened(path, clock) as inbox:
            ann, bob = await register(inbox), await register(inbox, "bob")
            times = [(item["id"], item["read_at"], item["archived_at"]) for item in await items_of(inbox, ann)]
            at, earlier = "2030-01-31T12:00:00.000Z", "2029-12-22T12:00:00.000Z"
            assert times == [
                ("n-9", None, None), ("n-8", None, None), ("made", at, None), ("n-5", at, None), ("n-1", at, earlier),
            ]  # fmt: skip
            assert (await inbox.count(ann)).counts == Counts(unread=2, unseen=1, total=4)
            assert (await inbox.count(bob)).counts == Counts(unread=4, unseen=4, total=4)
            assert (await inbox.change(ann, Action.UNARCHIVE, ["n-1", "n-2"], START)).changed == 1
            assert (await inbox.read_all(bob, None, START)).changed == 4

    async def test_retries_are_known(self, path: Path, clock: ManualClock) -> None:
        make_version_2(path)
        async with opened(path, clock) as inbox:
            text = b'{"text":"caf\xc3\xa9 it\'s"}'
            appended = await inbox.append(
                [
                    draft("n-8", ANN, BOB, key="k-8", data=text),
                    draft("n-1"),
                    draft("again", EVERYONE, own_id=False, key="k-6"),
                    draft("n-8"),
                    draft("other", own_id=False, key="k-8"),
                    draft("new", key="k-new"),
                ]
            )
            assert outcomes(appended) == [DUPLICATE, DUPLICATE, DUPLICATE, CONFLICT, CONFLICT, STORED]
            assert [one.position.offset for one in appended] == [8, 1, 6, 8, 8, 11]
            assert [str(one.position.epoch) for one in appended[:3]] == [SECOND, FIRST, SECOND]

    async def test_what_was_to_be_swept_is_swept_and_all_goes_in_the_end(self, path: Path, clock: ManualClock) -> None:
        make_version_2(path)
        async with opened(path, clock) as inbox:
            ann = await register(inbox)
            assert rows_of(path) | {"rooms": 0} == rows_of(path) | {"entries": 10, "contents": 6, "rooms": 0}
            while await inbox.tidy():
                pass
            assert (rows_of(path)["entries"], rows_of(path)["contents"]) == (6, 6)
            assert (await floor_of(inbox, ann)).offset == 4
            await pass_time(inbox, clock, 400 * 24 * HOUR)
            assert await ids_of(inbox, ann) == []
            left = {name for name, number in rows_of(path).items() if number}
            assert left == {"rooms", "starts", "watermarks"}
            (new,) = await inbox.append([draft("n-8")])
            assert new.position.offset == 11

    async def test_a_process_that_is_killed_in_the_middle_of_it_leaves_the_file_as_it_was(
        self, path: Path, clock: ManualClock
    ) -> None:
        program = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from adapters.store.sqlite import schema\n"
            "def killed(db):\n"
            "    schema._version_3(db)\n"
            "    assert not db.execute('SELECT 1 FROM sqlite_master WHERE name = ?', ('entries_2',)).fetchone()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "schema.MIGRATIONS = [*schema.MIGRATIONS[:2], killed]\n"
            "schema.prepare_file(Path(sys.argv[1]))\n"
        )
        make_version_2(path)
        command = [sys.executable, "-c", program, str(path)]
        for _ in range(2):
            ended = await asyncio.to_thread(
                subprocess.run, command, cwd=REPOSITORY, env=environment({}), timeout=30, check=False
            )
            assert ended.returncode == -signal.SIGKILL
        assert version_of(path) == 2
        async with opened(path, clock) as inbox:
            assert await ids_of(inbox, await register(inbox)) == ["n-9", "n-8", "made", "n-5", "n-1"]
        assert version_of(path) == len(MIGRATIONS)


async def test_entries_leave_with_the_log_and_contents_with_the_inboxes(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, retention_log=HOUR, retention_inbox=4 * HOUR) as inbox:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b", key="k")])
        await inbox.change(ann, Action.READ, ["a"], START)
        rows = {"entries": 3, "contents": 2, "locators": 3, "placed": 3, "state": 1}
        for hours, gone in ((0.5, ()), (1, ("entries",)), (3, tuple(rows))):
            await pass_time(inbox, clock, hours * HOUR)
            rows |= dict.fromkeys(gone, 0) | ({"placed": 2} if gone == ("entries",) else {})
            assert {name: rows_of(path)[name] for name in rows} == rows
            if rows["contents"]:
                assert await ids_of(inbox, ann) == ["b", "a"]
                # It is known as long as it lies in an inbox.
                assert outcomes(await inbox.append([draft("a"), draft("b", key="k")])) == [DUPLICATE] * 2
                assert outcomes(await inbox.append([draft("c", own_id=False, key="k")])) == [CONFLICT]
        head = await inbox.head()
        (again,) = await inbox.append([draft("a")])
        assert again.position.offset == head.offset + 1


@pytest.mark.parametrize(
    "erase", ["DELETE FROM contents WHERE id = 'b'", "UPDATE contents SET payload = NULL, rooms = NULL WHERE id = 'b'"]
)
async def test_contents_that_were_erased_leave_no_gap_and_are_given_to_nobody(
    path: Path, clock: ManualClock, erase: str
) -> None:
    async with opened(path, clock) as inbox:
        await register(inbox)
        await inbox.append([draft(name, ANN, BOB) for name in "abc"])
        start = await inbox.head()
    change_file(path, erase, "DELETE FROM placed WHERE offset = 2")
    for limits in ({}, {"tail_entries": 1}):
        async with opened(path, clock, **limits) as inbox:
            ann = await register(inbox)
            beginning = Position(start.epoch, 0)
            following = Following(inbox, beginning)
            assert await following.until(3) == [1, 2, 3]
            assert [sorted(entry.rooms) for entry in following.entries] == [[ANN, BOB], [], [ANN, BOB]]
            assert await offsets_of(inbox, ann, beginning) == [1, 3]
            assert await ids_of(inbox, ann) == ["c", "a"]
            assert (await inbox.count(ann)).counts.total == 2
            assert (await arrive(inbox, arrival())).counted.counts.total == 2


@pytest.mark.parametrize(
    "other",
    [
        "UPDATE contents SET form = 2 WHERE id = 'b'",
        "UPDATE contents SET payload = substr(payload, 1, 50) WHERE id = 'b'",
        "UPDATE contents SET payload = CAST('{}' AS BLOB) WHERE id = 'b'",
    ],
)
async def test_what_is_of_no_form_that_is_known_is_not_sent(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    async with opened(path, clock) as inbox:
        await inbox.append([draft("a"), draft("b"), draft("c", BOB), draft("d", BOB)])
        start = Position((await inbox.head()).epoch, 0)
        await register(inbox), await register(inbox, "bob")
    change_file(path, other)
    async with opened(path, clock, tail_entries=1) as inbox:
        for attempt in (
            inbox.read(reader(ANN), start, max_entries=10, max_bytes=1 << 20),
            inbox.list_items(reader(ANN), InboxQuery()),
            Following(inbox, start).until(2),
            inbox.arrive([arrival()]),
        ):
            with pytest.raises(StoreUnavailable):
                await attempt
        assert "offset 2 is of no form that this program knows" in caplog.text
        # It is nobody else's fault.
        assert [one.counted.counts.total for one in await inbox.arrive([arrival("bob"), arrival("bob")])] == [2, 2]
        assert await ids_of(inbox, reader(BOB)) == ["d", "c"]
        assert (await inbox.count(reader(ANN))).counts.total == 2
    with pytest.raises(StoreUnusable, match="offset 2 is of no form"):
        await SqliteStore(path, clock=clock).open()


async def test_a_change_of_another_form_is_not_sent_either(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as inbox:
        ann = await register(inbox)
        await inbox.append([draft("a")])
        await inbox.change(ann, Action.READ, ["a"], START)
        await inbox.append([draft("b", BOB), draft("c", BOB)])
        start = Position((await inbox.head()).epoch, 0)
    change_file(path, "UPDATE entries SET form = 7 WHERE offset = 2")
    async with opened(path, clock, tail_entries=1) as inbox:
        with pytest.raises(StoreUnavailable):
            await offsets_of(inbox, reader(ANN), start)
        assert [item["id"] for item in await items_of(inbox, reader(ANN))] == ["a"]


async def test_names_with_the_same_locator_are_told_apart(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (append, changes, trimming):
        monkeypatch.setattr(module, "locator", len)
    async with opened(path, clock, retention_log=HOUR, retention_inbox=HOUR) as inbox:
        ann = await register(inbox)
        batch = [draft("a", key="x"), draft("b", key="y"), draft("x", key="b"), draft("c", key="c")]
        assert outcomes(await inbox.append(batch)) == [STORED] * 4
        assert outcomes(await inbox.append(batch)) == [DUPLICATE] * 4
        assert outcomes(await inbox.append([draft("y"), draft("d", own_id=False, key="a")])) == [STORED] * 2
        assert (await inbox.change(ann, Action.READ, ["x", "nobody's", "b"], START)).changed == 2
        read = {item["id"] for item in await items_of(inbox, ann) if item["read_at"] is not None}
        assert read == {"x", "b"}
        await pass_time(inbox, clock, 2 * HOUR)
        assert rows_of(path)["locators"] == 0
