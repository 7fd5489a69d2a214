"""Erasing from a SQLite file leaves no byte: in the file, beside it, after a kill in the middle."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from adapters.store.sqlite.erasing import Eraser, Stepped
from adapters.store.sqlite.scrubbing import unused
from adapters.store.sqlite.store import SqliteStore
from adapters.store.sqlite.transaction import LogTransaction
from domain.errors import NotificationDeleted
from domain.model import (
    EVERYONE,
    Action,
    BlockUser,
    ConnectionId,
    ConnectionRecord,
    DisconnectUser,
    ErasureState,
    Notes,
    Notification,
    Receipt,
    Room,
    UnblockUser,
    UserId,
)
from tests.contract.inbox_erasures import LATE, Late, use_inbox
from tests.contract.inbox_harness import COMPANY, HOUR, OpenedStore, draft, ids_of, register
from tests.contract.inbox_schedule import later
from tests.doubles import START, ManualClock

WHO, MARKER = UserId("zebra-4711@example.com"), "MARKERMARKER"
ZEBRA = Room.of_user(WHO)


async def fill(store: SqliteStore, chance: random.Random, notifications: int) -> None:
    """With what is for one user, among others, and everything that can be done to it."""
    others = [UserId(f"other-{number}") for number in range(20)]
    zebra = await register(store, WHO)
    subscribers = {user: await register(store, user) for user in others}
    own: list[str] = []
    for number in range(notifications):
        secret = chance.random() < 0.3
        filler = f"{chance.getrandbits(200):x}" * chance.choice((1, 3, 20, 90, 300))
        body = f"{MARKER}{filler}" if secret else filler
        id_ = f"{MARKER}-{number}-{WHO}" if secret and number % 3 else f"n-{number}"
        id_ = id_.replace("@", "_")
        rooms = [ZEBRA] if secret else [Room.of_user(chance.choice(others))]
        key = f"key-{MARKER}-{number}" if secret and number % 3 == 0 else None
        await store.append([draft(id_, *rooms, body=body, own_id=key is None, key=key)])
        if secret:
            own.append(id_)
        if chance.random() < 0.1:
            await store.append([draft(f"many-{number}", ZEBRA, *(Room.of_user(o) for o in chance.sample(others, 5)))])
            await store.append([draft(f"all-{number}", chance.choice((EVERYONE, COMPANY)))])
        if chance.random() < 0.1:
            topic, some = f"topic-{number % 4}", chance.sample(others, 5)
            await store.change_members(topic, [WHO, *some], [], most=10)
            await store.append([draft(f"topic-{number}", Room.of_topic(topic))])
            if chance.random() < 0.7:
                await store.change_members(topic, [], [some[0], WHO], most=10)
        action = chance.choice(list(Action))
        if own and chance.random() < 0.3:
            await store.change(zebra, action, chance.sample(own, min(len(own), 5)), START, by=f"{MARKER} phone")
        if own and chance.random() < 0.1:
            await store.recall(own.pop())
        if own and chance.random() < 0.1:
            longer = f"{MARKER} again {filler}"
            with suppress(NotificationDeleted):
                await store.revise(own[-1], partial(_with_title, title=longer), START)
        other = subscribers[chance.choice(others)]
        if chance.random() < 0.1:
            await store.read_all(zebra, None, START, by=f"{MARKER} tablet")
            await store.read_all(other, None, START, by="tablet")
    await store.change_members("last", [WHO], [], most=10)
    for control in (DisconnectUser(WHO, reconnect=True), BlockUser(WHO, None, MARKER), UnblockUser(WHO)):
        await store.append_control(control)
    await store.forget_restrictions(issued_before=START, until=START)
    await store.acknowledge({(WHO, "company"): await store.head()})
    await store.record(notes())


def _with_title(notification: Notification, title: str) -> Notification:
    return replace(notification, title=title)


def notes() -> Notes:
    connection = ConnectionRecord(
        id=ConnectionId("c-1"),
        number=1,
        user=WHO,
        role="company",
        device=f"{MARKER} phone",
        transport="websocket",
        pid=f"pid-{MARKER}",
        since=START,
        after=1,
        had=None,
        continues=None,
        replayed=2,
        skipped=(),
        sent=3,
        received=3,
    )
    return Notes(START, 5, [connection], [(WHO, Receipt(START, {ConnectionId("c-1"): 3}))], [])


def remnants(path: Path) -> dict[str, int]:
    """How often something of them is found, by file."""
    found: dict[str, int] = {}
    for file in path.parent.iterdir():
        data = file.read_bytes()
        for secret in (MARKER.encode(), WHO.encode(), WHO.replace("@", "_").encode()):
            if number := data.count(secret):
                found[f"{file.name}: {secret.decode()}"] = number
    return found


async def erase(store: SqliteStore, user: UserId = WHO, id_: str = "e") -> int:
    """How many steps it takes."""
    begun = await store.begin_erasure(user, id_, START)
    return await finish(store, begun.id)


async def finish(store: OpenedStore, id_: str) -> int:
    for step in range(100_000):
        erasure = await store.erasure(id_)
        assert erasure is not None
        if erasure.state is ErasureState.DONE:
            return step
        await store.tidy()
    raise AssertionError("it does not end")


def copy_as_killed(path: Path, into: Path) -> None:
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", into / f"{path.name}{suffix}")


def check(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_left_in_the_files(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, clock=ManualClock(), tail_entries=10)
    await store.open()
    await fill(store, random.Random(seed), 300)
    other = await register(store, "other-3")
    before = await ids_of(store, other)
    assert remnants(path)
    await erase(store)
    assert remnants(path) == {}
    assert await ids_of(store, other) == before
    # What those who were connected tell too late changes nothing.
    await store.record(notes())
    await store.close()
    assert remnants(path) == {}
    check(path)


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
async def test_what_was_under_way_leaves_nothing_in_the_files(tmp_path: Path, late: Late) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, clock=ManualClock())
    await store.open()
    zebra = await register(store, WHO)
    before = await use_inbox(store, zebra)
    ids = [f"all-{number}" for number in range(38)]
    await store.append([draft(id_, COMPANY) for id_ in ids])
    # They come to the writer in this order, and some of them in one commit.
    await asyncio.gather(
        *(store.snooze(zebra, [id_], START + HOUR, START) for id_ in ids[:8]),
        store.begin_erasure(WHO, "e", START),
        *(late(store, zebra, before) for _ in range(3)),
        *(store.snooze(zebra, [id_], START + HOUR, START) for id_ in ids[8:]),
    )
    await late(store, zebra, before)
    await finish(store, "e")
    await late(store, zebra, before)
    assert remnants(path) == {}
    await store.close()
    assert remnants(path) == {}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM state").fetchall() == [(0,)]


async def name_thousands(store: OpenedStore) -> None:
    """In what was published, was taken back, and waits: eight times each."""
    others = [Room.of_user(f"somebody-{number}") for number in range(4000)]
    for number in range(8):
        await store.append([draft(f"n-{number}", ZEBRA, *others), draft(f"r-{number}", ZEBRA, *others)])
        await store.append([later(f"w-{number}", START + HOUR, ZEBRA, *others)])
        await store.recall(f"r-{number}")


async def assert_little_in_each_step(store: OpenedStore, named: Callable[[], int]) -> None:
    """``named`` says in how many places the user still is."""
    await store.begin_erasure(WHO, "e", START)
    left = named()
    assert left == 24
    while left:
        await store.tidy()
        left, before = named(), left
        assert before - left < 8
    await finish(store, "e")


@pytest.mark.gen_test(timeout=60)
async def test_of_what_names_thousands_little_is_gone_through_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, clock=ManualClock())
    await store.open()
    await name_thousands(store)
    with closing(sqlite3.connect(path)) as db:

        def named() -> int:
            (number,) = db.execute(
                """
                SELECT count(*) FROM (
                    SELECT coalesce(rooms, recalled) AS names FROM contents UNION ALL SELECT rooms FROM scheduled)
                WHERE instr(CAST(names AS TEXT), ?)""",
                (ZEBRA,),
            ).fetchone()
            return int(number)

        await assert_little_in_each_step(store, named)
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_it_goes_on_after_a_kill_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a" / "store.db"
    path.parent.mkdir()
    store = SqliteStore(path, clock=ManualClock())
    await store.open()
    await fill(store, random.Random(7), 200)
    await store.begin_erasure(WHO, "e", START)
    for number in range(12):
        if not await store.tidy():
            break
        # As a kill would leave them.
        killed = tmp_path / f"killed-{number}"
        killed.mkdir()
        copy_as_killed(path, killed)
        again = SqliteStore(killed / "store.db", clock=ManualClock())
        await again.open()
        assert await ids_of(again, await register(again, "zebra-of-later")) == []
        await finish(again, "e")
        await again.close()
        assert remnants(killed / "store.db") == {}
        check(killed / "store.db")
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_reader_in_the_way_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, clock=ManualClock())
    await store.open()
    await fill(store, random.Random(1), 50)
    reading = sqlite3.connect(path, isolation_level=None)
    reading.execute("BEGIN")
    reading.execute("SELECT count(*) FROM contents").fetchone()
    begun = await store.begin_erasure(WHO, "e", START)
    for _ in range(30):
        await store.tidy()
    erasure = await store.erasure(begun.id)
    assert erasure is not None
    assert erasure.state is ErasureState.RUNNING
    assert erasure.user is None
    reading.execute("COMMIT")
    reading.close()
    await finish(store, begun.id)
    assert remnants(path) == {}
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_who_is_begun_right_behind_the_last_step_is_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, is_done, is_begun = Eraser.step, threading.Event(), threading.Event()

    def step_and_wait(self: Eraser, transaction: LogTransaction, given: int) -> Stepped:
        stepped = step(self, transaction, given)
        is_done.set()
        is_begun.wait(10)
        return stepped

    monkeypatch.setattr(Eraser, "step", step_and_wait)
    store = SqliteStore(tmp_path / "store.db", clock=ManualClock())
    await store.open()
    tidying = asyncio.create_task(store.tidy())
    await asyncio.to_thread(is_done.wait)
    beginning = asyncio.create_task(store.begin_erasure(WHO, "e", START))
    await asyncio.sleep(0)
    is_begun.set()
    # Both are committed before the loop hears of the first.
    begun = 0
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        for _ in range(1000):
            (begun,) = db.execute("SELECT count(*) FROM erasures").fetchone()
            if begun:
                break
            time.sleep(0.01)  # noqa: ASYNC251
    assert begun == 1
    await asyncio.gather(tidying, beginning)
    async with asyncio.timeout(10):
        await finish(store, "e")
    await store.close()


def test_of_a_page_only_what_is_unused_is_named() -> None:
    page = bytearray(64)
    page[0], page[1:3], page[3:5], page[5:7] = 0x0D, (50).to_bytes(2, "big"), (2).to_bytes(2, "big"), b"\x00\x28"
    page[50:54] = b"\x00\x00\x00\x08"
    assert unused(bytes(page), 0, 64) == [(12, 40), (54, 58)]
    page[0] = 0x01
    assert unused(bytes(page), 0, 64) == []
