"""Catching up: what a connection has missed is sent to it from the log, page after page, until it is live."""

from __future__ import annotations

from typing import Any

from domain.delivery.hub import Connection
from domain.model import Page, Position, Subscriber
from domain.services.recovery import RecoveryService


class CatchingUp:
    """Everything here raises ConnectionGone, CursorRefused, SlowConsumer or StoreUnavailable."""

    def __init__(self, recovery: RecoveryService) -> None:
        self._recovery = recovery

    async def replay(self, connection: Connection[Any, Any], subscriber: Subscriber, page: Page) -> None:
        """Send a page and all that the log holds beyond it, and go live."""
        await connection.replay(page.entries)
        upto = await self._read_on(connection, subscriber, page.upto) if page.more else page.upto
        await self.go_live(connection, subscriber, upto)

    async def go_live(self, connection: Connection[Any, Any], subscriber: Subscriber, after: Position) -> None:
        """With everything beyond a position."""
        while not connection.resume(after):
            after = await self._read_on(connection, subscriber, after)

    async def replay_until(
        self, connection: Connection[Any, Any], subscriber: Subscriber, after: Position, upto: Position
    ) -> Position:
        """Send what the log holds beyond a position, up to another; how far it has been sent then."""
        while after.offset < upto.offset:
            page = await self._recovery.read(subscriber, after)
            await connection.replay([entry for entry in page.entries if entry.position.offset <= upto.offset])
            after = page.upto if page.more and page.upto.offset < upto.offset else upto
        return after

    async def _read_on(self, connection: Connection[Any, Any], subscriber: Subscriber, after: Position) -> Position:
        """Send all that the log holds beyond a position; how far that was."""
        while True:
            page = await self._recovery.read(subscriber, after)
            await connection.replay(page.entries)
            after = page.upto
            if not page.more:
                return after
