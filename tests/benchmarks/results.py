"""What was measured, what it has to reach, and both as tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from tests.benchmarks.servers import KINDS, NODEJS, OURS

Series: TypeAlias = tuple[str, str]
"""The key of a measure and the name of a server."""

LEAST_ROUNDS = 5
"""A target is judged by the median of at least so many."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table. Less is better in all of them."""

    key: str
    title: str
    unit: str


@dataclass(frozen=True, slots=True)
class Target:
    """What the median of ``over`` divided by that of ``under`` has to be: at least, at most, or within noise.

    Within noise: at most what the highest of ``under`` is to its median.
    """

    title: str
    over: Series
    under: Series
    at_least: float | None = None
    at_most: float | None = None


class Verdict(Enum):
    MET = "met"
    MISSED = "**missed**"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Summary:
    """The rounds of one measure on one server."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(min(self.values))} to {number(max(self.values))})"

    def as_json(self) -> dict[str, Any]:
        return {"median": self.median, "min": min(self.values), "max": max(self.values), "rounds": list(self.values)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target against what was measured; ``spread`` has the lowest and highest ratio of a round.

    Too few rounds, or small counts, are not judged.
    """

    target: Target
    ratio: float
    spread: tuple[float, float]
    limit: float
    is_judged: bool

    @property
    def verdict(self) -> Verdict:
        if not self.is_judged:
            return Verdict.NOT_JUDGED
        is_met = self.ratio >= self.limit if self.target.at_least is not None else self.ratio <= self.limit
        return Verdict.MET if is_met else Verdict.MISSED

    @property
    def required(self) -> str:
        if self.target.at_least is not None:
            return f"≥ {number(self.limit)} ×"
        noise = "" if self.target.at_most is not None else ", the noise"
        return f"≤ {number(self.limit)} ×{noise}"

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.target.title,
            "ratio": self.ratio,
            "min": self.spread[0],
            "max": self.spread[1],
            "required": self.required,
            "verdict": self.verdict.name.lower(),
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
        values = self._by_round((key, server))
        return Summary(list(values.values())) if values else None

    def _by_round(self, series: Series) -> dict[int, float]:
        return {n: statistics.median(values) for n, values in self._samples.get(series, {}).items()}

    def outcomes(self) -> list[Outcome]:
        """Of the targets for which both sides were measured."""
        found = []
        for target in self.targets:
            over, under = self._by_round(target.over), self._by_round(target.under)
            both = over.keys() & under.keys()
            if not both:
                continue
            ratios = [over[n] / under[n] for n in both]
            above, below = Summary([over[n] for n in both]), Summary([under[n] for n in both])
            limit = target.at_least or target.at_most or max(below.values) / below.median
            is_judged = self.is_full and len(both) >= LEAST_ROUNDS
            found.append(Outcome(target, above.median / below.median, (min(ratios), max(ratios)), limit, is_judged))
        return found

    def unmeasured(self) -> list[Target]:
        measured = [outcome.target for outcome in self.outcomes()]
        return [target for target in self.targets if target not in measured]

    def measures_table(self) -> str:
        """One row a measure, one column a server: the median, and the lowest and highest round."""
        rows = []
        for measure in self.measures:
            found = [self.summary(measure.key, kind.name) for kind in KINDS]
            if any(found):
                rows.append((f"{measure.title}, {measure.unit}", *(str(summary or "") for summary in found)))
        return table([("median (lowest to highest round)", *(kind.title for kind in KINDS)), *rows])

    def targets_table(self) -> str:
        """One row a target: what was reached, what has to be, and whether it was."""
        rows = [("target", "reached (lowest to highest round)", "required", "")]
        for outcome in self.outcomes():
            low, high = outcome.spread
            reached = f"{number(outcome.ratio)} × ({number(low)} to {number(high)})"
            rows.append((outcome.target.title, reached, outcome.required, outcome.verdict.value))
        rows += [(target.title, "", "", "not measured") for target in self.unmeasured()]
        return table(rows)

    def as_json(self) -> dict[str, Any]:
        measures: dict[str, dict[str, Any]] = {}
        for key, server in self._samples:
            if (summary := self.summary(key, server)) is not None:
                measures.setdefault(key, {})[server] = summary.as_json()
        return {
            "measures": measures,
            "targets": [outcome.as_json() for outcome in self.outcomes()],
            "unmeasured": [target.title for target in self.unmeasured()],
            "failures": self.failures,
        }


