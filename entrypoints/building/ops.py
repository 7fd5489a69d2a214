"""The operator's page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from adapters.api.backends import Backend
from adapters.api.health import Readiness
from adapters.api.nodes import ReadRoll, SharedRoll
from adapters.api.ops.console import About, Console
from adapters.api.ops.sessions import Attempts, Sessions
from adapters.api.ops.users import block_of, closing, connections_of, deliveries_of, inbox_of, restricting
from adapters.auth.callers import Callers
from adapters.http.peer import PeerPolicy
from adapters.system.nodes import Member
from adapters.system.samples import Samples
from domain.application import Application
from domain.ports import Clock, Telemetry
from entrypoints.settings import Settings


def build_console(
    settings: Settings,
    application: Application,
    backend: Backend,
    peers: PeerPolicy,
    telemetry: Telemetry,
    clock: Clock,
    samples: Samples,
    *,
    readiness: Readiness,
    about: Callable[[], About],
    read_roll: ReadRoll | None,
) -> Console | None:
    """None where the settings want no page."""
    if not settings.internal.ops:
        return None
    directory, access = application.directory, application.access
    return Console(
        keys=lambda: backend.callers.api_keys if isinstance(backend.callers, Callers) else None,
        sessions=Sessions(clock, lifetime=settings.internal.ops_session, idle=settings.internal.ops_idle),
        attempts=Attempts(clock),
        peers=peers,
        telemetry=telemetry,
        clock=clock,
        samples=samples,
        readiness=readiness,
        about=about,
        looks={
            "block": block_of(access),
            "connections": connections_of(directory),
            "deliveries": deliveries_of(application.ledger),
            "inbox": inbox_of(application.lookups),
        },
        actions={"close": closing(directory), **restricting(access)},
        members=_members(SharedRoll(read_roll)) if read_roll is not None else None,
    )


def _members(read_roll: ReadRoll) -> Callable[[], Awaitable[list[Member]]]:
    async def members() -> list[Member]:
        return list((await read_roll()).members)

    return members
