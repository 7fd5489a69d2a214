"""For whom notifications are, in memory."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator

from adapters.store.addressing import audience_in, common_roles, parts_of
from adapters.store.memory.held import User
from adapters.store.memory.inboxes import MemoryInboxes
from domain.model import (
    AudienceKind,
    PartialTally,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    RecipientsPage,
    Room,
    UserId,
    roles_in,
)
from domain.rules.deliveries import Reach
from domain.rules.groups import stays_in
from domain.rules.recipients import named_after, tally_of


class MemoryRecipients(MemoryInboxes):
    """A page costs a look at every user, and so does a tally, which is of all recipients at once."""

    async def published(self, id_: str) -> PublishedNotification | None:
        record = self._by_id.get(id_)
        if record is None:
            return None
        entry, recalled = record.entry, record.recalled
        audience = audience_in(entry.rooms if recalled is None else recalled)
        return PublishedNotification(id_, entry.position, audience, entry.payload or None, recalled is not None)

    async def recipients(
        self, notification: PublishedNotification, after: RecipientPlace | None, limit: int
    ) -> RecipientsPage:
        places = [place async for place in self._places(notification, after)]
        chosen = heapq.nsmallest(limit, places, key=_in_order)
        return RecipientsPage(
            [self._recipient(notification, place.user) for place in chosen],
            chosen[-1] if len(places) > len(chosen) else None,
        )

    async def tally(self, notification: PublishedNotification, after: RecipientPlace | None) -> PartialTally:
        found = [self._recipient(notification, place.user) async for place in self._places(notification, after)]
        return PartialTally(tally_of(found), None)

    async def _places(
        self, notification: PublishedNotification, after: RecipientPlace | None
    ) -> AsyncIterator[RecipientPlace]:
        if notification.audience.kind is AudienceKind.USER:
            for user in named_after(notification.audience, after):
                yield RecipientPlace(0, user)
            return
        rooms, offset = notification.audience.rooms, notification.position.offset
        parts, together = parts_of(notification.audience), frozenset(common_roles(notification.audience))
        for user in list(dict.fromkeys([*self._users, *self._spans])):
            self._counted_since_turn += 1
            await self._leave_turns()
            known = self._users.get(user, User())
            starts = [start for room, start in known.starts.items() if room in rooms and start < offset]
            starts += [one.after for one in self._spans_of(user) if one.room in rooms and one.includes(offset)]
            if parts:
                stays = stays_in(next(iter(rooms)), known.starts, self._spans_of(user))
                came_so = len(together) < 2 or any(together.issubset(roles_in(roles)) for roles in known.marks)
                starts = [stay.after for stay in stays if came_so and stay.includes(offset)]
            if starts:
                place = RecipientPlace(min(starts), user)
                if after is None or _in_order(place) > _in_order(after):
                    yield place

    def _recipient(self, notification: PublishedNotification, user: UserId) -> Recipient:
        known, offset = self._users.get(user, User()), notification.position.offset
        is_named = notification.audience.kind is AudienceKind.USER
        reach = Reach(user, frozenset((Room.of_user(user),)) if is_named else notification.audience.rooms)
        record = self._records.get(offset)
        times = known.state.of(offset).until(record.entry.expires_at if record is not None else None)
        return Recipient(
            user,
            reach.has_mark(offset, known.marks),
            times.seen_at,
            times.read_at,
            times.archived_at,
            times.deleted,
            times.deleted_at,
        )


def _in_order(place: RecipientPlace) -> tuple[int, UserId]:
    return place.start, place.user
