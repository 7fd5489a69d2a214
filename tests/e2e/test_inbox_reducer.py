"""What the inbox store knows, without its I/O: events, answers and lists in thousands of orders, by fixed seeds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.clients import NODE
from tests.e2e.inbox_build import SOURCES

SCRIPT = Path(__file__).parent / "js" / "reducer.mjs"
RUNS = 50_000 if os.environ.get("CAMPAIGN") == "full" else 500


def test_in_whatever_order_it_comes_to_show_what_the_server_has() -> None:
    module = SOURCES / "state.js"
    ended = subprocess.run([NODE, SCRIPT, module, str(RUNS)], capture_output=True, text=True, timeout=600, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{RUNS} runs\n"), ended.stderr
