"""What a trace has of a publish, whichever is told of first: that it is stored, or that it was delivered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from adapters.telemetry.carried import Carried, carried, written
from adapters.telemetry.tracing import EARLY, REMEMBERED, TracingTelemetry
from domain.model import EVERYONE, NOTIFICATION_NEW, Appended, AppendOutcome, Entry, Json, Position
from domain.policy import BATCH_MAX_ITEMS
from domain.ports import Sent

TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER_SPAN}-01"


class Traced:
    def __init__(self, provider: TracerProvider) -> None:
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.telemetry = TracingTelemetry(provider)

    def publish(self, *offsets: int, traceparent: str | None = None, duplicates: int = 0) -> None:
        outcomes = [AppendOutcome.STORED] * len(offsets) + [AppendOutcome.DUPLICATE] * duplicates
        appended = [
            Appended(outcome, f"n-{offset}", Position("e", offset))
            for offset, outcome in zip([*offsets, *range(1, duplicates + 1)], outcomes, strict=True)
        ]
        self.telemetry.published("billing", [], appended, 0.25, traceparent=traceparent)

    def deliver(self, *offsets: int, transport: str = "socketio", connections: int = 1) -> None:
        entries = [
            Entry(Position("e", offset), frozenset((EVERYONE,)), NOTIFICATION_NEW, Json(b'{"title":"hidden"}'))
            for offset in offsets
        ]
        self.telemetry.delivered(entries, [Sent(transport, entry, connections) for entry in entries])

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def traced() -> Traced:
    return Traced(TracerProvider())


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("first", ["published", "delivered"])
def test_a_trace_goes_from_the_publish_over_the_commit_to_each_transport(traced: Traced, first: str) -> None:
    if first == "published":
        traced.publish(7, traceparent=TRACEPARENT)
        traced.deliver(7, connections=3)
    else:
        traced.deliver(7, connections=3)
        traced.publish(7, traceparent=TRACEPARENT)
    (publish,), (commit,), (delivery,) = (traced.named(name) for name in ("publish", "commit", "deliver"))
    assert {format(span.context.trace_id, "032x") for span in traced.spans if span.context} == {TRACE}
    assert publish.parent is not None
    assert format(publish.parent.span_id, "016x") == CALLER_SPAN
    assert commit.parent == delivery.parent == publish.context
    assert attributes(publish) == {
        "synkrone.caller": "billing",
        "synkrone.notifications": 1,
        "synkrone.duplicates": 0,
        "synkrone.id": "n-7",
        "synkrone.cursor": "e:7",
    }
    assert attributes(delivery) == {"synkrone.transport": "socketio", "synkrone.connections": 3}
    assert publish.start_time is not None
    assert publish.end_time is not None
    assert publish.end_time - publish.start_time == 250_000_000


def test_a_batch_is_one_trace_and_a_turn_of_its_deliveries_one_span_a_transport(traced: Traced) -> None:
    traced.publish(1, 2, 3, 4, duplicates=2)
    traced.deliver(1, 2, 3)
    traced.deliver(4, transport="sse", connections=5)
    assert [attributes(span) for span in traced.named("deliver")] == [
        {"synkrone.transport": "socketio", "synkrone.connections": 3},
        {"synkrone.transport": "sse", "synkrone.connections": 5},
    ]
    (publish,) = traced.named("publish")
    assert attributes(publish) == {
        "synkrone.caller": "billing",
        "synkrone.notifications": 6,
        "synkrone.duplicates": 2,
    }
    assert publish.parent is None


@pytest.mark.parametrize("traceparent", ["", "00-0-0-01", f"00-{TRACE}-{CALLER_SPAN}-0g", "é", "0" * 10_000])
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(traced: Traced, traceparent: str) -> None:
    traced.publish(1, traceparent=traceparent)
    (publish,) = traced.named("publish")
    assert publish.parent is None


def test_what_the_caller_does_not_sample_is_not_recorded(traced: Traced) -> None:
    traced.publish(1, traceparent=f"00-{TRACE}-{CALLER_SPAN}-00")
    traced.deliver(1)
    assert traced.spans == ()


def test_what_is_not_sampled_leaves_nothing() -> None:
    traced = Traced(TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    traced.publish(1)
    traced.deliver(1)
    assert traced.spans == ()


def test_what_is_remembered_is_bounded_and_goes_with_the_delivery(traced: Traced) -> None:
    traced.deliver(*range(EARLY + 100))
    assert len(traced.telemetry._early) == EARLY
    traced.publish(*range(10_000, 10_000 + REMEMBERED + 100))
    assert len(traced.telemetry._publishes) == REMEMBERED
    traced.deliver(*range(10_000, 10_000 + REMEMBERED + 100))
    assert not traced.telemetry._publishes


class Two:
    """Servers that share a log. What ``there`` tells ``here`` waits in ``told``."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.there, self.here = Traced(TracerProvider()), Traced(TracerProvider())
        self.there.telemetry.tell(self.told.extend)
        self.here.telemetry.tell(self.told.extend)

    def hear(self) -> None:
        self.here.telemetry.hear(["\n".join(self.told)])


