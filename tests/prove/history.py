"""What was seen from outside, one JSON object a line, as ``tests/prove/checker.py`` reads it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class History:
    """Written by one event loop: the order of its lines is the order in which things were seen."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w")
        self._began = time.monotonic()
        self._calls = itertools.count(1)

    def close(self) -> None:
        self._file.close()

    def write(self, what: str, **members: Any) -> None:
        record = {"at": round(time.monotonic() - self._began, 6), "what": what, **members}
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")

    def call(self, do: str, **members: Any) -> int:
        """Before it is made; its number."""
        number = next(self._calls)
        self.write("call", call=number, do=do, **members)
        return number

    def answer(self, call: int, status: int, body: Mapping[str, Any]) -> None:
        self.write("answer", call=call, status=status, body=body)

    def event(self, client: str, name: str, arguments: Sequence[Any]) -> None:
        self.write("event", client=client, name=name, arguments=arguments)
