"""How a server ends, so that nobody loses anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from adapters.cluster.node import Forwarding
from adapters.http.listening import Listener
from adapters.transport.served import ServedTransport
from domain.application import Application
from entrypoints.background import Background
from entrypoints.supervisor import until

SHUTDOWN_SECONDS = 28.0
LEAVE_SECONDS = (1.0, 4.0)
"""For at least and at most so long a server that leaves its port to others still serves who has come to it."""


async def leave(listener: Listener, transports: Sequence[ServedTransport], least: float = LEAVE_SECONDS[0]) -> None:
    """Take no new connections, as others take them from the same port; serve those who have come, for ``least``
    seconds, and wait until they are let in."""
    listener.leave()
    most = LEAVE_SECONDS[1]

    async def nobody_comes() -> bool:
        is_expected = any(transport.connecting for transport in transports)
        return not is_expected and not listener.is_asked

    await asyncio.sleep(least)
    with suppress(TimeoutError):
        async with asyncio.timeout(most - least):
            await until(nobody_comes)
    listener.close_idle()


async def drain(
    application: Application,
    transports: Sequence[ServedTransport],
    sources: Background,
    forwarding: Forwarding | None,
    drain_time: timedelta,
) -> None:
    """Take nothing new, deliver what was taken, tell every client, and wait until they are gone.

    The port stays open meanwhile: clients that poll come back to it for what they are told. Raises TimeoutError.
    """
    for transport in transports:
        transport.stop_accepting()
    application.publishing.close()
    await sources.stop()

    async def all_gone() -> bool:
        application.expiry.tick()
        return application.connections.open_connections == 0

    async with asyncio.timeout(SHUTDOWN_SECONDS):
        await until(application.publishing.is_up_to_date)
        application.expiry.drain()
        if forwarding is not None:
            await forwarding.drain(drain_time.total_seconds())
        await until(all_gone, look_every=0.1)
        if forwarding is not None:
            await forwarding.release()
