"""Which users may come in: revoking their tokens and blocking them, on every server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from domain.errors import InvalidArgument, InvalidToken, TokenRevoked, TooManyRestrictions, UserBlocked
from domain.model import (
    Block,
    Blocked,
    BlockUser,
    Control,
    Identity,
    Position,
    RestrictUser,
    Revoked,
    RevokeTokens,
    UnblockUser,
    UserId,
)
from domain.policy import REASON_MAX_LENGTH, ConnectionPolicy, is_name, name_fault
from domain.ports import Clock, Log, Presence, Restrictions
from domain.rules.restrictions import is_blocked, is_revoked
from domain.services.admission import Admission
from domain.services.connections import Connections


class UserAccessService:
    """The UserAccess of the domain. ``carry_out`` is to be called with every control of the log."""

    def __init__(
        self,
        *,
        log: Log,
        restrictions: Restrictions,
        presence: Presence,
        admission: Admission,
        connections: Connections,
        policy: ConnectionPolicy,
        clock: Clock,
    ) -> None:
        self._log = log
        self._restrictions = restrictions
        self._presence = presence
        self._admission = admission
        self._connections = connections
        self._policy = policy
        self._clock = clock

    async def revoke(self, user: UserId, issued_before: datetime | None) -> Revoked:
        now = self._clock.now()
        if issued_before is None:
            issued_before = now
        elif issued_before > now + self._policy.leeway:
            raise InvalidArgument("issued_before", "must not be in the future")
        disconnected = await self._restrict(
            RevokeTokens(user, issued_before), lambda identity: is_revoked(identity, issued_before)
        )
        return Revoked(issued_before, disconnected)

    async def block(self, user: UserId, until: datetime | None, reason: str | None) -> Blocked:
        if until is not None and until <= self._clock.now():
            raise InvalidArgument("until", "must be in the future")
        if reason is not None and not is_name(reason, REASON_MAX_LENGTH):
            raise InvalidArgument("reason", name_fault(reason, REASON_MAX_LENGTH))
        disconnected = await self._restrict(BlockUser(user, until, reason), lambda _: True)
        return Blocked(Block(until, reason), disconnected)

    async def unblock(self, user: UserId) -> Blocked:
        if (await self.block_of(user)).block is not None:
            await self._append(UnblockUser(user))
        return Blocked(None)

    async def block_of(self, user: UserId) -> Blocked:
        stored = await self._restrictions.restriction(user)
        block = stored.block if stored is not None else None
        return Blocked(block if is_blocked(block, self._clock.now()) else None)

    async def _restrict(self, control: RestrictUser, ends: Callable[[Identity], bool]) -> int:
        """How many connections that ends. On other servers all of the user's count: what tokens they have is not known
        here."""
        if not self._admission.has_room_for(control.user):
            raise TooManyRestrictions("operators: limits.restrictions")
        elsewhere = await self._presence.elsewhere(control.user)
        here = sum(map(ends, self._connections.identities_of(control.user)))
        await self._append(control)
        return here + len(elsewhere)

    async def _append(self, control: RestrictUser) -> None:
        # The tail brings it as well, to this server as to all others; but it may have yet to bring what others said
        # before, which would count as known once this is carried out alone.
        await self.learn(control.user, await self._log.append_control(control))

    def carry_out(self, control: Control, at: Position) -> None:
        """At its place in the log. Of those who are still connecting it turns out as they are let in."""
        if isinstance(control, RestrictUser):
            self._admission.carry_out(control, at)
            self._connections.close_where(control.user, self._fault_of_live)

    async def learn(self, user: UserId, upto: Position) -> None:
        """Carry out of what concerns a user all that the log holds up to a position, before they are sent any of it.

        Raises StoreUnavailable.
        """
        if await self._admission.learn(user, upto):
            self._connections.close_where(user, self._fault_of_live)

    def _fault_of_live(self, identity: Identity) -> TokenRevoked | UserBlocked | None:
        found = self._admission.fault(identity)
        return TokenRevoked() if isinstance(found, InvalidToken) else found
