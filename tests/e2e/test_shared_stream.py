"""Stores that share a stream, in rare moments that a server of a few lines brings about."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients import NODE
from tests.e2e.inbox_build import copy_modules

pytestmark = pytest.mark.check

SCRIPT = Path(__file__).parent / "js" / "shared_stream.mjs"


@pytest.mark.parametrize(
    "case",
    [
        "restored",
        "robbedWhileItLists",
        "frozenAsItJoins",
        "noChannel",
        "tokenThatLasts",
        "expiresBeforeTheOther",
        "signedOut",
        "stoppedAsAnotherSignsIn",
        "viewListedBeforeReplay",
        "brokenMessages",
    ],
)
def test_a_rare_moment(tmp_path: Path, case: str) -> None:
    done = subprocess.run(
        [NODE, SCRIPT, copy_modules(tmp_path), case], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
