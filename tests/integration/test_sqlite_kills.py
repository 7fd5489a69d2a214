"""An inbox in a SQLite file that is killed at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from domain.model import (
    EVERYONE,
    NOTIFICATION_NEW,
    Position,
    UserId,
)
from tests.campaigns.observing import IS_FULL, report
from tests.contract.inbox_harness import (
    ANN,
    assert_readable,
    mark_of,
    reader,
)
from tests.in_time import in_time
from tests.integration.sqlite_harness import opened
from tests.processes import REPOSITORY, environment

KILLS = 200 if IS_FULL else 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbox.db"


@pytest.mark.campaign
@pytest.mark.check
@pytest.mark.gen_test(timeout=20 + 5 * KILLS)
async def test_what_was_acknowledged_survives_kills(path: Path) -> None:
    chance = random.Random(7)
    ids: dict[int, str] = {}
    mark: Position | None = None
    for number in range(KILLS):
        said = await _append_and_kill(path, number, chance.uniform(0.05, 0.4))
        acknowledged: dict[int, str] = {}
        for line in said.splitlines():
            what, _, value = line.partition(" ")
            if what == "mark":
                mark = Position.parse(value)
            elif value:
                acknowledged[int(what)] = value
        async with opened(path, SystemClock()) as inbox:
            new = await _stored(inbox, max(ids, default=0))
            assert {offset: new.get(offset) for offset in acknowledged} == acknowledged
            # What was stored and not acknowledged counts too: its offset is given.
            ids |= new
            ann = await inbox.register(UserId("ann"), "company", frozenset((ANN, EVERYONE)))
            if mark is not None:
                assert (await mark_of(inbox, ann)).offset >= mark.offset
                await assert_readable(inbox, ann, mark)
    async with opened(path, SystemClock()) as inbox:
        assert await _stored(inbox, 0) == ids
    assert len(set(ids.values())) == len(ids) > 10 * KILLS
    report(f"{KILLS} kills: {len(ids)} notifications, none lost, no offset twice")


async def _append_and_kill(path: Path, number: int, seconds: float) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.sqlite_appender", str(path), str(number)),
        cwd=REPOSITORY,
        env=environment({}),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = await in_time(process.stdout.readline(), 30)
        rest = asyncio.create_task(process.stdout.read())
        await asyncio.sleep(seconds)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    return (said + await rest).decode()


async def _stored(inbox: SqliteStore, after_offset: int) -> dict[int, str]:
    """The ids of ANN's notifications by offset."""
    found: dict[int, str] = {}
    after = Position((await inbox.head()).epoch, after_offset)
    while True:
        page = await inbox.read(reader(ANN), after, max_entries=5000, max_bytes=1 << 24)
        news = [entry for entry in page.entries if entry.event == NOTIFICATION_NEW]
        found |= {entry.position.offset: json.loads(entry.payload)["id"] for entry in news}
        after = page.upto
        if not page.more:
            return found
