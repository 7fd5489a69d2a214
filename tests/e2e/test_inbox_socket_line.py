"""The store over a socket, whose line is loaded once there is a socket."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients import NODE
from tests.e2e.inbox_build import copy_modules

SCRIPT = Path(__file__).parent / "js" / "socket_line.mjs"


@pytest.mark.check
def test_nothing_is_lost_that_a_socket_tells_before_its_line_is_loaded(tmp_path: Path) -> None:
    command = [NODE, SCRIPT, copy_modules(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
