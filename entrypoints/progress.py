"""How far a command has come: a bar on a terminal, else lines, or lines of JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Final, TextIO

LINE_SECONDS: Final = 5.0
BAR_SECONDS: Final = 0.1
WIDTH: Final = 30


class Progress:
    """Lines, one every few seconds; with ``at_once`` also one as something else begins to be counted."""

    seconds = LINE_SECONDS

    def __init__(self, out: TextIO, *, at_once: bool = False) -> None:
        self._out = out
        self._at_once = at_once
        self._what: str | None = None
        self._due = time.monotonic() + self.seconds

    def show(self, what: str, done: int, total: int | None = None) -> None:
        """``what`` is done, or counted."""
        now = time.monotonic()
        if now >= self._due or (self._at_once and what != self._what):
            self._what, self._due = what, now + self.seconds
            self._write(self._shown(what, done, total))

    def close(self) -> None:
        """Nothing more is shown, for now."""

    def _shown(self, what: str, done: int, total: int | None) -> str:
        return f"{what}: {done}{f' of {total}' if total is not None else ''}\n"

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class JsonProgress(Progress):
    def _shown(self, what: str, done: int, total: int | None) -> str:
        return json.dumps({"step": what, "done": done, "total": total}) + "\n"


class Bar(Progress):
    seconds = BAR_SECONDS
    _is_shown = False

    def close(self) -> None:
        if self._is_shown:
            self._write("\r\x1b[K")
            self._is_shown = False

    def _shown(self, what: str, done: int, total: int | None) -> str:
        self._is_shown = True
        part = min(1.0, done / total) if total else 0.0
        bar = f" [{'#' * round(part * WIDTH):{WIDTH}}] {part:4.0%}" if total else ""
        return f"\r{what}: {done}{bar}\x1b[K"


def progress_for(*, as_json: bool, out: TextIO | None = None, at_once: bool = False) -> Progress:
    """``out`` is where it is shown: standard error, unless said otherwise."""
    out = out or sys.stderr
    if as_json:
        return JsonProgress(out, at_once=at_once)
    return (Bar if out.isatty() else Progress)(out, at_once=at_once)
