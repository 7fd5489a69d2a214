"""Where the operator's page draws its lines: a module without a document, by Node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.e2e.clients import NODE
from tests.processes import REPOSITORY

TESTS = Path(__file__).with_name("ops_plot.mjs")
PLOT = REPOSITORY / "adapters" / "api" / "ops" / "page" / "plot.js"


def test_lines_have_gaps_where_nothing_is_known_and_ticks_are_round(tmp_path: Path) -> None:
    # By this name Node knows it for a module, as a page does by its element.
    module = shutil.copy(PLOT, tmp_path / "plot.mjs")
    ended = subprocess.run([NODE, TESTS, module], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout
