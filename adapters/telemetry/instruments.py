"""What is counted in this process, as Prometheus reads it.

Of prometheus_client the exposition is used, and not its counters: it has no way to observe a value several times at
once, which a notification for 10,000 connections asks for, and a lock in each. These here are for one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

OTHER: Final = "other"
"""What a label says of everything that there is no room for."""

Labels = tuple[str, ...]


class _Instrument(Collector):
    """One metric of a registry. At most ``at_most`` sets of labels are told apart, and the rest counts as OTHER."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = labels
        registry.register(self)

    def describe(self) -> Iterator[Metric]:
        raise NotImplementedError


class Counter(_Instrument):
    """Only ever grows. ``name`` is without ``_total``.

    The labels ``known`` are there from the start, with 0: of a series that begins with 1, nobody sees the first.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        known: Sequence[Labels] = (),
        at_most: int = 100,
    ) -> None:
        self._values: dict[Labels, float] = dict.fromkeys(known, 0) if labels else {(): 0}
        self._at_most = at_most
        self._others: Labels = (OTHER,) * len(labels)
        super().__init__(registry, name, documentation, labels)

    def add(self, *labels: str, by: float = 1) -> None:
        values = self._values
        if labels in values:
            values[labels] += by
        elif len(values) < self._at_most:
            values[labels] = by
        else:
            values[self._others] = values.get(self._others, 0) + by

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self.name, self.documentation, labels=self.labels)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, number in list(self._values.items()):
            family.add_metric(labels, number)
        yield family


class _Series:
    """Of a histogram, with one set of labels: how many values fell into each bucket, and their sum."""

    __slots__ = ("numbers", "total")

    def __init__(self, buckets: int) -> None:
        self.numbers = [0] * buckets
        self.total = 0.0


class Histogram(_Instrument):
    """How values are spread over ``buckets``, which are upper bounds in order."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        at_most: int = 20,
    ) -> None:
        self._buckets = tuple(buckets)
        self._names = [*map(floatToGoString, buckets), "+Inf"]
        self._series: dict[Labels, _Series] = {} if labels else {(): self._new()}
        self._at_most = at_most
        self._others: Labels = (OTHER,) * len(labels)
        super().__init__(registry, name, documentation, labels)

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """The same value, so many times."""
        series = self._series.get(labels)
        if series is None:
            known = labels if len(self._series) < self._at_most else self._others
            series = self._series.setdefault(known, self._new())
        series.numbers[bisect_left(self._buckets, value)] += times
        series.total += value * times

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self.name, self.documentation, labels=self.labels)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, series in list(self._series.items()):
            numbers = accumulate(series.numbers)
            family.add_metric(labels, list(zip(self._names, numbers, strict=True)), series.total)
        yield family

    def _new(self) -> _Series:
        return _Series(len(self._buckets) + 1)


class Gauge(_Instrument):
    """What is read when it is asked for: a value for each set of labels there is now. ``read`` runs in the loop."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        read: Callable[[], Mapping[Labels, float]],
        at_most: int = 100,
    ) -> None:
        self._read = read
        self._at_most = at_most
        self._others: Labels = (OTHER,) * len(labels)
        super().__init__(registry, name, documentation, labels)

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self.name, self.documentation, labels=self.labels)

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        values = sorted(self._read().items(), key=lambda item: item[1], reverse=True)
        for labels, number in values[: self._at_most]:
            family.add_metric(labels, number)
        if len(values) > self._at_most:
            family.add_metric(self._others, sum(number for _, number in values[self._at_most :]))
        yield family
