"""What can be said of a running server at any time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from adapters.source.lag import SourceWithLag
from adapters.store.served import OutboxState, ServedStore, StoreWithOutbox
from adapters.transport.served import ServedTransport
from domain.application import Application
from domain.errors import StoreUnavailable, SynkroneError
from domain.ports import Clock, NotificationSource
from entrypoints.tls import Certificate

MEASURE_SECONDS: Final = 30.0


class Vitals:
    """The Readings of the metrics. ``head``, ``readiness`` and ``certificates``, by listener, are to be set by
    whoever looks after them, and ``measure`` is to be run for as long as the server lives."""

    def __init__(
        self,
        application: Application,
        transports: Sequence[ServedTransport],
        store: ServedStore,
        source: NotificationSource,
        clock: Clock,
    ) -> None:
        self.head: int | None = None
        self.readiness: Mapping[str, str | None] = {}
        self.certificates: Mapping[str, Certificate] = {}
        self._application = application
        self._transports = transports
        self._store = store
        self._source = source
        self._clock = clock
        self._store_bytes: int | None = None
        self._outbox: OutboxState | None = None

    async def measure(self) -> None:
        """What takes a look into the store, again and again."""
        while True:
            self._store_bytes = await self._size()
            self._outbox = await self._outbox_state()
            await asyncio.sleep(MEASURE_SECONDS)

    async def _size(self) -> int | None:
        """None where it cannot be had: what was so before is not said to be so now."""
        try:
            return await self._store.size()
        except SynkroneError:
            return None

    async def _outbox_state(self) -> OutboxState | None:
        """None where there is none, or it cannot be read."""
        if not isinstance(self._store, StoreWithOutbox):
            return None
        try:
            return await asyncio.to_thread(self._store.outbox.state)
        except SynkroneError:
            return None

    # Readings

    def connections(self) -> Mapping[tuple[str, ...], float]:
        return Counter(
            (connection.subscription.outlet.technology, connection.identity.role)
            for connection in self._application.connections.all
            if connection.identity is not None
        )

    def connections_max(self) -> float:
        return self._application.connections.most

    def queue_bytes(self) -> Mapping[str, float]:
        return {transport.name: transport.waiting_bytes for transport in self._transports}

    def log_offset(self) -> float | None:
        return self.head

    def tail_lag(self) -> float | None:
        delivered = self._application.hub.delivered
        return max(0, self.head - delivered.offset) if self.head is not None and delivered is not None else None

    def store_silent_seconds(self) -> float | None:
        try:
            return self._store.silent_seconds
        except StoreUnavailable:
            return None

    def store_bytes(self) -> float | None:
        return self._store_bytes

    def faults(self) -> Mapping[str, bool]:
        return {part: fault is not None for part, fault in self.readiness.items()}

    def source_lag_seconds(self) -> Mapping[str, float]:
        source = self._source
        return {source.name: source.lag_seconds} if isinstance(source, SourceWithLag) else {}

    def outbox_waiting(self) -> float | None:
        return self._outbox.waiting if self._outbox is not None else None

    def outbox_parked(self) -> float | None:
        return self._outbox.parked_total if self._outbox is not None else None

    def outbox_oldest_seconds(self) -> float | None:
        if self._outbox is None:
            return None
        oldest = self._outbox.oldest
        return max(0.0, (self._clock.now() - oldest).total_seconds()) if oldest is not None else 0.0

    def certificate_expires(self) -> Mapping[str, float]:
        return {
            listener: certificate.expires.timestamp()
            for listener, certificate in self.certificates.items()
            if certificate.expires is not None
        }
