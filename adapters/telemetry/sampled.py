"""What need not be counted, as it can be read when somebody asks."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector

from adapters.telemetry.instruments import Gauge, Labels


class Readings(Protocol):
    """Of one server, now. Called in the loop, and never raises; what is not known has no value."""

    def connections(self) -> Mapping[Labels, float]:
        """By what carries them, and role."""

    def connections_max(self) -> float:
        """As many as there may be."""

    def queue_bytes(self) -> Mapping[str, float]:
        """What waits for clients to take it, by transport."""

    def log_offset(self) -> float | None:
        """Of the last entry that is stored, as far as is known here."""

    def tail_lag(self) -> float | None:
        """How many entries are stored and not delivered here yet."""

    def store_silent_seconds(self) -> float | None: ...

    def store_bytes(self) -> float | None: ...

    def faults(self) -> Mapping[str, bool]:
        """Of each part that readiness names, whether something is wrong with it."""

    def source_lag_seconds(self) -> Mapping[str, float]:
        """By source."""

    def outbox_waiting(self) -> float | None:
        """How many items."""

    def outbox_parked(self) -> float | None:
        """How many items."""

    def outbox_oldest_seconds(self) -> float | None:
        """For how long the first one has waited; 0 where none does."""

    def certificate_expires(self) -> Mapping[str, float]:
        """In seconds since 1970, by listener, of those with TLS."""


class Sampled:
    """Reads them for a registry, and what the operating system says of the process."""

    def __init__(self, registry: CollectorRegistry, readings: Readings, version: str) -> None:
        gauge = partial(Gauge, registry)
        gauge(
            "synkrone_connections",
            "Connections of users, those about to be let in among them, by what carries them now and by role.",
            ("transport", "role"),
            read=readings.connections,
        )
        gauge(
            "synkrone_connections_max",
            "As many connections as there may be (limits.connections).",
            read=lambda: _single(readings.connections_max()),
        )
        gauge(
            "synkrone_queue_bytes",
            "What was sent and waits for clients to take it.",
            ("transport",),
            read=lambda: _labelled(readings.queue_bytes()),
        )
        gauge(
            "synkrone_log_offset",
            "The offset of the last entry of the log, as far as is known here.",
            read=lambda: _single(readings.log_offset()),
        )
        gauge(
            "synkrone_tail_lag_entries",
            "Entries that are stored and not taken to those who are connected here yet.",
            read=lambda: _single(readings.tail_lag()),
        )
        gauge(
            "synkrone_store_silent_seconds",
            "How long ago was looked what other servers stored; 0 where there can be none.",
            read=lambda: _single(readings.store_silent_seconds()),
        )
        gauge(
            "synkrone_store_bytes",
            "How much the store takes where it is kept; looked at every 30 s; none where it cannot be reached.",
            read=lambda: _single(readings.store_bytes()),
        )
        gauge(
            "synkrone_fault",
            "1 where something is wrong with a part that /health/ready names, else 0.",
            ("part",),
            read=lambda: _labelled({part: float(is_faulty) for part, is_faulty in readings.faults().items()}),
        )
        gauge(
            "synkrone_source_lag_seconds",
            "Since when something that the source has may not be in the log; 0 while nothing waits.",
            ("source",),
            read=lambda: _labelled(readings.source_lag_seconds()),
        )
        gauge(
            "synkrone_outbox_waiting_items",
            "Items of the outbox that are not in the log yet; looked at every 30 s.",
            read=lambda: _single(readings.outbox_waiting()),
        )
        gauge(
            "synkrone_outbox_parked_items",
            "Items of the outbox that were set aside, for synkrone-socket outbox; looked at every 30 s.",
            read=lambda: _single(readings.outbox_parked()),
        )
        gauge(
            "synkrone_outbox_oldest_seconds",
            "How long the first of what waits in the outbox has waited; looked at every 30 s.",
            read=lambda: _single(readings.outbox_oldest_seconds()),
        )
        gauge(
            "synkrone_certificate_expires_timestamp_seconds",
            "When the certificate that the listener shows expires, in seconds since 1970; none without TLS.",
            ("listener",),
            read=lambda: _labelled(readings.certificate_expires()),
        )
        build = (version, platform.python_version())
        gauge("synkrone_build_info", "What is running: always 1.", ("version", "python"), read=lambda: {build: 1.0})
        ProcessCollector(namespace="synkrone", registry=registry)


def _single(value: float | None) -> Mapping[Labels, float]:
    return {(): value} if value is not None else {}


def _labelled(values: Mapping[str, float]) -> Mapping[Labels, float]:
    return {(label,): value for label, value in values.items()}
