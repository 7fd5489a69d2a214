"""How far a move has come, as it is shown: a bar on a terminal, and elsewhere lines, or lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from typing import Final

from adapters.store.moving.progress import Moved, Progress, Step

LINE_SECONDS: Final = 5.0

FOLLOWING: Final = (
    "All is copied but what comes in. Restart the server now: it ends, the rest is moved, and it begins anew with the "
    "database."
)


class Display(ABC):
    @abstractmethod
    def show(self, progress: Progress) -> None: ...

    def close(self) -> None:  # noqa: B027 (most leave nothing behind)
        """Nothing more is shown of how far it has come."""

    def end(self, moved: Moved, place: str, seconds: float) -> None:
        """It is done. ``seconds`` is how long it took in all."""
        if moved.before:
            _say(f"It was moved to {place} before.")
        else:
            _say(f"Moved to {place} in {seconds:.1f} s, {moved.pause:.1f} s of them after the server had ended.")


def display_for(*, as_json: bool) -> Display:
    if as_json:
        return JsonLines()
    return Bar() if sys.stdout.isatty() else Lines()


class Lines(Display):
    """A line at every step, and every few seconds of those that take a while."""

    def __init__(self) -> None:
        self._step: Step | None = None
        self._due = 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.step is not self._step or (progress.step is not Step.FOLLOWING and now >= self._due):
            self._step, self._due = progress.step, now + LINE_SECONDS
            _say(self.line(progress))

    def line(self, progress: Progress) -> str:
        if progress.step is Step.FOLLOWING:
            return FOLLOWING
        return f"{progress.step.value}: {progress.done} of {progress.total}"


class JsonLines(Lines):
    """The same as JSON objects."""

    def line(self, progress: Progress) -> str:
        return json.dumps({"step": progress.step.value, "done": progress.done, "total": progress.total})

    def end(self, moved: Moved, place: str, seconds: float) -> None:
        times = {"pause_seconds": round(moved.pause, 3), "seconds": round(seconds, 3)}
        _say(json.dumps({"step": "moved", "to": place, "head": moved.head, "before": moved.before} | times))


class Bar(Display):
    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415 (it is of the extra)
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._bar = RichProgress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._task = self._bar.add_task("", total=None)
        self._step: Step | None = None
        self._bar.start()

    def show(self, progress: Progress) -> None:
        if progress.step is Step.FOLLOWING and self._step is not Step.FOLLOWING:
            self._bar.console.print(FOLLOWING)
        self._step = progress.step
        self._bar.update(self._task, description=progress.step.value, completed=progress.done, total=progress.total)

    def close(self) -> None:
        self._bar.stop()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
