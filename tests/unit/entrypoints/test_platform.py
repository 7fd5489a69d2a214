"""Where the program does not run it says so, in one line."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import environment


def test_windows_is_told_where_it_runs() -> None:
    started = subprocess.run(
        [sys.executable, "-c", "import sys; sys.platform = 'win32'; import entrypoints.cli"],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    assert started.stderr == (
        "synkrone-socket: Windows is not supported: run it on Linux, in WSL 2 or in a container\n"
    )
