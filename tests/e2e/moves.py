"""``synkrone-socket move`` as a process, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.documents import block
from tests.forked import CLI, Forked
from tests.processes import environment

PAGE = "docs/how-to/move.md"
STEP_SECONDS = 60.0


class MoveProcess:
    """The command of the page on it, in the folder of a server. ``reports`` is what it has said so far."""

    def __init__(self, folder: Path, settings: Mapping[str, str], outputs: Path) -> None:
        outputs.mkdir(parents=True)
        self._outputs = outputs
        for name in ("stdout", "stderr"):
            (outputs / name).touch()
        program, *arguments = block(PAGE, "bash", "--from").split()
        assert program == "synkrone-socket"
        self._process = Forked(
            CLI,
            *arguments,
            "--json",
            directory=folder,
            environment=environment(settings),
            stdout=outputs / "stdout",
            stderr=outputs / "stderr",
        )

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._outputs / "stdout").read_text().splitlines()]

    @property
    def errors(self) -> str:
        return (self._outputs / "stderr").read_text()

    def is_running(self) -> bool:
        return self._process.poll() is None

    async def has_begun(self, within: float = STEP_SECONDS) -> None:
        """Until then nobody knows of it, and a server that is started says that the move is to be run again."""
        deadline = time.monotonic() + within
        while not self.reports and self.is_running():
            assert time.monotonic() < deadline, "it has not begun"
            await asyncio.sleep(0.01)

    async def step(self, name: str, within: float = STEP_SECONDS) -> dict[str, Any]:
        """The first report of that step, once it is there."""
        deadline = time.monotonic() + within
        while True:
            is_running = self.is_running()
            for report in self.reports:
                if report["step"] == name:
                    return report
            assert is_running, f"it has ended with {self._process.poll()}: {self.errors}"
            assert time.monotonic() < deadline, f"it has not come to {name}: {self.reports}"
            await asyncio.sleep(0.01)

    async def exit_code(self, within: float = STEP_SECONDS) -> int:
        deadline = time.monotonic() + within
        while (code := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"it has not ended: {self.reports}"
            await asyncio.sleep(0.01)
        return code

    def kill(self) -> None:
        self._process.kill()
