"""The Telemetry port, and what the stores and key servers are observed by, on counters that Prometheus reads.

Labels come from few words: codes, reasons, transports, events, and names from the settings. None is ever a user, a
notification, a connection or a room.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry

from adapters.telemetry.instruments import Counter, Gauge, Histogram
from domain.model import (
    NOTIFICATION_NEW,
    Appended,
    ConnectionId,
    DisconnectReason,
    Draft,
    Identity,
    Position,
    RecoveryReason,
    TailEntry,
    UserId,
)
from domain.ports import Clock, Sent
from domain.requests import ConnectRequest

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
NUMBERS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

RATE_LIMITED: Final = "rate_limited"


def _at_the_end_of_the_turn(do: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(do)


class Metrics:
    """For one event loop. ``later`` is to call what it is given once transports have written what they were sent."""

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: Clock,
        *,
        later: Callable[[Callable[[], None]], None] = _at_the_end_of_the_turn,
    ) -> None:
        self._clock = clock
        self._later = later
        counter, histogram = partial(Counter, registry), partial(Histogram, registry)

        self._connects = counter(
            "synkrone_connects",
            "Connections that were let in, by what carried them and whether they continued where their cursor stood.",
            ("transport", "recovered"),
        )
        self._cursor_refusals = counter(
            "synkrone_cursor_refusals",
            "Connections let in that could not continue where they had stopped, or whose user had missed what is gone.",
            ("reason",),
        )
        self._connect_refusals = counter(
            "synkrone_connect_refusals", "Connections that were not let in, by the code of the problem.", ("code",)
        )
        self._disconnects = counter(
            "synkrone_disconnects",
            "Connections that ended, by why; slow_consumer are readers that were cut.",
            ("reason",),
            known=[(reason.value,) for reason in DisconnectReason],
        )

        self._publishes = counter(
            "synkrone_publishes",
            "Requests to publish that were carried out, batches of the source and of the outbox among them.",
            ("caller",),
        )
        self._publish_refusals = counter(
            "synkrone_publish_refusals",
            "Requests to publish that were refused, by the code of the problem.",
            ("caller", "code"),
        )
        self._notifications = counter(
            "synkrone_notifications",
            "Notifications that were published, by what became of them.",
            ("caller", "outcome"),
        )
        self._to_commit = histogram(
            "synkrone_publish_to_commit_seconds",
            "From when a request to publish was read to when all of it was stored.",
            buckets=SECONDS,
        )
        self._skipped = counter(
            "synkrone_skipped_items",
            "Items of a source that could not be published, and were passed over.",
            ("source",),
        )
        self._parked = counter("synkrone_parked_items", "Items of the outbox that could not be published.")

        self._came_due = histogram(
            "synkrone_schedule_late_seconds",
            "From when something that was scheduled, or snoozed, was due to when it was in the log.",
            buckets=SECONDS,
        )
        self._waiting = 0
        Gauge(
            registry,
            "synkrone_schedule_waiting",
            "What is scheduled, or snoozed, and not due yet, as it was counted last.",
            read=lambda: {(): self._waiting},
        )

        self._entries = counter(
            "synkrone_entries", "Entries of the log that were taken to those who are connected here.", ("event",)
        )
        self._deliveries = counter(
            "synkrone_deliveries",
            "Entries sent to connections as they came: one for each of both.",
            ("transport", "event"),
        )
        self._to_socket = histogram(
            "synkrone_publish_to_socket_seconds",
            "From when a notification was stored to when it was written, or lay ready for a poll, once a connection."
            " Between two servers it includes the difference of their clocks.",
            ("transport",),
            buckets=SECONDS,
        )
        self._replayed = counter(
            "synkrone_replayed_entries", "Entries sent to connections that had missed them.", ("transport",)
        )
        self._receipts = counter("synkrone_receipts", "Times that a client was known to have received more.")

        self._request_refusals = counter(
            "synkrone_request_refusals",
            "Requests of users without a connection that were refused, by the code of the problem.",
            ("code",),
        )
        self._caller_refusals = counter(
            "synkrone_caller_refusals",
            "Requests of backends that were not authenticated or not allowed, by the code of the problem.",
            ("code",),
        )
        self._origin_refusals = counter(
            "synkrone_origin_refusals", "Requests from pages that may not talk to the server."
        )
        self._rate_limited = counter(
            "synkrone_rate_limited",
            "What was refused, or cut, as it came too often: a publish, a request or a connection.",
            ("what",),
        )
        self._acts = counter(
            "synkrone_operator_actions", "What operators did that is in the audit log, by what it was.", ("action",)
        )

        self._commits = counter(
            "synkrone_store_commits",
            "Commits of the store, by whether they succeeded.",
            ("outcome",),
            known=[("stored",), ("failed",)],
        )
        self._commit_seconds = histogram(
            "synkrone_store_commit_seconds", "How long a commit took, with what it wrote.", buckets=SECONDS
        )
        self._batch_jobs = histogram(
            "synkrone_store_batch_jobs", "How many of those who waited shared a commit.", buckets=NUMBERS
        )
        self._batch_entries = histogram(
            "synkrone_store_batch_entries", "How many entries a commit added to the log.", buckets=NUMBERS
        )
        self._gaps = counter(
            "synkrone_store_gaps", "Times that something was found missing in the log: connections are closed for it."
        )
        self._scrubs = counter("synkrone_store_scrubs", "Rounds in which the whole log was looked through for gaps.")
        self._key_fetches = counter(
            "synkrone_key_fetches",
            "Questions to key servers, by whether they brought keys.",
            ("outcome",),
            known=[("fetched",), ("failed",)],
        )

        self._pauses = histogram(
            "synkrone_loop_pause_seconds",
            "By how much the event loop came too late to what was due, looked at 20 times a second.",
            buckets=SECONDS,
        )
        self._collections = counter(
            "synkrone_collections", "Searches of Python for garbage, by generation.", ("generation",)
        )
        self._collection_seconds = counter(
            "synkrone_collection_seconds", "The time they took, in which nothing else runs.", ("generation",)
        )

    # Telemetry

    def connected(
        self,
        connection: ConnectionId,
        identity: Identity,
        request: ConnectRequest,
        device: str | None,
        *,
        recovered: bool,
        reason: RecoveryReason | None,
    ) -> None:
        self._connects.add(request.transport, "true" if recovered else "false")
        if reason is not None:
            self._cursor_refusals.add(reason.value)

    def refused(self, connection: ConnectionId, request: ConnectRequest, code: str, reason: str) -> None:
        self._connect_refusals.add(code)

    def closing(self, connection: ConnectionId, identity: Identity | None, code: str, detail: str | None) -> None:
        pass

    def disconnected(
        self, connection: ConnectionId, identity: Identity, reason: DisconnectReason, received: Position | None
    ) -> None:
        self._disconnects.add(reason.value)
        if reason is DisconnectReason.RATE_LIMITED:
            self._rate_limited.add("connection")

    def published(
        self,
        by: str,
        drafts: Sequence[Draft],
        appended: Sequence[Appended],
        seconds: float,
        *,
        traceparent: str | None = None,
    ) -> None:
        self._publishes.add(by)
        self._to_commit.observe(seconds)
        if len(appended) == 1:
            self._notifications.add(by, appended[0].outcome.value)
            return
        for outcome, number in Tally(one.outcome for one in appended).items():
            self._notifications.add(by, outcome.value, by=number)

    def publish_refused(self, by: str, code: str, reason: str) -> None:
        self._publish_refusals.add(by, code)
        if code == RATE_LIMITED:
            self._rate_limited.add("publish")

    def skipped(self, source: str, resume_id: str, reason: str) -> None:
        self._skipped.add(source)

    def parked(self, item: str, reason: str) -> None:
        self._parked.add()

    def came_due(self, late: Sequence[float]) -> None:
        for seconds in late:
            self._came_due.observe(max(0.0, seconds))

    def waiting(self, number: int) -> None:
        self._waiting = number

    def delivered(self, entries: Sequence[TailEntry], sent: Sequence[Sent]) -> None:
        events: dict[str, int] = {}
        for one in entries:
            events[one.event] = events.get(one.event, 0) + 1
        for event, number in events.items():
            self._entries.add(event, by=number)
        if not sent:
            return
        # What was stored in one commit has one time: an entry costs one addition, and the rest is done for each commit.
        alike: dict[tuple[str, str, datetime | None], int] = {}
        for transport, entry, connections in sent:
            kind = (transport, entry.event, entry.stored_at)
            alike[kind] = alike.get(kind, 0) + connections
        for (transport, event, _), connections in alike.items():
            self._deliveries.add(transport, event, by=connections)
        self._later(partial(self._written, alike))

    def _written(self, alike: Mapping[tuple[str, str, datetime | None], int]) -> None:
        now = self._clock.now()
        for (transport, event, stored_at), connections in alike.items():
            if stored_at is not None and event == NOTIFICATION_NEW:
                # A clock may be set back, and another server's be ahead.
                seconds = max(0.0, (now - stored_at).total_seconds())
                self._to_socket.observe(seconds, transport, times=connections)

    def replayed(self, transport: str, entries: int) -> None:
        self._replayed.add(transport, by=entries)

    def received(self, connection: ConnectionId, upto: Position) -> None:
        self._receipts.add()

    def request_refused(self, remote_address: str, route: str, code: str, reason: str) -> None:
        self._request_refusals.add(code)
        if code == RATE_LIMITED:
            self._rate_limited.add("request")

    def caller_refused(self, remote_address: str, code: str, reason: str) -> None:
        self._caller_refusals.add(code)

    def origin_refused(self, *, remote_address: str, origin: str, own: str, setting: str | None, advice: str) -> None:
        self._origin_refusals.add()

    def acted(self, by: str, action: str, user: UserId | None = None, *, detail: str | None = None) -> None:
        self._acts.add(action)

    # what stores and key servers are observed by

    def committed(self, jobs: int, entries: int, seconds: float) -> None:
        self._commits.add("stored")
        self._commit_seconds.observe(seconds)
        self._batch_jobs.observe(jobs)
        if entries:
            self._batch_entries.observe(entries)

    def commit_failed(self) -> None:
        self._commits.add("failed")

    def gap_found(self) -> None:
        self._gaps.add()

    def scrubbed(self) -> None:
        self._scrubs.add()

    def keys_fetched(self, succeeded: bool) -> None:  # noqa: FBT001 (what it is called with)
        self._key_fetches.add("fetched" if succeeded else "failed")

    # what the process is observed by

    def loop_paused(self, seconds: float) -> None:
        self._pauses.observe(seconds)

    def collected(self, generation: int, seconds: float) -> None:
        self._collections.add(str(generation))
        self._collection_seconds.add(str(generation), by=seconds)
