"""Editing: what a backend does to a notification that it has published."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from domain.delivery.hub import Hub
from domain.errors import InvalidPublication, NotificationSent, UnknownNotification
from domain.model import Amended, AmendedSchedule, Audience, FieldError, Notification, Publication
from domain.policy import ConnectionPolicy
from domain.ports import Amendments, Clock, Revise, Schedule
from domain.services.due import DueService


class EditingService:
    """The Editor of the domain.

    What waits in the schedule comes into the log, and nothing the other way: what is in neither, asked for in the order
    log, schedule, log, is nowhere.
    """

    def __init__(
        self,
        *,
        amendments: Amendments,
        schedule: Schedule,
        due: DueService,
        hub: Hub,
        policy: ConnectionPolicy,
        clock: Clock,
    ) -> None:
        self._amendments = amendments
        self._schedule = schedule
        self._due = due
        self._hub = hub
        self._policy = policy
        self._clock = clock

    async def revise(self, id_: str, revise: Revise, deliver_at: datetime | None = None) -> Amended | AmendedSchedule:
        due = max(deliver_at, self._clock.now()) if deliver_at is not None else None

        def checked(notification: Notification) -> Notification:
            if due is not None:
                raise NotificationSent
            return self._checked(notification, revise(notification), None)

        def checked_until_due(notification: Notification) -> Notification:
            after = replace(revise(notification), created_at=due if due is not None else notification.created_at)
            return self._checked(notification, after, after.created_at, is_another_time=due is not None)

        try:
            return await self._amendments.revise(id_, checked, self._clock.now())
        except UnknownNotification:
            pass
        try:
            await self._schedule.revise_scheduled(id_, checked_until_due, self._clock.now())
        except UnknownNotification:
            return await self._amendments.revise(id_, checked, self._clock.now())
        if due is not None:
            self._due.expect(due)
        return AmendedSchedule(id_)

    async def recall(self, id_: str) -> Amended | AmendedSchedule:
        try:
            return await self._recall(id_)
        except UnknownNotification:
            pass
        try:
            await self._schedule.cancel(id_)
        except UnknownNotification:
            return await self._recall(id_)
        return AmendedSchedule(id_)

    async def _recall(self, id_: str) -> Amended:
        recalled = await self._amendments.recall(id_)
        # The tail may have yet to bring it, and a replay may have read what it is about before.
        self._hub.withdraw(recalled.about)
        return recalled

    def _checked(
        self, before: Notification, after: Notification, due: datetime | None, *, is_another_time: bool = False
    ) -> Notification:
        now, ends = self._clock.now(), after.expires_at
        # A time that it was given before stays good, whatever the limit has become since.
        self._policy.check(_content_of(after, due), now=now if is_another_time else None)
        # What has expired is told to nobody: whoever has it would keep what they have.
        if ends is not None and ends != before.expires_at and ends <= now:
            raise InvalidPublication([FieldError("expires_at", "must be in the future: to end it now, take it back")])
        return after


def _content_of(notification: Notification, due: datetime | None) -> Publication:
    """For nobody in particular: whom it is for was checked before."""
    return Publication(
        Audience.everyone(),
        notification.type,
        notification.title,
        notification.body,
        notification.data,
        notification.id,
        notification.expires_at,
        due,
    )
