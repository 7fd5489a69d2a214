"""What is counted: by what, how often, and that labels stay few."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from adapters.contract.connect_requests import connect_request
from adapters.telemetry.exposition import Exposition
from adapters.telemetry.instruments import Counter, Gauge, Histogram
from adapters.telemetry.metrics import Metrics
from domain.model import (
    EVERYONE,
    Appended,
    AppendOutcome,
    Audience,
    ConnectionId,
    DisconnectReason,
    Draft,
    Entry,
    Identity,
    Json,
    Notification,
    Position,
    RecoveryReason,
    UserId,
)
from domain.ports import Sent
from tests.doubles import START, ManualClock

CONNECTION = ConnectionId("c-1")
IDENTITY = Identity(UserId("42"), "freelance", "", START)
HELLO = connect_request({"token": "x"}, remote_address="203.0.113.7", transport="websocket")


class Counted:
    """Metrics whose turns end when a test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.registry = CollectorRegistry()
        self._waiting: list[Callable[[], None]] = []
        self.metrics = Metrics(self.registry, self.clock, later=self._waiting.append)

    def end_turn(self) -> None:
        for do in self._waiting:
            do()
        self._waiting.clear()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def entry(offset: int, event: str = "notification.new", *, at: timedelta | None = timedelta()) -> Entry:
    stored_at = START + at if at is not None else None
    return Entry(Position("e", offset), frozenset((EVERYONE,)), event, Json(b"{}"), stored_at=stored_at)


def draft() -> Draft:
    to = Audience.everyone()
    return Draft(Notification("n", "t", None, None, None, to.kind, START, None), to.rooms, own_id=False)


def test_a_counter_tells_so_many_labels_apart_and_no_more() -> None:
    registry = CollectorRegistry()
    counter = Counter(registry, "x", "help", ("a",), at_most=3)
    for number in range(100):
        counter.add(str(number))
    counter.add("1", by=10)
    values = {sample.labels["a"]: sample.value for metric in registry.collect() for sample in metric.samples}
    assert values == {"0": 1, "1": 11, "2": 1, "other": 97}


def test_a_counter_without_labels_begins_at_nothing() -> None:
    registry = CollectorRegistry()
    Counter(registry, "x", "help")
    assert registry.get_sample_value("x_total") == 0


def test_a_histogram_counts_a_value_as_often_as_it_came() -> None:
    registry = CollectorRegistry()
    histogram = Histogram(registry, "x", "help", ("a",), buckets=(0.1, 1), at_most=2)
    histogram.observe(0.1, "few", times=3)
    histogram.observe(0.2, "few", times=10_000)
    histogram.observe(7, "few")
    for name in ("b", "c", "d"):
        histogram.observe(1, name)

    def bucket(name: str, upto: str) -> float | None:
        return registry.get_sample_value("x_bucket", {"a": name, "le": upto})

    assert [bucket("few", upto) for upto in ("0.1", "1.0", "+Inf")] == [3, 10_003, 10_004]
    assert registry.get_sample_value("x_count", {"a": "few"}) == 10_004
    assert registry.get_sample_value("x_sum", {"a": "few"}) == pytest.approx(0.3 + 2000 + 7)
    assert registry.get_sample_value("x_count", {"a": "other"}) == 2


def test_a_gauge_says_what_is_so_now_the_largest_first() -> None:
    registry = CollectorRegistry()
    now: dict[tuple[str, ...], float] = {("a",): 1, ("b",): 5, ("c",): 3}
    Gauge(registry, "x", "help", ("of",), read=lambda: now, at_most=2)
    assert registry.get_sample_value("x", {"of": "b"}) == 5
    assert registry.get_sample_value("x", {"of": "other"}) == 1
    now.clear()
    assert registry.get_sample_value("x", {"of": "b"}) is None


