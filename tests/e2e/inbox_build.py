"""The module that pages load, made of its sources: ``python -m tests.e2e.inbox_build`` puts it where it is served."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.clients import NODE
from tests.e2e.npm import installed

CLIENT = Path(__file__).parents[2] / "adapters" / "client"
MODULE = CLIENT / "synkrone-inbox.js"
SOURCES = CLIENT / "src"


def build(module: Path) -> None:
    installed(CLIENT)
    subprocess.run([NODE, CLIENT / "build.mjs", module], check=True, timeout=60)


if __name__ == "__main__":
    build(MODULE)
