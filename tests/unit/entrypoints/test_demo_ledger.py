"""The strip of the demo's page tells the truth: its ledger, a module without I/O, by Node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.e2e.clients import NODE
from tests.processes import REPOSITORY

TESTS = Path(__file__).with_name("demo_ledger.mjs")
LEDGER = REPOSITORY / "entrypoints" / "demo" / "page" / "ledger.js"


def test_what_was_published_is_received_on_its_way_or_lost_and_what_came_twice_is_counted(tmp_path: Path) -> None:
    # By this name Node knows it for a module, as a page does by its element.
    module = shutil.copy(LEDGER, tmp_path / "ledger.mjs")
    ended = subprocess.run([NODE, TESTS, module], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout
