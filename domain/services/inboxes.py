"""Inboxes: listing and counting what lies in one, and marking it."""

from __future__ import annotations

from dataclasses import replace

from domain.errors import CursorRefused, InvalidArgument, UnknownEvent
from domain.model import Answer, Changed, Counted, Identity, Listing, Subscriber
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Inboxes, Subscribers, TokenVerifier
from domain.requests import Asked, CountInbox, InboxCommand, ListInbox, Mark, MarkAllRead, RefreshToken, Snooze
from domain.services.admission import Admission
from domain.services.due import DueService


class InboxService:
    """The InboxAccess of the domain, and what connections do to inboxes."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        admission: Admission,
        subscribers: Subscribers,
        inboxes: Inboxes,
        due: DueService,
        policy: ConnectionPolicy,
        clock: Clock,
    ) -> None:
        self._verifier = verifier
        self._admission = admission
        self._subscribers = subscribers
        self._inboxes = inboxes
        self._due = due
        self._policy = policy
        self._clock = clock

    async def authenticate(self, token: str) -> Identity:
        identity = await self._verifier.verify(token)
        self._admission.check(identity)
        return identity

    async def request(self, who: Identity, asked: Asked) -> Answer:
        command = self._policy.command(asked)
        if isinstance(command, RefreshToken):
            # There is no connection whose token it could be.
            raise UnknownEvent
        subscriber = await self._subscribers.register(who.user, who.role_set, self._policy.rooms(who))
        answer = await self.perform(subscriber, command)
        if isinstance(answer, Listing):
            await self._admission.check_as_of(who, answer.as_of)
        return answer

    async def perform(
        self, subscriber: Subscriber, command: InboxCommand, by: str | None = None
    ) -> Counted | Listing | Changed:
        """``by`` is the device that asks for it, where there is one. Raises InvalidArgument or StoreUnavailable."""
        match command:
            case CountInbox():
                return await self._inboxes.count(subscriber)
            case ListInbox(query):
                # An answer that is more than a client can take at once would end its connection.
                return await self._inboxes.list_items(subscriber, replace(query, max_bytes=self._policy.replay_bytes))
            case Mark(action, ids):
                return await self._inboxes.change(subscriber, action, ids, self._clock.now(), by=by)
            case Snooze(ids, until):
                now = self._clock.now()
                if until - now > self._policy.schedule_ahead:
                    raise InvalidArgument("until", self._policy.ahead_rule)
                changed = await self._inboxes.snooze(subscriber, ids, until, now)
                self._due.expect(until)
                return changed
            case MarkAllRead(up_to):
                try:
                    return await self._inboxes.read_all(subscriber, up_to, self._clock.now(), by=by)
                except CursorRefused as refused:
                    raise InvalidArgument("up_to", f"leads to no place in the log: {refused.reason.value}") from None
