"""What was measured, in words and for programs, and what it says of a machine."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from entrypoints.bench.load import Measured


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the server's process: processor time in seconds, and resident memory in bytes, from /proc."""

    processor: float
    resident: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Raises OSError where there is no such process, or no /proc."""
        # The name of the program may hold anything, up to the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return cls(ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


@dataclass(frozen=True, slots=True)
class Report:
    """``server_cores`` is the share of a core that the server had, and ``server_bytes`` its memory in the end, where it
    was started for this."""

    connections: int
    seconds: float
    published: int
    refused: int
    received: int
    publishes_per_second: float
    answer_ms: dict[str, float | None]
    delivery_ms: dict[str, float | None]
    late_seconds: float
    server_cores: float | None = None
    server_bytes: int | None = None

    @classmethod
    def of(cls, measured: Measured, seconds: float, before: Usage | None, after: Usage | None) -> Report:
        used = after.processor - before.processor if before is not None and after is not None else None
        return cls(
            measured.connected,
            round(seconds, 3),
            measured.published,
            measured.refused,
            len(measured.deliveries),
            round(measured.published / seconds, 1),
            _percentiles(measured.answers),
            _percentiles(measured.deliveries),
            round(measured.late, 3),
            round(used / seconds, 3) if used is not None else None,
            after.resident if after is not None else None,
        )

    @property
    def has_lost(self) -> bool:
        return self.received < self.published

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    def as_text(self) -> str:
        lines = [
            f"connections       {self.connections}",
            f"publishes/s       {self.publishes_per_second} ({self.published} in {self.seconds:.1f} s)",
            f"answered          {_times(self.answer_ms)}",
            f"published to had  {_times(self.delivery_ms)} ({self.received} of {self.published})",
        ]
        if self.refused:
            lines.append(f"refused           {self.refused}")
        if self.server_cores is not None and self.server_bytes is not None:
            lines.append(f"server            {self.server_cores:.2f} of a core, {self.server_bytes / 2**20:.0f} MiB")
        return "\n".join([*lines, *self._hints()])

    def _hints(self) -> Sequence[str]:
        hints = []
        if self.late_seconds > 1:
            hints.append(
                f"The load fell behind by {self.late_seconds:.1f} s: this is the most that both do here together."
            )
        if self.server_cores:
            most = self.publishes_per_second / self.server_cores
            hints.append(
                f"Reckoned from that, a core of the server does about {most:.0f} such publishes/s, each to one client; "
                "plan for half of it. The load itself runs on this machine too."
            )
        return hints


def _percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(seconds)
    return {f"p{percent}": _at(ordered, percent) for percent in (50, 99)}


def _at(ordered: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many of them do not exceed, in milliseconds; None of none."""
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] * 1000, 2) if ordered else None


def _times(milliseconds: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value if value is not None else '-'} ms" for name, value in milliseconds.items())
