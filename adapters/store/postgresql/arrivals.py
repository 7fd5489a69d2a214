"""Users who arrive, in a PostgreSQL database: what they are given first, of one snapshot, for many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from adapters.store.addressing import topics_only
from adapters.store.postgresql import items, log
from adapters.store.postgresql.database import Snapshot
from adapters.store.postgresql.items import View
from adapters.store.postgresql.log import Reading
from adapters.store.postgresql.users import Standing, standings
from adapters.store.window import Window
from domain.errors import SynkroneError
from domain.model import Arrival, Counted, Page, Position, Span, Subscriber
from domain.model.value import value
from domain.rules import recovery
from domain.rules.recovery import Continuation, continuation


@value
class Arriving:
    """A request for what users are given.

    With ``tail_floors``, one for each arrival, a page that begins at or after that offset is left to whoever has the
    tail.
    """

    arrivals: Sequence[Arrival]
    window: Window
    tail_floors: Sequence[int] | None


@value
class Found:
    """What there is for somebody; without a page where it was left to the tail."""

    subscriber: Subscriber
    continuation: Continuation
    page: Page | None
    counted: Counted
    spans: Sequence[Span]


@value
class FoundTogether:
    """What there is for each, in their order, of a snapshot with that ``head``; None for who is not registered yet."""

    each: Sequence[Found | None]
    head: Position


def arrive(snapshot: Snapshot, requests: Sequence[Arriving]) -> list[FoundTogether | SynkroneError]:
    """An operation of the readers."""
    try:
        return [*_arrive(snapshot, requests)]
    except SynkroneError as error:
        if len(requests) == 1:
            return [error]
        # What cannot be read for one is nothing to the others.
        return [outcome for request in requests for outcome in arrive(snapshot, [request])]


def _arrive(snapshot: Snapshot, requests: Sequence[Arriving]) -> list[FoundTogether]:
    window = requests[-1].window
    arrivals = [arrival for request in requests for arrival in request.arrivals]
    tail_floors: list[int | None] = []
    for request in requests:
        tail_floors += request.tail_floors or [None] * len(request.arrivals)
    known = standings(snapshot, arrivals)
    there = [(arrival, floor, one) for arrival, floor, one in zip(arrivals, tail_floors, known, strict=True) if one]
    aged = items.aged_upto(snapshot.db, window)
    summaries = items.summarize(snapshot.db, [View(one.subscriber, window) for _, _, one in there], aged)
    continuations = [_continuation(snapshot, arrival, one) for arrival, _, one in there]
    readings: dict[int, Reading] = {}
    for number, ((arrival, floor, one), where) in enumerate(zip(there, continuations, strict=True)):
        # The tail does not know who was in a topic.
        if floor is None or where.after.offset < floor or one.spans:
            readings[number] = Reading(one.subscriber, where.after, arrival.max_entries, arrival.max_bytes)
    pages = dict(zip(readings, log.readable_pages(snapshot, list(readings.values())), strict=True))
    found = iter(
        [
            Found(
                one.subscriber,
                where,
                pages.get(number),
                items.counted(snapshot, window, summary),
                topics_only(one.spans),
            )
            for number, ((_, _, one), where, summary) in enumerate(zip(there, continuations, summaries, strict=True))
        ]
    )
    each = iter([next(found) if one is not None else None for one in known])
    return [FoundTogether(list(islice(each, len(request.arrivals))), snapshot.as_of) for request in requests]


def _continuation(snapshot: Snapshot, arrival: Arrival, one: Standing) -> Continuation:
    return continuation(arrival, recovery.Standing(snapshot.generations, snapshot.head, one.floor, one.mark))
