"""Whether a server can serve, and what is in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from adapters.cluster.membership import Membership
from adapters.http.listening import Listener
from adapters.transport.served import ServedTransport
from domain.errors import ShuttingDown, StoreUnavailable
from entrypoints.background import Background
from entrypoints.container import Container
from entrypoints.lag import Lag
from entrypoints.supervisor import Supervisor
from entrypoints.vitals import Vitals

SILENT_SECONDS = 5.0
"""After which it counts as a fault that nobody has looked what others have stored."""


class Readiness:
    """What has to work, by name, each with what is wrong with it or None."""

    def __init__(self, container: Container, delivery: Supervisor, others: Sequence[Background]) -> None:
        self.is_draining = False
        self._container = container
        self._delivery = delivery
        self._others = others
        self._lag = Lag(container.clock())

    async def faults(self) -> dict[str, str | None]:
        return await self._serving_faults() | {"tail": await self._tail_fault()} | self._supervised_faults()

    async def watch(
        self, transports: Sequence[ServedTransport], listener: Listener, vitals: Vitals, *, seconds: float
    ) -> None:
        """While a fault is known, clients are told so at their handshake, on which they back off."""
        while True:
            faults = await self._serving_faults()
            vitals.readiness = {**faults, "tail": await self._tail_fault(), **self._supervised_faults()}
            ready = all(fault is None for fault in faults.values())
            for transport in transports:
                transport.set_ready(ready=ready)
            listener.set_ready(ready=ready)
            await asyncio.sleep(seconds)

    def _supervised_faults(self) -> dict[str, str | None]:
        return {supervisor.name: supervisor.fault for some in self._others for supervisor in some.supervisors}

    async def _serving_faults(self) -> dict[str, str | None]:
        """Of that without which no client can be served."""
        membership: Membership | None = self._container.membership()
        return {
            "server": ShuttingDown.code if self.is_draining else None,
            "store": await self._store_fault(),
            "listener": self._listener_fault(),
            "lease": membership.fault if membership is not None else None,
            "keys": self._container.verifier().fault,
            self._delivery.name: self._delivery.fault,
        }

    async def _store_fault(self) -> str | None:
        try:
            await self._container.store().ensure_writable()
        except StoreUnavailable as error:
            return error.code
        return None

    def _listener_fault(self) -> str | None:
        try:
            silent: float = self._container.store().silent_seconds
        except StoreUnavailable as error:
            return error.code
        return f"the log was not read for {silent:.0f} s" if silent > SILENT_SECONDS else None

    async def _tail_fault(self) -> str | None:
        container = self._container
        delivered = container.application().hub.delivered
        try:
            head = await container.store().head()
        except StoreUnavailable as error:
            return error.code
        container.vitals().head = head.offset
        return self._lag.fault(head.offset, delivered.offset if delivered is not None else 0)
