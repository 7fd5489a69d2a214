"""The last hour of some metrics, in memory: what a page can draw without a database beside it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from adapters.system.samples import Excerpt, Point
from domain.ports import Clock

SAMPLE_SECONDS: Final = 10.0
SAMPLES_MAX: Final = 360

Labels: TypeAlias = Mapping[str, str]


class Sample(Protocol):
    """One line of a metric, as prometheus_client has it."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def value(self) -> float: ...


class Metric(Protocol):
    """``name`` is that of its lines, but for what they end with. A metric of which nothing was counted has none."""

    @property
    def name(self) -> str: ...

    @property
    def samples(self) -> Sequence[Sample]: ...


class Registry(Protocol):
    """Where metrics are collected, as prometheus_client's CollectorRegistry."""

    def collect(self) -> Iterable[Metric]: ...


Lines: TypeAlias = Mapping[str, Sequence[tuple[Labels, float]]]
"""What a registry held at one moment: the lines by their names, none where a metric has none yet."""

_ENDINGS: Final = ("", "_total", "_bucket")


@dataclass(frozen=True, slots=True)
class Reading:
    """Two readings of a registry, ``seconds`` apart. At the very first one there is nothing ``before``."""

    before: Lines
    after: Lines
    seconds: float

    @property
    def is_first(self) -> bool:
        return not self.before or self.seconds <= 0


class Series(Protocol):
    """How a number is got out of a reading. ``names`` are the lines that it needs."""

    @property
    def names(self) -> Sequence[str]: ...

    def value(self, reading: Reading) -> float | None:
        """None where nothing is known, or nothing happened that it could be about."""


@dataclass(frozen=True, slots=True)
class Level:
    """A gauge, all of its lines together or the highest of them."""

    name: str
    is_highest: bool = False
    where: Labels = field(default_factory=dict)

    @property
    def names(self) -> Sequence[str]:
        return (self.name,)

    def value(self, reading: Reading) -> float | None:
        if self.name not in reading.after:
            return None
        values = _values(reading.after, self.name, self.where)
        return max(values, default=0) if self.is_highest else sum(values)


@dataclass(frozen=True, slots=True)
class Rate:
    """What some counters grew by in a second, together."""

    names: Sequence[str]
    where: Labels = field(default_factory=dict)

    def value(self, reading: Reading) -> float | None:
        if reading.is_first or not any(name in reading.after for name in self.names):
            return None
        grown = sum(
            sum(_values(reading.after, name, self.where)) - sum(_values(reading.before, name, self.where))
            for name in self.names
        )
        return max(0.0, grown) / reading.seconds


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of what a histogram counted in between: within its bucket as if all were spread evenly there."""

    name: str
    quantile: float
    where: Labels = field(default_factory=dict)

    @property
    def names(self) -> Sequence[str]:
        return (f"{self.name}_bucket",)

    def value(self, reading: Reading) -> float | None:
        if reading.is_first:
            return None
        before, after = self._buckets(reading.before), self._buckets(reading.after)
        grown = [(bound, count - before.get(bound, 0.0)) for bound, count in sorted(after.items())]
        return quantile_of(grown, self.quantile)

    def _buckets(self, lines: Lines) -> dict[float, float]:
        (name,) = self.names
        counts: dict[float, float] = {}
        for labels, value in lines.get(name, ()):
            if _matches(labels, self.where):
                bound = float(labels["le"])
                counts[bound] = counts.get(bound, 0.0) + value
        return counts


def quantile_of(buckets: Sequence[tuple[float, float]], quantile: float) -> float | None:
    """Of cumulative counts by their upper bounds, ascending, the last of which is infinite; None of nothing.

    What lies in the last bucket is said to be as large as the bound below it.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    rank = quantile * total
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (count - below)
        low, below = (low, below) if math.isinf(bound) else (bound, count)
    return low


class History:
    """Samples of some series, of which the oldest go. It has to be told when to take one, every SAMPLE_SECONDS."""

    def __init__(
        self,
        registry: Registry,
        series: Mapping[str, Series],
        clock: Clock,
        *,
        every: float = SAMPLE_SECONDS,
        most: int = SAMPLES_MAX,
    ) -> None:
        self._registry = registry
        self._series = dict(series)
        self._wanted = frozenset(name for one in series.values() for name in one.names)
        self._clock = clock
        self.every = every
        self._points: deque[Point] = deque(maxlen=most)
        self._most = most
        self._number = 0
        self._before: Lines = {}
        self._at = clock.monotonic()

    def sample(self) -> None:
        """Take one, now."""
        now = self._clock.monotonic()
        lines = self._read()
        reading = Reading(self._before, lines, now - self._at)
        values = [one.value(reading) for one in self._series.values()]
        self._before, self._at = lines, now
        self._number += 1
        self._points.append(Point(self._number, self._clock.now(), values))

    def after(self, number: int) -> Excerpt:
        """All that is kept of what came after that sample; 0 for all."""
        # A number of another run of the server leads past the end: everything is new to whoever has it.
        after = number if number <= self._number else 0
        points = [point for point in self._points if point.number > after]
        return Excerpt(self.every, self._most, tuple(self._series), points)

    def _read(self) -> Lines:
        lines: dict[str, list[tuple[Labels, float]]] = {}
        for metric in self._registry.collect():
            for ending in _ENDINGS:
                if metric.name + ending in self._wanted:
                    lines.setdefault(metric.name + ending, [])
            for sample in metric.samples:
                if sample.name in self._wanted:
                    lines.setdefault(sample.name, []).append((sample.labels, sample.value))
        return lines


def _values(lines: Lines, name: str, where: Labels) -> list[float]:
    return [value for labels, value in lines.get(name, ()) if _matches(labels, where)]


def _matches(labels: Labels, where: Labels) -> bool:
    return all(labels.get(name) == value for name, value in where.items())