@pytest.mark.parametrize("first", ["told", "delivered"])
def test_what_another_server_stores_is_delivered_in_its_trace(first: str) -> None:
    two = Two()
    two.there.publish(7, traceparent=TRACEPARENT)
    if first == "told":
        two.hear()
        two.here.deliver(7, connections=3)
    else:
        two.here.deliver(7, connections=3)
        assert two.here.spans == ()
        two.hear()
    (publish,), (delivery,) = two.there.named("publish"), two.here.spans
    assert delivery.parent is not None
    assert publish.context is not None
    assert delivery.parent.span_id == publish.context.span_id
    assert delivery.context is not None
    assert format(delivery.context.trace_id, "032x") == TRACE
    assert attributes(delivery) == {"synkrone.transport": "socketio", "synkrone.connections": 3}
    assert delivery.start_time == publish.end_time
    two.hear()
    two.here.deliver(8)
    assert len(two.here.spans) == 1


def test_a_batch_of_another_server_that_came_before_what_is_told_is_a_span_a_turn_and_transport() -> None:
    two = Two()
    two.there.publish(1, 2, 3, 9)
    assert len(two.told) == 2
    two.here.deliver(1, 2)
    two.here.deliver(3)
    two.hear()
    two.here.deliver(9, connections=5)
    assert [attributes(span)["synkrone.connections"] for span in two.here.named("deliver")] == [2, 1, 5]


def test_what_a_server_hears_of_its_own_changes_nothing() -> None:
    two = Two()
    two.there.publish(7)
    two.there.telemetry.hear(two.told)
    two.there.deliver(7)
    two.there.telemetry.hear(two.told)
    two.there.deliver(8)
    assert [span.name for span in two.there.spans] == ["commit", "publish", "deliver"]


def test_what_is_not_sampled_or_not_stored_is_not_told() -> None:
    two = Two()
    two.there.publish(1, traceparent=f"00-{TRACE}-{CALLER_SPAN}-00")
    two.there.publish(duplicates=2)
    assert two.told == []
    two.here.telemetry.hear([f"e 1 1 0 00-{TRACE}-{CALLER_SPAN}-00"])
    two.here.deliver(1)
    assert two.here.spans == ()


def test_a_clock_that_is_behind_makes_no_delivery_shorter_than_nothing() -> None:
    here = Traced(TracerProvider())
    tomorrow = 4_000_000_000 * 1_000_000_000
    here.telemetry.hear([f"e 7 7 {tomorrow} {TRACEPARENT}"])
    here.deliver(7)
    (delivery,) = here.spans
    assert delivery.start_time == delivery.end_time == tomorrow


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x" * 7_999,
        f"e 1 1 0 00-{'0' * 32}-{CALLER_SPAN}-01",
        f"e 1 1 0 {TRACEPARENT}x",
        f"e -1 1 0 {TRACEPARENT}",
        f"e 1 {'9' * 30} 0 {TRACEPARENT}",
        f"e 2 1 0 {TRACEPARENT}",
        f"e \u0661 1 0 {TRACEPARENT}",
    ],
)
def test_what_says_nothing_is_passed_over(traced: Traced, line: str) -> None:
    traced.telemetry.hear([f"{line}\ne 2 2 0 {TRACEPARENT}", ""])
    traced.deliver(1)
    assert traced.spans == ()
    traced.deliver(2)
    assert len(traced.spans) == 1


def test_what_is_heard_is_bounded_and_what_is_past_is_not_kept(traced: Traced) -> None:
    huge = f"e 1 999999999999999999 0 {TRACEPARENT}"
    (one,) = carried([huge])
    assert len(one.positions) == BATCH_MAX_ITEMS
    traced.telemetry.hear([huge] * 3)
    assert len(traced.telemetry._publishes) <= REMEMBERED
    traced.deliver(20_000)
    traced.telemetry._publishes.clear()
    traced.telemetry.hear([huge])
    assert not traced.telemetry._publishes


def test_lines_say_what_they_were_written_from_and_are_short() -> None:
    positions = [Position("e", 1), Position("e", 2), Position("e", 4), Position("f", 5), Position("f", 6)]
    lines = written(Carried(TRACEPARENT, 12, positions))
    assert [position for one in carried(lines) for position in one.positions] == positions
    assert max(len(line) for line in written(Carried(TRACEPARENT, 2**63, [Position("e" * 64, 10**17)]))) <= 200
    # What a newer version adds is passed over.
    assert list(carried([f"{line} more" for line in lines])) == list(carried(lines))
