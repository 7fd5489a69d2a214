"""Short runs of ``make prove``: of the server as it is, and of servers with a fault, each of which has to be found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.processes import REPOSITORY
from tests.prove.checker import LOGGED, PROMISES, judge, read
from tests.prove.node import FAULTS

IS_FULL = os.environ.get("CAMPAIGN") == "full"
MINUTES = 2.0 if IS_FULL else 0.4
FAULTS_IN_CHECK = {"lost-in-replay": 0.4, "stored-twice": 0.2}
"""Each for so many minutes: the one shows at some cuts, the other whenever anybody asks again."""
SEED = 14
CHANGES = 5
"""Of each kind, to a real history."""

pytestmark = [pytest.mark.campaign, pytest.mark.check]


def prove(folder: Path, against: str, *more: str, minutes: float = MINUTES) -> subprocess.CompletedProcess[str]:
    command = ["--seed", str(SEED), "--minutes", str(minutes), "--against", against, "--history", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "tests.prove", *command, *more],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=minutes * 60 + 400,
    )


def forget(records: list[Any], at: int) -> None:
    del records[at]


def repeat(records: list[Any], at: int) -> None:
    records.insert(at, records[at])


def swap(records: list[Any], at: int) -> None:
    """With the next delivery to the same client."""
    after = next(number for number in deliveries(records) if number > at and is_of(records[number], records[at]))
    records[at], records[after] = records[after], records[at]


def give_to_another(records: list[Any], at: int) -> None:
    there = {record["client"] for record in records[:at] if record["what"] == "connects"}
    records[at] = records[at] | {"client": min(there - {records[at]["client"]})}


def is_of(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["client"] == other["client"])


def deliveries(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where they are in a history, to clients that say where they were."""
    return [
        number
        for number, record in enumerate(records)
        if record["what"] == "event" and record["name"] in LOGGED and "Forgetful" not in record["client"]
    ]


def need_not_come(records: Sequence[Mapping[str, Any]], number: int) -> bool:
    """Of what its users have deleted since, a client may have heard that alone."""
    deleted = {
        id_
        for record in records[number:]
        if record["what"] == "event" and record["name"] == "notification.deleted"
        for id_ in record["arguments"][0]["ids"]
    }
    return records[number]["arguments"][0].get("id") in deleted


def assert_that_one_change_is_found(history: Path) -> None:
    """In what was just believed."""
    choice = random.Random(SEED)
    for change in (forget, repeat, swap, give_to_another):
        for _ in range(CHANGES):
            records: list[Any] = list(read(history))
            some = deliveries(records)
            some = [at for at in some[len(some) // 5 : len(some) // 2] if not need_not_come(records, at)]
            change(records, choice.choice(some))
            assert judge(records)[0], change


@pytest.mark.parametrize("against", ["sqlite", "cluster"])
def test_every_promise_is_kept(tmp_path: Path, against: str) -> None:
    ended = prove(tmp_path, against)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"--seed {SEED}" in ended.stdout
    assert ended.stdout.count("kept: ") == len(PROMISES)
    assert_that_one_change_is_found(tmp_path / against / "history.ndjson")


@pytest.mark.parametrize(
    ("fault", "against"),
    [
        (fault, ("sqlite", "cluster")[number % 2])
        for number, fault in enumerate(FAULTS)
        if IS_FULL or fault in FAULTS_IN_CHECK
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, fault: str, against: str) -> None:
    minutes = MINUTES if IS_FULL else FAULTS_IN_CHECK[fault]
    ended = prove(tmp_path, against, "--fault", fault, minutes=minutes)
    print(ended.stdout)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    breaches, _ = judge(read(tmp_path / against / "history.ndjson"))
    assert FAULTS[fault][1] & {breach.promise for breach in breaches}
