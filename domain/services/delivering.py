"""Delivering: what the log brings goes to the rooms, also where the log has lost some of what was delivered."""

from __future__ import annotations

from domain.delivery.hub import Hub
from domain.errors import CursorRefused, EntriesMissing, StoreUnavailable
from domain.ports import Log
from domain.services.admission import Admission
from domain.services.connections import Connections
from domain.services.counts import CountsService
from domain.services.recovery import RecoveryService


class DeliveryService:
    """``deliver`` is to be run for as long as the server lives."""

    def __init__(
        self,
        *,
        log: Log,
        hub: Hub,
        admission: Admission,
        connections: Connections,
        recovery: RecoveryService,
        counts: CountsService,
    ) -> None:
        self._log = log
        self._hub = hub
        self._admission = admission
        self._connections = connections
        self._recovery = recovery
        self._counts = counts

    async def deliver(self) -> None:
        """As the hub does. Where the log is not the one any more that clients were told of, they are closed, and come
        back with cursors that are looked at anew.

        Raises StoreUnavailable; called again it goes on where it was.
        """
        while True:
            try:
                await self._hub.deliver()
            except CursorRefused as refused:
                await self._begin_anew(refused)
            except EntriesMissing:
                # Whoever stayed would take the silence for an end.
                self._connections.close_all(StoreUnavailable())
                raise

    async def _begin_anew(self, refused: CursorRefused) -> None:
        head = await self._log.head()
        restricted = await self._admission.read()
        # From here on nothing waits: whoever connects in between would be live at a place that is gone.
        self._connections.close_all(refused)
        self._recovery.forget_marks()
        self._counts.begin_anew(head)
        self._hub.begin_anew(head)
        self._admission.begin_anew(restricted)
