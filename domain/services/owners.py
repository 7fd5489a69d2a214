"""The users whose inboxes others look into, as they came: in which sets of roles."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import InvalidArgument
from domain.model import EVERYONE, Room, Subscriber, UserId, role_set, roles_in
from domain.ports import Subscribers
from domain.rules.role_sets import largest, roles_of

ROLES_MOST = 100
"""Of one inbox: those of each set of roles in which it is looked at."""


async def owner(subscribers: Subscribers, user: UserId, role: str | None, came_in: Sequence[str]) -> Subscriber:
    """Of the sets of roles in which they came, those that hold the role, or all of them. Raises InvalidArgument."""
    if role is not None and role not in roles_of(came_in):
        raise InvalidArgument("role", "is none in which the user has come")
    own = Room.of_user(user)
    if not came_in:
        # To register somebody who never came would have them start here, in the rooms that they share.
        return Subscriber(user, "", {own: 0})
    sets = _looked_at(role, came_in)
    rooms = [(own, EVERYONE, *map(Room.of_role, roles)) for roles in sets]
    # They have a start in each of these.
    registered = await subscribers.register(user, role_set(sets[0]), frozenset(room for some in rooms for room in some))
    starts, *others = [{room: registered.starts[room] for room in some} for some in rooms]
    return Subscriber(user, registered.role, starts, tuple(others))


def _looked_at(role: str | None, came_in: Sequence[str]) -> Sequence[Sequence[str]]:
    sets: list[Sequence[str]] = []
    number = 0
    for roles in largest(name for name in came_in if role is None or role in roles_in(name)):
        sets.append(roles)
        number += len(roles)
        if number > ROLES_MOST:
            fault = "is required: the user has come in" if role is None else "is one that the user has had with"
            raise InvalidArgument("role", f"{fault} more than {ROLES_MOST}")
    return sets
