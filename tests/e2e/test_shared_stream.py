"""Stores that share a stream, in rare moments that a server of a few lines brings about."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients import NODE
from tests.e2e.inbox_build import SOURCES

pytestmark = pytest.mark.check

SCRIPT = Path(__file__).parent / "js" / "shared_stream.mjs"


@pytest.mark.parametrize(
    "case",
    [
        "restored",
        "robbedWhileItLists",
        "noChannel",
        "tokenThatLasts",
        "signedOut",
        "stoppedAsAnotherSignsIn",
        "viewListedBeforeReplay",
        "brokenMessages",
    ],
)
def test_a_rare_moment(case: str) -> None:
    done = subprocess.run([NODE, SCRIPT, SOURCES, case], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
