"""How an inbox in a SQLite file gives up what is old."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from domain.errors import CursorRefused
from domain.model import (
    EVERYONE,
    Action,
    Position,
    Room,
)
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    HOUR,
    STORED,
    Following,
    assert_readable,
    assert_refused,
    at,
    draft,
    events_of,
    floor_of,
    ids_of,
    items_of,
    offsets_of,
    outcomes,
    pass_time,
    reader,
    register,
)
from tests.doubles import START, ManualClock
from tests.integration.sqlite_harness import opened, rows_of

pytestmark = pytest.mark.gen_test


async def test_trimming_goes_in_small_steps_and_leaves_nothing_behind(path: Path, clock: ManualClock) -> None:
    limits = {"retention_log": HOUR, "retention_inbox": 2 * HOUR, "tail_entries": 10}
    async with opened(path, clock, **limits) as inbox:
        ann = await register(inbox)
        many = [Room(f"user:{number}") for number in range(3500)]
        await inbox.append([draft("to many", ANN, *many)])
        await inbox.append([draft(f"n-{number}") for number in range(2500)])
        await inbox.append([draft("shared", EVERYONE)])
        for action in (Action.READ, Action.UNREAD):
            await inbox.change(ann, action, [f"n-{number}" for number in range(500)], START)
        users = [reader(EVERYONE, user=f"{number}") for number in range(1200)]
        await asyncio.gather(*(inbox.change(user, Action.SEEN, ["shared"], START) for user in users))
        head = await inbox.head()
        clock.advance(3601)
        rows = rows_of(path)
        steps = 0
        while await inbox.tidy():
            steps += 1
            rows, before = rows_of(path), rows
            assert sum(before.values()) - sum(rows.values()) <= 3000
        assert steps > 4
        await assert_refused(inbox, ann, Position(head.epoch, 0))
        assert (await inbox.count(ann)).counts.total == 2502
        assert (rows["entries"], rows["contents"]) == (0, 2502)
        clock.advance(3601)
        while await inbox.tidy():
            rows, before = rows_of(path), rows
            assert sum(before.values()) - sum(rows.values()) <= 3000
        assert (await inbox.count(ann)).counts.total == 0
        assert {name: number for name, number in rows_of(path).items() if number} == {
            "rooms": len(many) + 3,
            "starts": 2,
        }
        for room in (ANN, many[0], many[-1], EVERYONE):
            await assert_refused(inbox, reader(room), Position(head.epoch, 0))
            assert await offsets_of(inbox, reader(room), await floor_of(inbox, reader(room))) == []
        await assert_readable(inbox, reader(Room("user:never named")), Position(head.epoch, 0))
        assert outcomes(await inbox.append([draft("n-1")])) == [STORED]


async def test_a_restart_amid_trimming_goes_on_with_it(path: Path, clock: ManualClock) -> None:
    limits = {"retention_log": HOUR, "retention_inbox": HOUR}
    many = [Room(f"user:{number}") for number in range(2500)]
    async with opened(path, clock, **limits) as inbox:
        await inbox.append([draft("to many", *many)])
        head = await inbox.head()
        await inbox.append([draft("a"), draft("b")])
    clock.advance(3601)
    while True:
        async with opened(path, clock, **limits) as inbox:
            for room in (many[0], many[-1]):
                assert (await inbox.count(reader(room))).counts.total == 0
            if not await inbox.tidy():
                break
    async with opened(path, clock, **limits) as inbox:
        for room in many[::100]:
            assert (await floor_of(inbox, reader(room))).offset == head.offset
        assert {name: number for name, number in rows_of(path).items() if number} == {"rooms": 2501}


async def test_an_item_that_expired_is_not_shown_and_keeps_its_place(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, retention_log=HOUR, inbox_per_user=2) as inbox:
        await inbox.append([draft("pushed out"), draft("long"), draft("short", expires_at=START + HOUR / 2)])
        await pass_time(inbox, clock, 2 * HOUR)
        assert await ids_of(inbox, reader(ANN)) == ["long"]
        assert (await inbox.count(reader(ANN))).room == 0


async def test_what_a_follower_was_not_given_yet_is_not_trimmed(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, retention_log=HOUR, tail_entries=5) as inbox:
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([draft("a")])
        await following.until(1)
        await inbox.append([draft(f"n-{number}") for number in range(50)])
        await pass_time(inbox, clock, 2 * HOUR)
        await assert_readable(inbox, reader(ANN), at(start, 1))
        assert await following.until(51) == list(range(1, 52))
        await pass_time(inbox, clock, HOUR)
        await assert_refused(inbox, reader(ANN), at(start, 1))
        with pytest.raises(CursorRefused):
            await anext(inbox.tail(at(start, 1)))


async def test_reading_everything_again_and_again_is_bounded(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.store.sqlite.changes.WATERMARKS_PER_USER", 3)
    async with opened(path, clock) as inbox:
        for number in range(10):
            await inbox.append([draft(f"n-{number}")])
            await inbox.read_all(reader(ANN), None, START + number * HOUR)
        assert rows_of(path)["watermarks"] == 3
        times = [item["read_at"] for item in await items_of(inbox, reader(ANN))]
        assert times[:3] == ["2030-01-31T21:00:00.000Z", "2030-01-31T20:00:00.000Z", "2030-01-31T19:00:00.000Z"]
        assert set(times[3:]) == {times[2]}


async def test_what_is_too_old_is_not_shown_even_before_it_is_trimmed(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, retention_log=HOUR, retention_inbox=HOUR) as inbox:
        for number in range(20):
            await inbox.append([draft(f"{number}-a"), draft(f"{number}-b", BOB), draft(f"{number}-c")])
            clock.advance(600)
            young = [f"{batch}-{item}" for batch in range(number, max(-1, number - 5), -1) for item in "ca"]
            assert await ids_of(inbox, reader(ANN)) == young
            counted = await inbox.count(reader(ANN))
            assert counted.counts.total == len(young)
            assert counted.stands_until == clock.now() + timedelta(minutes=10 * (6 - min(number + 1, 5)))
        clock.advance(3600)
        assert await ids_of(inbox, reader(ANN)) == []


async def test_a_wall_clock_set_back_makes_nothing_old(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock, retention_log=HOUR, retention_inbox=HOUR) as inbox:
        start = await inbox.head()
        await inbox.append([draft("a")])
        clock.jump(2 * HOUR)
        await inbox.append([draft("b")])
        clock.jump(-2 * HOUR)
        await inbox.append([draft("c")])
        await pass_time(inbox, clock, timedelta(minutes=61))
        await assert_refused(inbox, reader(ANN), start)
        assert await offsets_of(inbox, reader(ANN), at(start, 1)) == [2, 3]
        assert await ids_of(inbox, reader(ANN)) == ["c", "b"]


async def test_what_a_user_deleted_of_a_group_is_hidden_and_its_text_stays_as_long_as_any_other(
    path: Path, clock: ManualClock
) -> None:
    async with opened(path, clock, retention_log=HOUR, retention_inbox=2 * HOUR) as inbox:
        ann = await register(inbox)
        before = await inbox.head()
        await inbox.append([draft("a", EVERYONE, title="a text of its own")])
        await inbox.change(ann, Action.DELETE, ["a"], START)
        assert await ids_of(inbox, ann) == []
        received = await events_of(inbox, ann, before)
        assert [event for event, _ in received] == ["notification.new", "notification.deleted"]
        assert received[0][1]["title"] == "a text of its own"
        for span, left in ((timedelta(minutes=61), 1), (HOUR, 0)):
            await pass_time(inbox, clock, span)
            await assert_refused(inbox, ann, before)
            with closing(sqlite3.connect(path)) as db:
                texts = db.execute("SELECT payload FROM contents").fetchall()
            assert ["a text of its own" in bytes(text).decode() for (text,) in texts] == [True] * left
