"""Catching up: what a subscription has missed is sent to it from the log, page after page, until it is live."""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from typing import Any

from domain.delivery.hub import Subscription
from domain.model import Entry, Page, Position, Subscriber
from domain.services.recovery import RecoveryService
from domain.services.user_access import UserAccessService


class CatchingUp:
    """Everything here raises ConnectionGone, CursorRefused, SlowConsumer or StoreUnavailable."""

    def __init__(self, recovery: RecoveryService, access: UserAccessService) -> None:
        self._recovery = recovery
        self._access = access

    async def replay(self, subscription: Subscription[Any, Any], subscriber: Subscriber, page: Page) -> None:
        """Send a page and all that the log holds beyond it, and go live."""
        await subscription.replay(page.entries)
        if not page.more:
            subscription.revisions.settle()
        upto = await self._read_on(subscription, subscriber, page.upto) if page.more else page.upto
        await self.go_live(subscription, subscriber, upto)

    async def go_live(self, subscription: Subscription[Any, Any], subscriber: Subscriber, after: Position) -> None:
        """With everything beyond a position."""
        if subscription.revisions.owed:
            # What it is owed was revised once more since: to those who are live that would be told as a revision.
            after = await self._read_on(subscription, subscriber, after)
        while not subscription.resume(after):
            after = await self._read_on(subscription, subscriber, after)

    async def replay_until(
        self,
        subscription: Subscription[Any, Any],
        subscriber: Subscriber,
        after: Position,
        upto: Position,
        *,
        as_it_was: bool = False,
    ) -> Position:
        """Send what the log holds beyond a position, up to another; how far it has been sent then. ``as_it_was`` there:
        it ends before the first notification that has been revised beyond that.
        """
        while after.offset < upto.offset:
            page = await self._read(subscriber, after)
            entries = [entry for entry in page.entries if entry.position.offset <= upto.offset]
            sent = list(takewhile(partial(_is_as_it_was, upto), entries)) if as_it_was else entries
            await subscription.replay(sent, upto.offset)
            if len(sent) < len(entries):
                return sent[-1].position if sent else after
            after = page.upto if page.more and page.upto.offset < upto.offset else upto
        return after

    async def _read_on(self, subscription: Subscription[Any, Any], subscriber: Subscriber, after: Position) -> Position:
        """Send all that the log holds beyond a position; how far that was."""
        while True:
            page = await self._read(subscriber, after)
            await subscription.replay(page.entries)
            after = page.upto
            if not page.more:
                subscription.revisions.settle()
                return after

    async def _read(self, subscriber: Subscriber, after: Position) -> Page:
        """A page that may be sent to who is still there behind it."""
        page = await self._recovery.read(subscriber, after)
        await self._access.learn(subscriber.user, page.upto)
        return page


def _is_as_it_was(at: Position, entry: Entry) -> bool:
    return entry.revised is None or entry.revised <= at.offset
