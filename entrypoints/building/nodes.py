"""What a server is to the others that share its store."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.cluster.contact import PATH as CONTACT_PATH
from adapters.cluster.contact import ContactRoute, HttpContacts
from adapters.cluster.members import Members
from adapters.cluster.membership import Membership
from adapters.cluster.node import Forwarding, ForwardingLimits
from adapters.cluster.sids import SessionNames
from adapters.http.exchange import Route
from adapters.http.peer import PeerPolicy
from adapters.store.presence import LocalPresence
from adapters.store.served import ServedPresence, ServedStore, SharedStore
from adapters.system.nodes import Registry
from adapters.transport.socketio.transport import SocketIoTransport
from domain.ports import Clock, Randomness
from entrypoints.settings import Settings
from entrypoints.version import installed_version


def build_forwarding(
    settings: Settings, clock: Clock, peers: PeerPolicy, transport: SocketIoTransport, members: Members | None
) -> Forwarding | None:
    """None for a server that is no node, or that others cannot ask."""
    if members is None or settings.internal.port is None:
        return None
    limits = settings.limits
    transport.name_sessions(SessionNames(members).new)
    return Forwarding(
        transport.sessions,
        members,
        peers,
        clock,
        limits=ForwardingLimits(
            head_bytes=settings.head_bytes,
            body_bytes=limits.message_bytes,
            links=limits.connections,
            poll_seconds=(limits.ping_interval + limits.ping_timeout).total_seconds(),
        ),
    )


def build_membership(registry: Registry | None, clock: Clock, randomness: Randomness) -> Membership | None:
    """None for a server whose store is its own."""
    if registry is None:
        return None
    return Membership(registry, HttpContacts(), version=installed_version(), clock=clock, randomness=randomness)


def members_of(membership: Membership | None) -> Members | None:
    """What forwarding needs of it."""
    return membership


def build_contact_routes(membership: Membership | None, store: ServedStore) -> Mapping[str, Route]:
    """What the other nodes ask of this one."""
    if membership is None:
        return {}
    return {CONTACT_PATH: ContactRoute(membership, lambda: store.silent_seconds)}


def build_presence(settings: Settings, store: ServedStore, membership: Membership | None) -> ServedPresence:
    if membership is None or not isinstance(store, SharedStore):
        return LocalPresence()
    return store.presence(boot=lambda: membership.boot, most=settings.limits.connections_per_user)
