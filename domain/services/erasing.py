"""Erasing users: in the store, and in what this server holds of them."""

from __future__ import annotations

from domain.delivery.hub import Hub
from domain.errors import UnknownErasure
from domain.model import Control, EraseUser, Erasure, Position, Room, UserId
from domain.ports import Clock, Erasures, Randomness
from domain.services.deliveries import DeliveryLedger
from domain.services.recovery import RecoveryService


class ErasureService:
    """The UserErasure of the domain. ``carry_out`` is to be called with every control of the log, after the
    connections of the user were closed for it."""

    def __init__(
        self,
        *,
        erasures: Erasures,
        hub: Hub,
        recovery: RecoveryService,
        ledger: DeliveryLedger,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._erasures = erasures
        self._hub = hub
        self._recovery = recovery
        self._ledger = ledger
        self._clock = clock
        self._randomness = randomness

    async def erase(self, user: UserId) -> Erasure:
        return await self._erasures.begin_erasure(user, self._randomness.new_id(), self._clock.now())

    async def erasure(self, id_: str) -> Erasure:
        found = await self._erasures.erasure(id_)
        if found is None:
            raise UnknownErasure
        return found

    def carry_out(self, control: Control, at: Position) -> None:  # noqa: ARG002 (what comes later is not held yet)
        """At its place in the log: nothing of the user is held any more that waits to be sent or stored."""
        if isinstance(control, EraseUser):
            self._hub.forget(Room.of_user(control.user))
            self._recovery.forget_marks_of(control.user)
            self._ledger.forget(control.user)
