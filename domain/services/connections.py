"""Who is connected, and how connections are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from domain.delivery.hub import Subscription
from domain.errors import ConnectionGone, DisconnectedByOperator, SynkroneError, TooManyConnections, Unavailable
from domain.model import (
    AckId,
    ConnectionInfo,
    Control,
    DisconnectUser,
    EraseUser,
    Identity,
    Position,
    Subscriber,
    UserId,
)
from domain.policy import ConnectionPolicy, Deadlines
from domain.ports import Outlet, Presence, Telemetry
from domain.requests import Asked
from domain.services.recovery import Start

NEVER = float("inf")


class Request(NamedTuple):
    """What a client asks for; without an ``ack`` it wants no answer."""

    ack: AckId | None
    asked: Asked


class Disconnection(NamedTuple):
    """Of a user, at a place in the log."""

    at: Position
    reconnect: bool


@dataclass(slots=True, eq=False)
class Connection:
    """A connection from its first word to the end of the last thing it has asked for.

    It has an ``identity`` once its token is verified, and a ``pid`` once it is let in. Its ``start`` is kept until its
    reply has been sent. It goes on after the offset ``began_after``. Its client ``had`` everything up to a position by
    its cursor, and ``continues`` the one with that pid. ``came_at`` is the head of the log as it was read for its
    start; ``disconnection`` is the last one of its user while it was connecting. ``is_live``: its replay is over, or
    has failed. ``closing``: it has been told to end. At ``leaves_at`` it will be, for ``leaves_for``. The first of what
    is to be done at a time is due at ``due_at``, on the monotonic clock.
    ``requests`` are carried out in their order, and the first is under way while it ``is_working`` and ``is_live``.
    """

    subscription: Subscription[Any, Any]
    remote_address: str
    since: datetime
    identity: Identity | None = None
    device: str | None = None
    subscriber: Subscriber | None = None
    pid: str | None = None
    start: Start | None = None
    began_after: int = 0
    had: Position | None = None
    continues: str | None = None
    came_at: Position | None = None
    disconnection: Disconnection | None = None
    deadlines: Deadlines | None = None
    has_reply: bool = False
    is_live: bool = False
    warned: bool = False
    closing: bool = False
    leaves_at: float | None = None
    leaves_for: Unavailable | None = None
    due_at: float = NEVER
    received: Position | None = None
    # A deque would take 700 octets more for each connection, and there are few.
    requests: list[Request] = field(default_factory=list)
    is_working: bool = True

    def lasts(self, deadlines: Deadlines) -> None:
        """As long as a token that was accepted."""
        self.deadlines, self.warned = deadlines, False
        self.find_due()

    def leaves(self, at: float, why: Unavailable) -> None:
        """Then, where its token lasts that long."""
        self.leaves_at, self.leaves_for = at, why
        self.find_due()

    def find_due(self) -> None:
        """What is next; of one without a token that was accepted nothing."""
        if self.deadlines is None or self.closing:
            self.due_at = NEVER
            return
        by_token = self.deadlines.close_at if self.warned else min(self.deadlines.warn_at, self.deadlines.close_at)
        self.due_at = by_token if self.leaves_at is None else min(by_token, self.leaves_at)

    @property
    def info(self) -> ConnectionInfo:
        return ConnectionInfo(
            self.device,
            tuple(self.identity.all_roles) if self.identity is not None else (),
            self.subscription.outlet.technology,
            self.remote_address,
            self.since,
        )


class Connections:
    """Those of this server. While ``is_draining`` nobody is let in."""

    def __init__(self, policy: ConnectionPolicy, presence: Presence, telemetry: Telemetry) -> None:
        self._policy = policy
        self._presence = presence
        self._telemetry = telemetry
        self._by_outlet: dict[Outlet, Connection] = {}
        self._by_user: dict[UserId, dict[Connection, None]] = {}
        self._by_pid: dict[str, Connection] = {}
        self._verified = 0
        self._leaving: dict[Outlet, Connection] = {}
        self._leaving_of: Counter[UserId] = Counter()
        self.is_draining = False

    @property
    def open_connections(self) -> int:
        """Those that have not ended, those still connecting among them, and those with something still to be done."""
        return len(self._by_outlet) + len(self._leaving)

    @property
    def all(self) -> Collection[Connection]:
        return self._by_outlet.values()

    @property
    def most(self) -> int:
        """As many as there may be whose token is good."""
        return self._policy.connections

    @property
    def is_full(self) -> bool:
        """Whether there are as many whose token is good as there may be."""
        return self._verified + len(self._leaving) >= self.most

    def find(self, outlet: Outlet) -> Connection | None:
        """One that has not ended."""
        return self._by_outlet.get(outlet)

    def find_working(self, outlet: Outlet) -> Connection | None:
        """One that has not ended, or has left something to be done."""
        return self._by_outlet.get(outlet) or self._leaving.get(outlet)

    def ensure_open(self, connection: Connection) -> None:
        """Raises ConnectionGone."""
        if not self._has(connection):
            raise ConnectionGone

    # from the first word to the last

    def begin(self, subscription: Subscription[Any, Any], remote_address: str, now: datetime) -> Connection:
        connection = self._by_outlet[subscription.outlet] = Connection(subscription, remote_address, now)
        return connection

    def verified(self, connection: Connection, identity: Identity) -> None:
        connection.identity = identity
        self._by_user.setdefault(identity.user, {})[connection] = None
        self._verified += 1

    def let_in(self, connection: Connection, identity: Identity, pid: str, came_at: Position) -> None:
        connection.pid, connection.came_at = pid, came_at
        self._by_pid[pid] = connection
        # In the order in which they were let in, and not in that of their tokens' verification.
        siblings = self._by_user[identity.user]
        del siblings[connection]
        siblings[connection] = None
        disconnection = connection.disconnection
        if disconnection is not None and came_at.offset < disconnection.at.offset:
            self.close(connection, DisconnectedByOperator(reconnect=disconnection.reconnect))
        connections = self._open_of(identity.user)
        for surplus in connections[: self._policy.surplus(len(connections))]:
            self.close(surplus, TooManyConnections())

    def of_pid(self, pid: str) -> Connection | None:
        """The one that came last."""
        return self._by_pid.get(pid)

    def close(self, connection: Connection, error: SynkroneError) -> None:
        """Tell it why it ends, if it has not been told."""
        if connection.closing or not self._has(connection):
            return
        connection.closing = True
        self._presence.leave(connection.subscription.outlet)
        self._telemetry.closing(connection.subscription.outlet.id, connection.identity, error.code, error.detail)
        connection.subscription.close(self._policy.refusal(error))

    def close_all(self, error: SynkroneError) -> int:
        """Those who have said who they are; how many there were."""
        those = [one for one in self._by_outlet.values() if one.identity is not None and not one.closing]
        for connection in those:
            self.close(connection, error)
        return len(those)

    def end(self, connection: Connection) -> None:
        """It has ended, or was never let in."""
        if not self._has(connection):
            return
        del self._by_outlet[connection.subscription.outlet]
        connection.subscription.leave()
        self._presence.leave(connection.subscription.outlet)
        if connection.pid is not None and self._by_pid.get(connection.pid) is connection:
            del self._by_pid[connection.pid]
        if connection.identity is not None:
            self._verified -= 1
            siblings = self._by_user.get(connection.identity.user, {})
            siblings.pop(connection, None)
            if not siblings:
                self._by_user.pop(connection.identity.user, None)
            self._leave(connection, connection.identity.user)

    def _has(self, connection: Connection) -> bool:
        return self._by_outlet.get(connection.subscription.outlet) is connection

    # what is still to be done for who has ended

    def _leave(self, connection: Connection, user: UserId) -> None:
        """Of requests beyond the bounds only the one that is under way is finished."""
        if not connection.requests:
            return
        if self._leaving_of[user] < self._policy.connections_per_user and len(self._leaving) < self._policy.connections:
            self._leaving[connection.subscription.outlet] = connection
            self._leaving_of[user] += 1
            return
        under_way = connection.requests[0] if connection.is_live else None
        connection.requests.clear()
        if under_way is not None:
            connection.requests.append(under_way)

    def done(self, connection: Connection) -> None:
        """All that it had asked for is, or cannot be."""
        connection.requests.clear()
        if self._leaving.pop(connection.subscription.outlet, None) is not None and connection.identity is not None:
            user = connection.identity.user
            self._leaving_of[user] -= 1
            if not self._leaving_of[user]:
                del self._leaving_of[user]

    # operators

    def connections_of(self, user: UserId) -> Sequence[ConnectionInfo]:
        return [connection.info for connection in self._open_of(user)]

    def disconnect(self, user: UserId, *, reconnect: bool) -> int:
        """Close all that the user has here; how many there were."""
        connections = self._open_of(user)
        for connection in connections:
            self.close(connection, DisconnectedByOperator(reconnect=reconnect))
        return len(connections)

    def identities_of(self, user: UserId) -> Sequence[Identity]:
        """Of each connection that was let in."""
        return [one.identity for one in self._open_of(user) if one.identity is not None]

    def subscriptions_of(self, user: UserId) -> Sequence[Subscription[Any, Any]]:
        """Of each connection that has shown a good token, those still connecting among them."""
        return [one.subscription for one in self._by_user.get(user, ())]

    def close_where(self, user: UserId, fault: Callable[[Identity], SynkroneError | None]) -> None:
        """Close those of the user's that were let in and have a fault, for it."""
        for connection in self._open_of(user):
            error = fault(connection.identity) if connection.identity is not None else None
            if error is not None:
                self.close(connection, error)

    def carry_out(self, control: Control, at: Position) -> None:
        """At its place in the log."""
        if isinstance(control, DisconnectUser):
            self._disconnect_before(Disconnection(at, control.reconnect), control.user)
        elif isinstance(control, EraseUser):
            self._disconnect_before(Disconnection(at, reconnect=True), control.user)

    def _disconnect_before(self, disconnection: Disconnection, user: UserId) -> None:
        """Close those that came before it; of those that are still connecting it turns out as they are let in."""
        for connection in list(self._by_user.get(user, ())):
            if connection.came_at is None:
                connection.disconnection = disconnection
            elif connection.came_at.offset < disconnection.at.offset:
                self.close(connection, DisconnectedByOperator(reconnect=disconnection.reconnect))

    def _open_of(self, user: UserId) -> list[Connection]:
        """Those that were let in, the oldest first."""
        return [one for one in self._by_user.get(user, ()) if one.pid is not None and not one.closing]
