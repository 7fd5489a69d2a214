"""Traces, as OpenTelemetry has them: one a publish, over its commit to each transport that it was handed to."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from adapters.telemetry.carried import Carried, carried, written
from adapters.telemetry.silent import SilentTelemetry
from domain.model import Appended, AppendOutcome, Draft, Position, TailEntry
from domain.ports import Sent

REMEMBERED: Final = 16_384
"""Of so many entries it is known which publish they came of, until they are delivered."""
EARLY: Final = 1_024
"""Of so many entries it is remembered that they were delivered, whose publish has not been told of."""

_NANOSECONDS: Final = 1_000_000_000


@dataclass(eq=False, frozen=True, slots=True)
class _Publish:
    """``context`` is that of its span, and ``stored_at`` in nanoseconds since 1970."""

    context: Context
    stored_at: int


@dataclass(frozen=True, slots=True)
class _Delivery:
    """Of one turn to one transport, at a time in nanoseconds since 1970."""

    transport: str
    at: int


class TracingTelemetry(SilentTelemetry):
    """A publish is a span from when it was taken, as the child of the caller's ``traceparent`` (W3C Trace Context)
    where there is one; below it lies its commit, and for each transport one from the commit until the transport has it.

    Each server has the deliveries that it makes itself. Of what others store it ``hear``s to which trace it belongs,
    and tells them what it stores, if it is to ``tell``. Nothing of a trace goes to clients, and nothing of a
    notification to a trace but its id.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("synkrone-socket")
        self._context = TraceContextTextMapPropagator()
        self._publishes: OrderedDict[Position, _Publish] = OrderedDict()
        self._early: OrderedDict[Position, list[tuple[_Delivery, int]]] = OrderedDict()
        self._delivered: Position | None = None
        self._tell: Callable[[Sequence[str]], None] | None = None

    def tell(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have other servers told by this, in lines that they ``hear``."""
        self._tell = tell

    def hear(self, messages: Sequence[str]) -> None:
        """What other servers tell of what they have stored, it may be after it was delivered here.

        Whoever can tell may say anything: what is no such line is passed over.
        """
        for one in carried(messages):
            context = self._context.extract({"traceparent": one.traceparent}, Context())
            parent = get_current_span(context).get_span_context()
            if parent.is_valid and parent.trace_flags.sampled:
                self._await(_Publish(context, one.stored_at), one.positions)

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
            stored = [one for one in appended if one.outcome is AppendOutcome.STORED]
            new = [one.position for one in stored if not one.waits]
            publish.set_attribute("synkrone.caller", by)
            publish.set_attribute("synkrone.notifications", len(appended))
            publish.set_attribute("synkrone.duplicates", len(appended) - len(stored))
            if len(appended) == 1:
                publish.set_attribute("synkrone.id", appended[0].id)
            if len(appended) == 1 and not appended[0].waits:
                publish.set_attribute("synkrone.cursor", str(appended[0].position))
            context = set_span_in_context(publish, Context())
            commit = self._tracer.start_span("commit", context, start_time=taken_at)
            commit.end(stored_at)
            self._await(_Publish(context, stored_at), new)
            self._tell_others(context, stored_at, new)
        publish.end(stored_at)

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        at = time.time_ns()
        of_publishes: dict[_Publish, dict[_Delivery, int]] = {}
        for one in sent:
            publish = self._publishes.get(one.entry.position)
            delivery = _Delivery(one.transport, at)
            if publish is not None:
                deliveries = of_publishes.setdefault(publish, {})
                deliveries[delivery] = deliveries.get(delivery, 0) + one.connections
            else:
                self._early.setdefault(one.entry.position, []).append((delivery, one.connections))
        while len(self._early) > EARLY:
            self._early.popitem(last=False)
        for publish, deliveries in of_publishes.items():
            self._deliver(publish, deliveries)
        for entry in entries:
            self._publishes.pop(entry.position, None)
        if entries:
            self._delivered = entries[-1].position

    def _tell_others(self, context: Context, stored_at: int, positions: Sequence[Position]) -> None:
        if self._tell is None or not positions:
            return
        carrier: dict[str, str] = {}
        self._context.inject(carrier, context)
        self._tell(written(Carried(carrier["traceparent"], stored_at, positions)))

    def _await(self, publish: _Publish, positions: Sequence[Position]) -> None:
        """Some may be delivered by now: who is answered and who is delivered to go on in the same turn, and what others
        tell may come behind what they store."""
        early: dict[_Delivery, int] = {}
        for position in positions:
            deliveries = self._early.pop(position, None)
            if deliveries is None and not self._is_past(position):
                self._publishes[position] = publish
            for delivery, connections in deliveries or ():
                early[delivery] = early.get(delivery, 0) + connections
        while len(self._publishes) > REMEMBERED:
            self._publishes.popitem(last=False)
        self._deliver(publish, early)

    def _is_past(self, position: Position) -> bool:
        """Whether it was delivered, to nobody here."""
        last = self._delivered
        return last is not None and position.epoch == last.epoch and position.offset <= last.offset

    def _deliver(self, publish: _Publish, deliveries: Mapping[_Delivery, int]) -> None:
        for delivery, connections in deliveries.items():
            span = self._tracer.start_span("deliver", publish.context, SpanKind.PRODUCER, start_time=publish.stored_at)
            span.set_attribute("synkrone.transport", delivery.transport)
            span.set_attribute("synkrone.connections", connections)
            # What is told of late, or by a clock that is behind, has taken no time rather than less.
            span.end(max(delivery.at, publish.stored_at))
