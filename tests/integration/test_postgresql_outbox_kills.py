"""Relays are killed at random moments while applications publish in transactions: each row that was committed is in the
log once, in the order that is promised, and none that was rolled back."""

from __future__ import annotations

import os
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest

from tests.forked import Forked
from tests.integration.outbox_harness import PUBLISH, USER
from tests.postgresql import PostgresqlServer, Servers
from tests.processes import environment

pytestmark = [pytest.mark.check, pytest.mark.campaign]

IS_FULL = os.environ.get("CAMPAIGN") == "full"
KILLS = 50 if IS_FULL else 8
ROWS = 100_000 if IS_FULL else 4_000
RELAYS = 3
APPLICATIONS = 4
PATIENCE = 120.0

TAKING_OVER = """
    SELECT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '%take_from_outbox%'
    AND application_name LIKE 'relay-%'"""
SEVERAL = (
    "SELECT synkrone.synkrone_publish(%s, 'test', title) FROM unnest(%s::text[]) WITH ORDINALITY AS given (title, n)"
)


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction: when its application had not begun it yet, when it had been told of its end, what it published."""

    before: float
    after: float
    titles: Sequence[str]


def application(
    server: PostgresqlServer, database: str, name: int, rows: int, over: threading.Event
) -> list[Committed]:
    """Short transactions and long ones, some of which are rolled back, as is a part of others. So many rows, and more
    until it is over."""
    chance = random.Random(f"application {name}")
    committed: list[Committed] = []
    number = 0

    def named(count: int) -> list[str]:
        nonlocal number
        number += count
        return [f"{name}-{each}" for each in range(number - count, number)]

    with closing(server.connect(database)) as connection:
        while number < rows or not over.is_set():
            before = time.monotonic()
            titles: list[str] = []
            rolls_back = chance.random() < 0.2
            with connection.transaction(force_rollback=rolls_back):
                for _ in range(chance.choice((1, 1, 2, 5))):
                    some = named(chance.choice((1, 1, 3, 40)))
                    is_undone = chance.random() < 0.1
                    with connection.transaction(force_rollback=is_undone):
                        if len(some) == 1:
                            connection.execute(PUBLISH, (USER, some[0]))
                        else:
                            connection.execute(SEVERAL.encode(), (USER, some))
                    titles += [] if is_undone else some
                    if chance.random() < 0.05:
                        # Others begin and end meanwhile.
                        time.sleep(chance.uniform(0, 0.3))
            if not rolls_back:
                committed.append(Committed(before, time.monotonic(), titles))
            if number >= rows:
                over.wait(0.02)
    return committed


class Relays:
    """Processes that relay, of which one after the other is killed and started again."""

    def __init__(self, server: PostgresqlServer, database: str, folder: Path) -> None:
        self._server = server
        self._database = database
        self._folder = folder
        self._running = {f"relay-{number}": self._start(f"relay-{number}") for number in range(RELAYS)}

    def _start(self, name: str) -> Forked:
        return Forked(
            "tests.integration.outbox_relay",
            f"{self._server.url(self._database)}&application_name={name}",
            directory=self._folder,
            environment=environment({}),
            stdout=self._folder / "stdout",
            stderr=self._folder / "stderr",
        )

    def kill(self) -> None:
        """The one that relays, while it takes something over or just after; sometimes another one."""
        names = list(self._running) if random.random() < 0.2 else self._taking_over()
        time.sleep(random.uniform(0, 0.03))
        name = random.choice(names)
        self._running[name].kill()
        self._running[name].wait(PATIENCE)
        self._running[name] = self._start(name)

    def _taking_over(self) -> list[str]:
        deadline = time.monotonic() + PATIENCE
        with closing(self._server.connect(self._database)) as connection:
            while not (names := [name for (name,) in connection.execute(TAKING_OVER.encode())]):
                assert time.monotonic() < deadline, "nobody relays"
                time.sleep(0.001)
        return names

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(PATIENCE)


@pytest.fixture(params=[15, 18] if not IS_FULL else [18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


def in_the_log(server: PostgresqlServer, database: str) -> list[str]:
    rows = server.execute("SELECT payload::json ->> 'title' FROM synkrone.contents ORDER BY log_offset", database)
    return [title for (title,) in rows]


def wait_until_empty(server: PostgresqlServer, database: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.execute("SELECT FROM synkrone.outbox LIMIT 1", database):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_each_row_is_published_once_and_in_order_however_often_relays_are_killed(
    server: PostgresqlServer, database: str, tmp_path: Path
) -> None:
    relays = Relays(server, database, tmp_path)
    over = threading.Event()
    kills = 0
    try:
        with ThreadPoolExecutor(APPLICATIONS) as pool:
            publishing = [
                pool.submit(application, server, database, name, ROWS // APPLICATIONS, over)
                for name in range(APPLICATIONS)
            ]
            while kills < KILLS:
                time.sleep(random.uniform(0.05, 1.0))
                relays.kill()
                kills += 1
            over.set()
            committed = [one for future in publishing for one in future.result(PATIENCE)]
        wait_until_empty(server, database)
    finally:
        over.set()
        relays.close()
    assert (tmp_path / "stderr").read_text() == ""
    check(committed, in_the_log(server, database))
    print(f"{len(committed)} transactions, {sum(len(one.titles) for one in committed)} rows, {kills} kills")


def check(committed: Sequence[Committed], log: Sequence[str]) -> None:
    assert sorted(log) == sorted(title for one in committed for title in one.titles)
    place = {title: number for number, title in enumerate(log)}
    written = [one for one in committed if one.titles]
    for one in written:
        places = [place[title] for title in one.titles]
        assert places == sorted(places)
    written.sort(key=lambda one: one.after)
    ends = [one.after for one in written]
    last = list(accumulate((place[one.titles[-1]] for one in written), max))
    for one in written:
        earlier = bisect_left(ends, one.before)
        assert not earlier or last[earlier - 1] < place[one.titles[0]]
