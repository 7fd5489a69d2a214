"""Traces, as OpenTelemetry has them: one a publish, over its commit to each transport that it was handed to."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from adapters.telemetry.silent import SilentTelemetry
from domain.model import Appended, AppendOutcome, Draft, Position, TailEntry
from domain.ports import Sent

REMEMBERED: Final = 16_384
"""Of so many entries it is known which publish they came of, until they are delivered."""
EARLY: Final = 1_024
"""So many deliveries are remembered whose publish has not been told of: those of other servers are among them."""

_NANOSECONDS: Final = 1_000_000_000


@dataclass(eq=False, frozen=True, slots=True)
class _Publish:
    span: Span
    stored_at: int


@dataclass(frozen=True, slots=True)
class _Delivery:
    transport: str
    connections: int
    at: int


class TracingTelemetry(SilentTelemetry):
    """A publish is a span from when it was taken, as the child of the caller's ``traceparent`` (W3C Trace Context)
    where there is one; below it lies its commit, and for each transport one from the commit until the transport has it.

    Deliveries are told of by the server that delivers: those of other nodes are in no trace. Nothing of a trace goes to
    clients, and nothing of a notification to a trace but its id.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("synkrone-socket")
        self._context = TraceContextTextMapPropagator()
        self._publishes: OrderedDict[Position, _Publish] = OrderedDict()
        self._early: OrderedDict[Position, list[_Delivery]] = OrderedDict()

    def published(
        self,
        by: str,
        drafts: Sequence[Draft],
        appended: Sequence[Appended],
        seconds: float,
        *,
        traceparent: str | None = None,
    ) -> None:
        stored_at = time.time_ns()
        taken_at = stored_at - round(seconds * _NANOSECONDS)
        parent = Context() if traceparent is None else self._context.extract({"traceparent": traceparent}, Context())
        publish = self._tracer.start_span("publish", parent, SpanKind.SERVER, start_time=taken_at)
        if publish.is_recording():
            new = [one.position for one in appended if one.outcome is AppendOutcome.STORED]
            publish.set_attribute("synkrone.caller", by)
            publish.set_attribute("synkrone.notifications", len(appended))
            publish.set_attribute("synkrone.duplicates", len(appended) - len(new))
            if len(appended) == 1:
                publish.set_attribute("synkrone.id", appended[0].id)
                publish.set_attribute("synkrone.cursor", str(appended[0].position))
            commit = self._tracer.start_span("commit", set_span_in_context(publish, Context()), start_time=taken_at)
            commit.end(stored_at)
            self._await(_Publish(publish, stored_at), new)
        publish.end(stored_at)

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        at = time.time_ns()
        of_publishes: dict[tuple[_Publish, str], int] = {}
        for one in sent:
            publish = self._publishes.get(one.entry.position)
            if publish is not None:
                key = publish, one.transport
                of_publishes[key] = of_publishes.get(key, 0) + one.connections
            else:
                delivery = _Delivery(one.transport, one.connections, at)
                self._early.setdefault(one.entry.position, []).append(delivery)
        while len(self._early) > EARLY:
            self._early.popitem(last=False)
        for (publish, transport), connections in of_publishes.items():
            self._deliver(publish, _Delivery(transport, connections, at))
        for entry in entries:
            self._publishes.pop(entry.position, None)

    def _await(self, publish: _Publish, positions: Sequence[Position]) -> None:
        """Some may be delivered by now: who is answered and who is delivered to go on in the same turn."""
        early: dict[str, int] = {}
        for position in positions:
            deliveries = self._early.pop(position, None)
            if deliveries is None:
                self._publishes[position] = publish
            for one in deliveries or ():
                early[one.transport] = early.get(one.transport, 0) + one.connections
        while len(self._publishes) > REMEMBERED:
            self._publishes.popitem(last=False)
        for transport, connections in early.items():
            self._deliver(publish, _Delivery(transport, connections, publish.stored_at))

    def _deliver(self, publish: _Publish, delivery: _Delivery) -> None:
        context = set_span_in_context(publish.span, Context())
        span = self._tracer.start_span("deliver", context, SpanKind.PRODUCER, start_time=publish.stored_at)
        span.set_attribute("synkrone.transport", delivery.transport)
        span.set_attribute("synkrone.connections", delivery.connections)
        span.end(delivery.at)
