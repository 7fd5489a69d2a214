"""How far a command has come, on standard error: a bar on a terminal, else lines, or lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Final

LINE_SECONDS: Final = 5.0
BAR_SECONDS: Final = 0.1
WIDTH: Final = 30


class Progress:
    """Lines, one every few seconds. ``what`` is counted."""

    seconds = LINE_SECONDS

    def __init__(self, what: str) -> None:
        self._what = what
        self._due = time.monotonic() + self.seconds

    def show(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self.seconds
            self._say(done, total)

    def close(self) -> None:
        """Nothing more is shown."""

    def _say(self, done: int, total: int | None) -> None:
        print(f"{self._what}: {done}{f' of {total}' if total is not None else ''}", file=sys.stderr)


class JsonProgress(Progress):
    def _say(self, done: int, total: int | None) -> None:
        print(json.dumps({"progress": self._what, "done": done, "total": total}), file=sys.stderr, flush=True)


class Bar(Progress):
    seconds = BAR_SECONDS
    _is_shown = False

    def _say(self, done: int, total: int | None) -> None:
        part = min(1.0, done / total) if total else 0.0
        bar = f" [{'#' * round(part * WIDTH):{WIDTH}}] {part:4.0%}" if total else ""
        print(f"\r{self._what}: {done}{bar}\x1b[K", end="", file=sys.stderr, flush=True)
        self._is_shown = True

    def close(self) -> None:
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def progress_for(what: str, *, as_json: bool) -> Progress:
    if as_json:
        return JsonProgress(what)
    return Bar(what) if sys.stderr.isatty() else Progress(what)
