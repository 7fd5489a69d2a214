"""The modules that pages load; ``python -m tests.e2e.inbox_build`` makes them, where they are served."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from adapters.client.modules import MODULE as NAME
from adapters.client.modules import client_modules
from tests.e2e.clients import NODE
from tests.e2e.npm import installed

CLIENT = Path(__file__).parents[2] / "adapters" / "client"
MODULE = CLIENT / NAME
SOURCES = CLIENT / "src"
INTERNAL_NAMES: list[str] = json.loads((SOURCES / "internal_names.json").read_text())
"""Of properties: the build makes them short."""


def build(directory: Path) -> None:
    """Make them in a directory, in place of those that are there."""
    installed(CLIENT)
    subprocess.run([NODE, CLIENT / "build.mjs", directory], check=True, timeout=60)


def copy_modules(directory: Path) -> Path:
    """Copy those that are served to a directory where Node takes them for modules; the one that pages name."""
    for name in client_modules():
        shutil.copy(CLIENT / name, directory)
    (directory / "package.json").write_text(json.dumps({"type": "module"}))
    return directory / NAME


if __name__ == "__main__":
    build(CLIENT)
