"""Saying what became of notifications with all whom they are for."""

from __future__ import annotations

from dataclasses import replace

from domain.errors import RateLimited, UnknownNotification
from domain.model import (
    DeliveriesQuery,
    NotificationReport,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    RecipientsPage,
    ScheduledNotification,
    Tally,
)
from domain.ports import DeliveryReports, Recipients, Schedule
from domain.rules.recipients import NOBODY, named_recipients, recipients_until_sent, together

RECIPIENTS_AT_ONCE = 50
"""On a page: of each it is looked up when they received it."""
COUNTS_MOST = 2
"""So many notifications for a role or everyone are counted at the same time: one may have a million recipients."""


class NotificationReportService:
    """The NotificationReports of the domain."""

    def __init__(self, *, recipients: Recipients, schedule: Schedule, deliveries: DeliveryReports) -> None:
        self._recipients = recipients
        self._schedule = schedule
        self._deliveries = deliveries
        self._counting = 0

    async def report_of(self, id_: str) -> NotificationReport:
        notification = await self._found(id_)
        recipients = named_recipients(notification.audience)
        if isinstance(notification, ScheduledNotification):
            return NotificationReport(notification, recipients, NOBODY)
        tally = await self._tally(notification) if recipients is not None else await self._tally_in_turn(notification)
        return NotificationReport(notification, recipients, tally)

    async def recipients_of(self, id_: str, after: RecipientPlace | None) -> RecipientsPage:
        notification = await self._found(id_)
        if isinstance(notification, ScheduledNotification):
            return recipients_until_sent(notification.audience, after, RECIPIENTS_AT_ONCE)
        page = await self._recipients.recipients(notification, after, RECIPIENTS_AT_ONCE)
        found = [*page.recipients]
        while page.next is not None and len(found) < RECIPIENTS_AT_ONCE:
            page = await self._recipients.recipients(notification, page.next, RECIPIENTS_AT_ONCE - len(found))
            found += page.recipients
        return RecipientsPage([await self._timed(id_, one) for one in found], page.next)

    async def _found(self, id_: str) -> PublishedNotification | ScheduledNotification:
        """Looked for in the log once more: it may have come there just before it was looked for in the schedule."""
        found = (
            await self._recipients.published(id_)
            or await self._schedule.scheduled(id_)
            or await self._recipients.published(id_)
        )
        if found is None:
            raise UnknownNotification
        return found

    async def _tally_in_turn(self, notification: PublishedNotification) -> Tally:
        if self._counting >= COUNTS_MOST:
            raise RateLimited("recipients of others are being counted", retry_after=1.0)
        self._counting += 1
        try:
            return await self._tally(notification)
        finally:
            self._counting -= 1

    async def _tally(self, notification: PublishedNotification) -> Tally:
        """Step by step: in between the store answers others."""
        part = await self._recipients.tally(notification, None)
        tally = together(NOBODY, part.tally)
        while part.next is not None:
            part = await self._recipients.tally(notification, part.next)
            tally = together(tally, part.tally)
        return tally

    async def _timed(self, id_: str, one: Recipient) -> Recipient:
        if not one.is_received:
            return one
        page = await self._deliveries.deliveries_of(one.user, DeliveriesQuery(id=id_))
        received = [
            attempt.received_at
            for report in page.reports
            for attempt in report.attempts
            if attempt.received_at is not None
        ]
        return replace(one, received_at=min(received, default=None))
