"""Where tests put what need not survive a crash of the machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory


def folder_in_memory() -> TemporaryDirectory[str]:
    """A folder without a disk under it, where there is such a thing."""
    memory = Path("/dev/shm")  # noqa: S108
    return TemporaryDirectory(dir=memory if memory.is_dir() else None)
