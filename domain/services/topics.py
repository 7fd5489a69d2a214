"""Topics: who is in them, in the log and in the rooms of this server."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import InvalidArgument
from domain.model import ChangeMembers, Control, Position, Room, UserId
from domain.policy import AUDIENCE_MAX_USERS, ConnectionPolicy, is_name, name_fault
from domain.ports import Topics
from domain.services.connections import Connections
from domain.services.counts import CountsService


class TopicService:
    """The TopicMembers of the domain. ``carry_out`` is to be called with every control of the log."""

    def __init__(
        self, *, topics: Topics, connections: Connections, counts: CountsService, policy: ConnectionPolicy
    ) -> None:
        self._topics = topics
        self._connections = connections
        self._counts = counts
        self._policy = policy

    async def change_members(self, topic: str, add: Sequence[UserId], remove: Sequence[UserId]) -> None:
        if not is_name(topic):
            raise InvalidArgument("topic", name_fault(topic))
        if len(add) + len(remove) > AUDIENCE_MAX_USERS:
            raise InvalidArgument("add", f"and remove together may name {AUDIENCE_MAX_USERS} users")
        for name, users in (("add", add), ("remove", remove)):
            for index, user in enumerate(users):
                if not is_name(user):
                    raise InvalidArgument(f"{name}[{index}]", name_fault(user))
        added, removed = dict.fromkeys(add), dict.fromkeys(remove)
        both = next((user for user in removed if user in added), None)
        if both is not None:
            raise InvalidArgument(f"remove[{remove.index(both)}]", "is to be added as well")
        if added or removed:
            await self._topics.change_members(topic, [*added], [*removed], most=self._policy.topics_per_user)

    def carry_out(self, control: Control, at: Position) -> None:
        """At its place in the log: for each connection of those users to this server it holds from there on."""
        if not isinstance(control, ChangeMembers):
            return
        room = Room.of_topic(control.topic)
        for users, is_member in ((control.joined, True), (control.left, False)):
            for user in users:
                for subscription in self._connections.subscriptions_of(user):
                    subscription.change_topic(room, at, is_member=is_member)
                    # What is no news to this one may be to what is counted, which another one may have begun.
                    self._counts.moved(subscription, at)
