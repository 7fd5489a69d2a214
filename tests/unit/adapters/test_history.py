"""The last hour of some metrics: what is kept, and which numbers are told and which are not known."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from adapters.telemetry.history import History, Level, Quantile, Rate, Series, quantile_of
from tests.doubles import START, ManualClock

INFINITE = float("inf")


class Measured:
    """A registry with something in it, and its history."""

    def __init__(self, most: int = 5) -> None:
        self.clock = ManualClock()
        registry = CollectorRegistry()
        self.connections = Gauge("connections", "Now.", ["role"], registry=registry)
        self.refusals = Counter("refusals", "Ever.", ["code"], registry=registry)
        self.seconds = Histogram("seconds", "Each.", ["transport"], registry=registry, buckets=(0.01, 0.1, 1))
        series: dict[str, Series] = {
            "connections": Level("connections"),
            "most": Level("connections", is_highest=True),
            "refusals": Rate(("refusals_total", "never_total")),
            "of_one": Rate(("refusals_total",), {"code": "a"}),
            "p50": Quantile("seconds", 0.5),
            "absent": Level("absent"),
            "absent_rate": Rate(("absent_total",)),
            "absent_p50": Quantile("absent", 0.5),
        }
        self.history = History(registry, series, self.clock, every=10, most=most)

    def after(self, seconds: float = 10) -> dict[str, float | None]:
        """The newest sample, by names, taken so many seconds later."""
        self.clock.advance(seconds)
        self.history.sample()
        excerpt = self.history.after(0)
        return dict(zip(excerpt.names, excerpt.points[-1].values, strict=True))


def test_a_sample_has_levels_rates_and_quantiles_of_the_time_since_the_one_before() -> None:
    measured = Measured()
    measured.connections.labels("freelance").set(3)
    measured.connections.labels("company").set(4)
    measured.refusals.labels("a").inc(100)
    first = measured.after()
    assert (first["connections"], first["most"]) == (7, 4)
    # What was counted before the first sample says nothing about how fast.
    assert (first["refusals"], first["p50"]) == (None, None)
    measured.refusals.labels("a").inc(5)
    measured.refusals.labels("b").inc(15)
    for _ in range(10):
        measured.seconds.labels("sse").observe(0.05)
    second = measured.after(20)
    assert (second["refusals"], second["of_one"]) == (1.0, 0.25)
    assert second["p50"] == pytest.approx(0.055)
    third = measured.after()
    assert (third["refusals"], third["of_one"]) == (0, 0)
    assert third["p50"] is None, "nothing was observed meanwhile"


def test_what_is_not_measured_is_unknown_and_not_nothing() -> None:
    measured = Measured()
    measured.after()
    sample = measured.after()
    assert [sample[name] for name in ("absent", "absent_rate", "absent_p50")] == [None, None, None]


def test_what_is_measured_and_never_happened_is_zero() -> None:
    measured = Measured()
    assert measured.after()["connections"] == 0
    assert measured.after()["refusals"] == 0


def test_it_is_bounded_and_a_reader_gets_only_what_is_new() -> None:
    measured = Measured(most=3)
    for _ in range(5):
        measured.after()
    kept = measured.history.after(0)
    assert ([point.number for point in kept.points], kept.every, kept.keeps) == ([3, 4, 5], 10, 3)
    assert [(point.time - START).total_seconds() for point in kept.points] == [30, 40, 50]
    assert [point.number for point in measured.history.after(4).points] == [5]
    assert list(measured.history.after(5).points) == []
    assert len(measured.history.after(1_000).points) == 3, "the number is one of a server that ran before"


@pytest.mark.parametrize(
    ("buckets", "quantile", "expected"),
    [
        ([], 0.5, None),
        ([(0.1, 0), (INFINITE, 0)], 0.5, None),
        ([(0.1, 10), (INFINITE, 10)], 0.5, 0.05),
        ([(0.1, 10), (INFINITE, 10)], 1.0, 0.1),
        ([(0.1, 0), (0.2, 10), (INFINITE, 10)], 0.5, 0.15),
        ([(0.1, 99), (0.2, 100), (INFINITE, 100)], 0.99, 0.1),
        ([(0.1, 1), (0.2, 1), (INFINITE, 100)], 0.99, 0.2),
    ],
)
def test_a_quantile_lies_within_its_bucket(
    buckets: list[tuple[float, float]], quantile: float, expected: float | None
) -> None:
    assert quantile_of(buckets, quantile) == (expected if expected is None else pytest.approx(expected))
