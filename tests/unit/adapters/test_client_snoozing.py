"""Until when the panel offers to put a notification off: a function without I/O, by Node's own test runner."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.clients import NODE
from tests.e2e.inbox_build import SOURCES

TESTS = Path(__file__).with_name("client_snoozing.mjs")


def test_what_is_offered_is_what_the_clock_of_the_user_says() -> None:
    ended = subprocess.run(
        [NODE, TESTS, SOURCES / "snoozing.js"],
        env=os.environ | {"TZ": "Europe/Oslo"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
