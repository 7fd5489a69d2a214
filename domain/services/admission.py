"""Admission: whether somebody whose token is good may come in. Asked wherever a token is shown."""

from __future__ import annotations

from datetime import timedelta

from domain.delivery.hub import Hub
from domain.errors import InvalidToken
from domain.model import Control, Identity, Position, Restricted, Restriction, RestrictUser, UserId
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Restrictions
from domain.rules import restrictions as rule

LONGEST_LIFE = timedelta(days=365)
MOST = 100_000


class Admission:
    """What the store knows against users, in memory: loaded at the start, and kept up by the tail of the log.

    No token may live longer than ``longest_life``, so that its revocation can be forgotten after that and the
    policy's leeway for clocks that differ. No more than ``most`` users are to be restricted at a time.
    """

    def __init__(
        self,
        *,
        restrictions: Restrictions,
        hub: Hub,
        clock: Clock,
        policy: ConnectionPolicy,
        longest_life: timedelta = LONGEST_LIFE,
        most: int = MOST,
    ) -> None:
        self._restrictions = restrictions
        self._hub = hub
        self._clock = clock
        self._longest_life = longest_life
        self._policy = policy
        self._most = most
        self._by_user: dict[UserId, Restriction] = {}

    def has_room_for(self, user: UserId) -> bool:
        """Whether there are not too many, of whom this may be one."""
        return user in self._by_user or len(self._by_user) < self._most

    def fault(self, identity: Identity) -> rule.Fault | None:
        """Why somebody may not come in, as far as the log was followed; None where they may."""
        now = self._clock.now()
        if rule.lives_too_long(identity, self._longest_life, now):
            return InvalidToken("it lives longer than auth.longest_life")
        return rule.fault(identity, self._by_user.get(identity.user), now)

    def check(self, identity: Identity) -> None:
        """Raises InvalidToken or UserBlocked."""
        found = self.fault(identity)
        if found is not None:
            raise found

    async def check_as_of(self, identity: Identity, position: Position) -> None:
        """The same for somebody who is given what the log holds up to a position. Raises StoreUnavailable."""
        await self.learn(identity.user, position)
        self.check(identity)

    # keeping up

    async def learn(self, user: UserId, upto: Position) -> bool:
        """Know of a user all that the log says up to a position, though it was not followed so far; whether that is
        news. Raises StoreUnavailable."""
        delivered = self._hub.delivered
        if delivered is not None and delivered.offset >= upto.offset:
            return False
        stored = await self._restrictions.restriction(user)
        known = self._by_user.get(user)
        if stored is None or (known is not None and known.offset >= stored.offset):
            return False
        self._by_user[user] = stored
        return True

    async def load(self) -> None:
        """To be called once the hub has begun, and before the first client. Raises StoreUnavailable."""
        self.begin_anew(await self.read())

    async def read(self) -> Restricted:
        """What is stored. Raises StoreUnavailable."""
        return await self._restrictions.restricted()

    def begin_anew(self, restricted: Restricted) -> None:
        """With what was read behind where the hub begins: of the controls in between each counts once."""
        self._by_user = {one.user: one for one in restricted.restrictions}

    def carry_out(self, control: Control, at: Position) -> None:
        """At its place in the log."""
        if isinstance(control, RestrictUser):
            self._by_user[control.user] = rule.after(self._by_user.get(control.user), control, at.offset)

    async def forget(self) -> bool:
        """Give up what keeps nobody out any more. Raises StoreUnavailable."""
        now = self._clock.now()
        expired = now - self._longest_life - self._policy.leeway
        if any(rule.is_over(one, expired, now) for one in self._by_user.values()):
            await self._restrictions.forget_restrictions(issued_before=expired, until=now)
            self._by_user = {user: one for user, one in self._by_user.items() if not rule.is_over(one, expired, now)}
        return False