MEASURES = (
    Measure("unicast", "unicast to user rooms, CPU per delivery", "µs"),
    Measure("room", "one room, paced, CPU per delivery", "µs"),
    Measure("limit", "the same as a bare loop of send(): the kernel's part", "µs"),
    Measure("burst", "one room, burst, CPU per delivery", "µs"),
    Measure("connection", "an authenticated connection, CPU", "µs"),
    Measure("memory", "an idle authenticated connection, memory", "KiB"),
    Measure("idle", "an idle authenticated connection, CPU a second", "µs"),
    Measure("p99", "delivery time to a room, 99th percentile", "ms"),
    Measure("p99-slow", "the same beside a slow reader", "ms"),
    Measure("return", "all cut at once: until all are back", "s"),
    Measure("return-cpu", "all cut at once: CPU per client that returned", "µs"),
    Measure("return-stall", "all cut at once: longest stall of the server's loop", "ms"),
    Measure("publish", "posted one by one to user rooms, and here stored: CPU per delivery", "µs"),
    Measure("publish-batch", "posted in batches to user rooms, and here stored: CPU per delivery", "µs"),
    Measure("publish-p50", "1,000 posts a second, from post to client, median", "ms"),
    Measure("publish-p99", "the same, 99th percentile", "ms"),
    Measure("rejoin-cpu", "all return with a cursor, nothing missed: CPU per client", "µs"),
    Measure("recover-cpu", "all return with a cursor, 10 missed: CPU per client", "µs"),
    Measure("recover", "the same: until all have what they missed", "s"),
    Measure("recover-stall", "the same: longest stall of the server's loop", "ms"),
)

LOG_MEASURES = (
    Measure("append", "appending entries one by one, CPU of one", "µs"),
    Measure("append-batch", "appending in batches of 100, CPU per entry", "µs"),
    Measure("replay", "reading 10 missed entries from the file", "µs"),
    Measure("register", "registering in a new role, CPU", "µs"),
    Measure("count", "counting an inbox of 20", "µs"),
    Measure("open", "opening the store", "ms"),
)


def at(key: str, size: int) -> str:
    """The key of a measure at a size: so many connections, or entries in the log."""
    return f"{key}@{size}"


def measures(log: Sequence[int]) -> tuple[Measure, ...]:
    """``log`` has the sizes of the log, in entries."""
    at_sizes = (
        Measure(at(one.key, size), f"{one.title}, in a log of {size:,}", one.unit)
        for one in LOG_MEASURES
        for size in log
    )
    return (*MEASURES, *at_sizes)


def targets(growth: Sequence[int], log: Sequence[int]) -> tuple[Target, ...]:
    """``growth`` has numbers of connections, ``log`` of entries."""
    ours, node = OURS.name, NODEJS.name
    least, most = growth[0], growth[-1]
    short, long = log[0], log[-1]
    return (
        _cheaper("deliveries per CPU second, unicast to user rooms", "unicast", 2),
        _cheaper("deliveries per CPU second, one room, paced", "room", 2),
        _cheaper("deliveries per CPU second, one room, burst", "burst", 20),
        _cheaper("authenticated connections per CPU second", "connection", 3.5),
        Target("memory per idle authenticated connection", ("memory", ours), ("memory", node), at_most=0.4),
        *(
            Target(
                f"CPU per delivery, {what}, at {most:,} connections against {least:,}",
                (at(key, most), ours),
                (at(key, least), ours),
                at_most=1.25,
            )
            for key, what in (("unicast", "unicast"), ("room", "one room, paced"))
        ),
        Target("99th percentile of delivery times, with a slow reader against none", ("p99-slow", ours), ("p99", ours)),
        _cheaper("deliveries per CPU second, posted one by one, stored here and not there", "publish", 1),
        _cheaper("deliveries per CPU second, posted in batches, stored here and not there", "publish-batch", 1),
        Target(
            "99th percentile from post to client, stored here and not there",
            ("publish-p99", ours),
            ("publish-p99", node),
            at_most=1.5,
        ),
        Target(
            "CPU per client that recovers 10 missed against a plain return",
            ("recover-cpu", ours),
            ("rejoin-cpu", ours),
            at_most=1.5,
        ),
        *(
            Target(
                f"{one.title}, in a log of {long:,} against {short:,}",
                (at(one.key, long), ours),
                (at(one.key, short), ours),
                at_most=1.25,
            )
            for one in LOG_MEASURES
        ),
    )


def _cheaper(title: str, key: str, times: float) -> Target:
    """Work a CPU second is the inverse of CPU a piece of work: the other's CPU over ours."""
    return Target(title, (key, NODEJS.name), (key, OURS.name), at_least=times)


def number(value: float) -> str:
    """Three digits or so."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    return "\n".join(_line(cells) for cells in (head, ("---",) * len(head), *body))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
