"""What all whom it names have deleted leaves no byte in a SQLite file, nor beside it; and a kill changes nothing."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from adapters.store.sqlite.store import SqliteStore
from domain.model import Action, Json, Notification, Room
from tests.contract.inbox_deletions import has_content, tidy
from tests.contract.inbox_harness import OpenedStore, draft, ids_of, register
from tests.contract.inbox_schedule import deliver
from tests.doubles import START, ManualClock
from tests.integration.test_sqlite_erasing import check, copy_as_killed

MARKER = "MARKERMARKER"
OTHERS = 8


def _again(notification: Notification, filler: str) -> Notification:
    return replace(notification, title=f"{MARKER} again", body=f"{MARKER}{filler}")


async def fill(store: OpenedStore, chance: random.Random, notifications: int) -> dict[str, list[str]]:
    """The ids of what is to be deleted, and who has each. All of it has the marker in title, body, data or type."""
    names = [f"u-{number}" for number in range(OTHERS)]
    subscribers = {name: await register(store, name) for name in names}
    who_has: dict[str, list[str]] = {}
    for number in range(notifications):
        filler = f"{chance.getrandbits(200):x}" * chance.choice((1, 3, 20, 90, 300))
        is_marked = chance.random() < 0.4
        users = chance.sample(names, chance.choice((1, 1, 2, 5)))
        body = f"{MARKER}{filler}" if is_marked else filler
        type_, data = (MARKER, f'{{"{MARKER}": 1}}'.encode()) if is_marked else ("test", None)
        id_ = f"n-{number}"
        one = draft(id_, *map(Room.of_user, users), body=body, type_=type_, data=data and Json(data))
        await store.append([one])
        if not is_marked:
            continue
        who_has[id_] = users
        for user in users:
            action = chance.choice([Action.READ, Action.ARCHIVE, Action.SEEN])
            await store.change(subscribers[user], action, [id_], START)
        if chance.random() < 0.3:
            await store.snooze(subscribers[users[0]], [id_], START + timedelta(minutes=number), START)
        for _ in range(chance.choice((0, 0, 1, 3))):
            await store.revise(id_, partial(_again, filler=filler), START)
    await deliver(store, START + timedelta(minutes=notifications // 2))
    return who_has


async def delete(store: OpenedStore, who_has: dict[str, list[str]], *, chance: random.Random) -> None:
    pairs = [(user, id_) for id_, users in who_has.items() for user in users]
    chance.shuffle(pairs)
    for user, id_ in pairs:
        changed = await store.change(await register(store, user), Action.DELETE, [id_], START)
        assert changed.changed == 1


def remnants(path: Path) -> dict[str, int]:
    found = {file.name: file.read_bytes().count(MARKER.encode()) for file in path.parent.iterdir()}
    return {name: number for name, number in found.items() if number}


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_left_in_the_files(tmp_path: Path, seed: int) -> None:
    path, chance = tmp_path / "store.db", random.Random(seed)
    store = SqliteStore(path, clock=ManualClock(), tail_entries=10)
    await store.open()
    who_has = await fill(store, chance, 300)
    assert remnants(path)
    await delete(store, who_has, chance=chance)
    before = [await ids_of(store, await register(store, f"u-{number}")) for number in range(OTHERS)]
    await tidy(store)
    assert remnants(path) == {}
    assert [await ids_of(store, await register(store, f"u-{number}")) for number in range(OTHERS)] == before
    assert not any([await has_content(store, id_) for id_ in who_has])
    await store.close()
    check(path)


@pytest.mark.gen_test(timeout=60)
async def test_what_is_owed_is_done_after_a_kill(tmp_path: Path) -> None:
    path, chance = tmp_path / "a" / "store.db", random.Random(7)
    path.parent.mkdir()
    store = SqliteStore(path, clock=ManualClock())
    await store.open()
    who_has = await fill(store, chance, 150)
    await delete(store, who_has, chance=chance)
    for number in range(8):
        killed = tmp_path / f"killed-{number}"
        killed.mkdir()
        copy_as_killed(path, killed)
        again = SqliteStore(killed / "store.db", clock=ManualClock())
        await again.open()
        await tidy(again)
        await again.close()
        assert remnants(killed / "store.db") == {}
        check(killed / "store.db")
        shutil.rmtree(killed)
        if not await store.tidy():
            break
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_the_file_is_gone_through_once_in_a_while(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.db", ManualClock()
    store = SqliteStore(path, clock=clock, overwrite_every=timedelta(hours=1))
    await store.open()
    await register(store)
    await store.append([draft(id_, body=MARKER) for id_ in "ab"])
    for id_, owes in (("a", 0), ("b", 1)):
        await store.change(await register(store), Action.DELETE, [id_], START)
        await tidy(store)
        assert not await has_content(store, id_)
        assert owed(path) == owes
    clock.advance(3601)
    await tidy(store)
    assert owed(path) == 0
    await store.close()


@pytest.mark.gen_test(timeout=60)
async def test_a_reader_in_the_way_is_left_in_peace(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, clock=ManualClock())
    await store.open()
    await register(store)
    await store.append([draft("a", body=MARKER)])
    reading = sqlite3.connect(path, isolation_level=None)
    reading.execute("BEGIN")
    reading.execute("SELECT count(*) FROM contents").fetchone()
    await store.change(await register(store), Action.DELETE, ["a"], START)
    # It comes to an end, though there is something to be done.
    await tidy(store)
    assert owed(path) == 1
    reading.execute("COMMIT")
    reading.close()
    for _ in range(3):
        await tidy(store)
    assert owed(path) == 0
    assert remnants(path) == {}
    await store.close()


def owed(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (number,) = db.execute("SELECT count(*) FROM meta WHERE name = 'unscrubbed'").fetchone()
        return int(number)