def test_deliveries_are_counted_for_each_connection_and_timed_once_they_are_written(counted: Counted) -> None:
    first, changed, untimed = entry(1), entry(2, "notification.updated"), entry(3, at=None)
    sent = [
        Sent("socketio", first, 10_000),
        Sent("sse", first, 2),
        Sent("socketio", changed, 1),
        Sent("sse", untimed, 1),
    ]
    counted.metrics.delivered([first, changed, untimed, entry(4)], sent)
    counted.clock.advance(0.02)
    counted.end_turn()
    assert counted.value("synkrone_entries_total", event="notification.new") == 3
    assert counted.value("synkrone_entries_total", event="notification.updated") == 1
    assert counted.value("synkrone_deliveries_total", transport="socketio", event="notification.new") == 10_000
    assert counted.value("synkrone_deliveries_total", transport="sse", event="notification.new") == 3
    assert counted.value("synkrone_publish_to_socket_seconds_count", transport="socketio") == 10_000
    assert counted.value("synkrone_publish_to_socket_seconds_count", transport="sse") == 2
    assert counted.value("synkrone_publish_to_socket_seconds_bucket", transport="socketio", le="0.01") == 0
    assert counted.value("synkrone_publish_to_socket_seconds_bucket", transport="socketio", le="0.025") == 10_000


def test_a_clock_that_was_set_back_makes_no_time_negative(counted: Counted) -> None:
    late = entry(1, at=timedelta(seconds=5))
    counted.metrics.delivered([late], [Sent("sse", late, 1)])
    counted.end_turn()
    assert counted.value("synkrone_publish_to_socket_seconds_sum", transport="sse") == 0


def test_a_batch_is_one_publish_of_so_many_notifications(counted: Counted) -> None:
    appended = [
        Appended(AppendOutcome.STORED, "n", Position("e", 1)),
        Appended(AppendOutcome.STORED, "m", Position("e", 2)),
    ]
    appended.append(Appended(AppendOutcome.DUPLICATE, "n", Position("e", 1)))
    counted.metrics.published("billing", [draft()] * 3, appended, 0.004)
    counted.metrics.published("billing", [draft()], appended[:1], 0.004)
    assert counted.value("synkrone_publishes_total", caller="billing") == 2
    assert counted.value("synkrone_notifications_total", caller="billing", outcome="stored") == 3
    assert counted.value("synkrone_notifications_total", caller="billing", outcome="duplicate") == 1
    assert counted.value("synkrone_publish_to_commit_seconds_count") == 2


def test_what_is_refused_for_coming_too_often_is_counted_together(counted: Counted) -> None:
    counted.metrics.publish_refused("billing", "rate_limited", "x")
    counted.metrics.publish_refused("billing", "too_large", "x")
    counted.metrics.request_refused("203.0.113.7", "GET /v1/inbox", "rate_limited", "x")
    counted.metrics.disconnected(CONNECTION, IDENTITY, DisconnectReason.RATE_LIMITED, None)
    assert [
        counted.value("synkrone_rate_limited_total", what=what) for what in ("publish", "request", "connection")
    ] == [
        1,
        1,
        1,
    ]
    assert counted.value("synkrone_publish_refusals_total", caller="billing", code="too_large") == 1


def test_a_connection_is_counted_by_whether_it_continued(counted: Counted) -> None:
    counted.metrics.connected(CONNECTION, IDENTITY, HELLO, None, recovered=True, reason=None)
    counted.metrics.connected(CONNECTION, IDENTITY, HELLO, None, recovered=False, reason=RecoveryReason.TRIMMED)
    counted.metrics.refused(CONNECTION, HELLO, "invalid_token", "x")
    assert counted.value("synkrone_connects_total", transport="websocket", recovered="true") == 1
    assert counted.value("synkrone_connects_total", transport="websocket", recovered="false") == 1
    assert counted.value("synkrone_cursor_refusals_total", reason="trimmed") == 1
    assert counted.value("synkrone_connect_refusals_total", code="invalid_token") == 1


def test_it_is_given_as_what_is_asked_for(counted: Counted) -> None:
    exposition = Exposition(counted.registry)
    media_type, body = exposition.expose("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    of_open_metrics = {family.name for family in parse_open_metrics(body.decode())}  # type: ignore[no-untyped-call]
    for accept in ("", "*/*", "text/html", "text/plain; version=1.0.0; escaping=x"):
        media_type, body = exposition.expose(accept)
        assert media_type == "text/plain; version=0.0.4; charset=utf-8"
        assert {family.name for family in parse_text(body.decode())} == of_open_metrics
