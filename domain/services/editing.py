"""Editing: what a backend does to a notification that it has published."""

from __future__ import annotations

from domain.delivery.hub import Hub
from domain.errors import InvalidPublication
from domain.model import Amended, Audience, FieldError, Notification, Publication
from domain.policy import ConnectionPolicy
from domain.ports import Amendments, Clock, Revise


class EditingService:
    """The Editor of the domain."""

    def __init__(self, *, amendments: Amendments, hub: Hub, policy: ConnectionPolicy, clock: Clock) -> None:
        self._amendments = amendments
        self._hub = hub
        self._policy = policy
        self._clock = clock

    async def revise(self, id_: str, revise: Revise) -> Amended:
        def checked(notification: Notification) -> Notification:
            revised = revise(notification)
            self._policy.check(_content_of(revised))
            ends = revised.expires_at
            # What has expired is told to nobody: whoever has it would keep what they have.
            if ends is not None and ends != notification.expires_at and ends <= self._clock.now():
                raise InvalidPublication(
                    [FieldError("expires_at", "must be in the future: to end it now, take it back")]
                )
            return revised

        return await self._amendments.revise(id_, checked, self._clock.now())

    async def recall(self, id_: str) -> Amended:
        recalled = await self._amendments.recall(id_)
        # The tail may have yet to bring it, and a replay may have read what it is about before.
        self._hub.withdraw(recalled.about)
        return recalled


def _content_of(notification: Notification) -> Publication:
    """For nobody in particular: whom it is for was checked before."""
    return Publication(
        Audience.everyone(),
        notification.type,
        notification.title,
        notification.body,
        notification.data,
        notification.id,
        notification.expires_at,
    )
