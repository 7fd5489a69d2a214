"""What a trace has of a publish, whichever is told of first: that it is stored, or that it was delivered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from adapters.telemetry.tracing import EARLY, REMEMBERED, TracingTelemetry
from domain.model import EVERYONE, NOTIFICATION_NEW, Appended, AppendOutcome, Entry, Json, Position
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
