"""What was measured, and whether it is what it has to be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

Series: TypeAlias = tuple[str, str]
"""The key of a measure and the name of a server."""

SHARE = "% of a core"
"""The unit of what the load generator took."""

LEAST_ROUNDS = 5
"""A target is judged by the median of at least so many."""


def at(key: str, size: int) -> str:
    """The key of a measure at a size: so many connections, publishes a second, or entries in the log."""
    return f"{key}@{size}"


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table. Less is better in all of them; details are left out where there is little room."""

    key: str
    title: str
    unit: str
    is_detail: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What ``over`` has to be: at most so many times ``under``, or ``at_most`` itself where that is None.

    Without ``at_most`` it has to be within noise: at most what the highest round of ``under`` is to its median.
    """

    title: str
    over: Series
    under: Series | None
    at_most: float | None = None


class Verdict(Enum):
    MET = "met"
    MISSED = "missed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Summary:
    """The rounds of one measure on one server; None where a round has no sample."""

    rounds: Sequence[float | None]

    @property
    def values(self) -> list[float]:
        return [value for value in self.rounds if value is not None]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        return {"median": self.median, "min": min(self.values), "max": max(self.values), "rounds": list(self.rounds)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target against what was measured: the ratio within each round, or what each round has, and the limit of it.

    Too few rounds, or small counts, are not judged.
    """

    target: Target
    reached: Sequence[float]
    limit: float
    is_judged: bool

    @property
    def verdict(self) -> Verdict:
        if not self.is_judged:
            return Verdict.NOT_JUDGED
        return Verdict.MET if statistics.median(self.reached) <= self.limit else Verdict.MISSED

    def as_json(self) -> dict[str, Any]:
        over, under = self.target.over, self.target.under
        return {
            "title": self.target.title,
            "over": {"measure": over[0], "server": over[1]},
            "under": None if under is None else {"measure": under[0], "server": under[1]},
            "at_most": self.limit,
            "is_noise": self.target.at_most is None,
            "median": statistics.median(self.reached),
            "min": min(self.reached),
            "max": max(self.reached),
            "verdict": self.verdict.value,
        }


@dataclass(slots=True)
class Results:
    """All samples of all rounds. ``is_full`` tells that the counts were not small; ``failures`` what has no sample."""

    measures: Sequence[Measure]
    targets: Sequence[Target]
    is_full: bool
    round: int = 0
    failures: list[str] = field(default_factory=list)
    _samples: dict[Series, dict[int, list[float]]] = field(default_factory=dict)

    def add(self, key: str, server: str, value: float) -> None:
        """A sample of the present round; of several the median counts."""
        self._samples.setdefault((key, server), {}).setdefault(self.round, []).append(value)

    def summary(self, key: str, server: str) -> Summary | None:
        by_round = self._by_round((key, server))
        return Summary([by_round.get(number) for number in range(self.round + 1)]) if by_round else None

    def _by_round(self, series: Series) -> dict[int, float]:
        return {n: statistics.median(values) for n, values in self._samples.get(series, {}).items()}

    def outcomes(self) -> list[Outcome]:
        """Of the targets for which both sides were measured."""
        found = []
        for target in self.targets:
            over = self._by_round(target.over)
            under = dict.fromkeys(over, 1.0) if target.under is None else self._by_round(target.under)
            both = sorted(over.keys() & under.keys())
            if not both:
                continue
            noise = max(under[n] for n in both) / statistics.median([under[n] for n in both])
            limit = noise if target.at_most is None else target.at_most
            is_judged = self.is_full and len(both) >= LEAST_ROUNDS
            found.append(Outcome(target, [over[n] / under[n] for n in both], limit, is_judged))
        return found

    def as_json(self) -> dict[str, Any]:
        outcomes = self.outcomes()
        judged = [outcome.target for outcome in outcomes]
        servers = dict.fromkeys(server for _, server in self._samples)
        measures: dict[str, Any] = {}
        for measure in self.measures:
            found = {server: summary.as_json() for server in servers if (summary := self.summary(measure.key, server))}
            if found:
                about = {"title": measure.title, "unit": measure.unit, "is_detail": measure.is_detail}
                measures[measure.key] = {**about, "servers": found}
        return {
            "measures": measures,
            "targets": [outcome.as_json() for outcome in outcomes],
            "unmeasured": [target.title for target in self.targets if target not in judged],
            "failures": self.failures,
        }
