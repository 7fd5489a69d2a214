"""Short runs of ``make prove``: of the server as it is, and of servers with a fault, each of which has to be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY
from tests.prove.checker import PROMISES, judge, read
from tests.prove.node import FAULTS

IS_FULL = os.environ.get("CAMPAIGN") == "full"
MINUTES = 2.0 if IS_FULL else 0.4
FAULTS_IN_CHECK = ("lost-in-replay", "stored-twice")
SEED = 14

pytestmark = [pytest.mark.campaign, pytest.mark.check]


def prove(folder: Path, against: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["--seed", str(SEED), "--minutes", str(MINUTES), "--against", against, "--history", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "tests.prove", *command, *more],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=MINUTES * 60 + 400,
    )


@pytest.mark.parametrize("against", ["sqlite", "cluster"])
def test_every_promise_is_kept(tmp_path: Path, against: str) -> None:
    ended = prove(tmp_path, against)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"--seed {SEED}" in ended.stdout
    assert ended.stdout.count("kept: ") == len(PROMISES)


@pytest.mark.parametrize(
    ("fault", "against"),
    [
        (fault, ("sqlite", "cluster")[number % 2])
        for number, fault in enumerate(FAULTS)
        if IS_FULL or fault in FAULTS_IN_CHECK
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, fault: str, against: str) -> None:
    ended = prove(tmp_path, against, "--fault", fault)
    print(ended.stdout)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    breaches, _ = judge(read(tmp_path / against / "history.ndjson"))
    assert FAULTS[fault][1] & {breach.promise for breach in breaches}
