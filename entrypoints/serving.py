"""``serve``: a server from its start to its end, and what ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path

from adapters.api.ops.console import PATH as OPS
from adapters.cluster.membership import Membership
from adapters.http.descriptors import raise_descriptor_limit
from adapters.store.served import ServedStore
from adapters.telemetry.logs import configure_logging
from entrypoints.building.telemetry import build_log_exporter
from entrypoints.checking import notices, warnings
from entrypoints.event_loop import run
from entrypoints.garbage import Garbage
from entrypoints.inherited import Inherited, inherited_sockets
from entrypoints.reloading import Reloading
from entrypoints.server import Server, open_server
from entrypoints.service_manager import ServiceManager
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_reading import Naming, read_settings, with_workers
from entrypoints.settings_sources import Sources
from entrypoints.stopping import StopSignals
from entrypoints.supervisor import every
from entrypoints.version import installed_version

_log = logging.getLogger("synkrone.server")

GARBAGE_SECONDS = 60.0
WRONG_SETTING = 2

AWAITED_LEAVE_SECONDS = 0.25
AWAITED_DRAIN = timedelta(seconds=0.5)
"""What it takes to let go of clients that wait for the next server on the same socket, however many they are: they come
back all at once in any case, and each second of it is one for which publishers wait too."""


class Drained(Enum):
    """How a drain ended."""

    ALL = "everybody was told, and has gone"
    SLOWLY = "the time for it was over"
    HURRIED = "a second signal cut it short"


async def _drain(server: Server, signals: StopSignals, *, is_awaited: bool) -> Drained:
    loop = asyncio.get_running_loop()

    async def drain() -> None:
        if signals.others_go_on:
            await server.leave()
        elif is_awaited:
            await server.leave(AWAITED_LEAVE_SECONDS)
        await server.drain()

    drained, hurried = loop.create_task(drain()), loop.create_task(signals.hurry.wait())
    await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not drained.done():
        drained.cancel()
        _log.warning("it is to end at once; the rest is cut")
        return Drained.HURRIED
    if isinstance(drained.exception(), TimeoutError):
        _log.warning("drained too slowly; the rest is cut")
        return Drained.SLOWLY
    drained.result()
    return Drained.ALL


async def serve(
    settings: Settings, sources: Sources, inherited: Inherited | None = None, manager: ServiceManager | None = None
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends it at once. SIGHUP has the settings read again.

    Returns the exit code.
    """
    manager = manager or ServiceManager()
    is_awaited = inherited is not None and bool(inherited.public)

    def adjusted(settings: Settings) -> Settings:
        if not is_awaited:
            return settings
        limits = settings.limits.model_copy(update={"drain_time": min(settings.limits.drain_time, AWAITED_DRAIN)})
        return settings.model_copy(update={"limits": limits})

    server = open_server(adjusted(settings), inherited)
    signals = StopSignals(asyncio.get_running_loop(), reloads=True)
    reloading = Reloading(server, sources, adjust=adjusted, manager=manager)

    def announce(server: Server) -> None:
        print_address(server.url)
        manager.ready(f"listening on {server.url}")
        server.run_beside(manager.watch())

    return await serve_until_stopped(
        server,
        sources,
        signals,
        reloading,
        announce,
        on_stop=lambda: manager.stopping("draining"),
        is_awaited=is_awaited,
    )


def print_address(url: str) -> None:
    print(f"synkrone-socket is listening on {url}", flush=True)  # noqa: T201 (the address is the output)


async def serve_until_stopped(
    server: Server,
    sources: Sources,
    signals: StopSignals,
    reloading: Reloading,
    announce: Callable[[Server], None],
    *,
    on_stop: Callable[[], None] = lambda: None,
    is_awaited: bool = False,
) -> int:
    """Serve, say so by ``announce``, and drain when told to stop, which ``on_stop`` is called for first.

    ``is_awaited``: who comes meanwhile waits for the next server, on the same sockets. Returns the exit code.
    """
    garbage = Garbage(server.container.metrics().collected)
    loop = asyncio.get_running_loop()
    for line in notices(server.settings, sources):
        _log.info(line)
    for line in warnings(server.settings):
        _log.warning(sources.named(line))
    async with server.running():
        announce(server)
        store: ServedStore = server.container.store()
        membership: Membership | None = server.container.membership()
        internal = server.internal
        _log.info(
            "serving",
            extra={
                "version": installed_version(),
                "url": server.url,
                "internal_url": internal.url if internal is not None else None,
                "ops_url": f"{internal.url}{OPS}" if internal is not None and server.settings.internal.ops else None,
                "store": store.place,
                "boot": membership.boot if membership is not None else None,
                "settings": sources.where,
                "loop": type(loop).__module__.partition(".")[0],
            },
        )
        server.run_beside(reloading.obey(signals))
        garbage.start()
        server.run_beside(every(GARBAGE_SECONDS, lambda: garbage.tidy(server.open_connections)))
        stopped = loop.create_task(signals.stop.wait())
        await asyncio.wait((stopped, server.failed), return_when=asyncio.FIRST_COMPLETED)
        if server.failed.done():
            stopped.cancel()
            server.failed.result()
        began = loop.time()
        on_stop()
        _log.info(
            "draining",
            extra={
                "signal": signals.first.name if signals.first is not None else None,
                "is_replaced": signals.others_go_on,
            },
        )
        drained = await _drain(server, signals, is_awaited=is_awaited)
    _log.info("stopped", extra={"drained": drained is Drained.ALL, "seconds": round(loop.time() - began, 3)})
    return 1 if drained is Drained.HURRIED else 0


def with_settings(
    serve_as: Callable[[Settings, Sources], int],
    config: Path | None = None,
    *,
    workers: int | None = None,
    log_fields: Mapping[str, object] | None = None,
) -> int:
    """Serve as the settings say, of which ``workers`` may be another; the exit code, ``WRONG_SETTING`` for a wrong one.

    Each line of the log has ``log_fields``.
    """
    try:
        settings, sources = with_workers(*read_settings(os.environ, config), workers)
        configure_logging(
            settings.log.level,
            settings.log.format,
            fields=log_fields,
            exporter=build_log_exporter(settings, log_fields or {}),
        )
        raise_descriptor_limit()
        with Naming(sources):
            return serve_as(settings, sources)
    except SettingsError as error:
        print(f"synkrone-socket: {error}", file=sys.stderr)  # noqa: T201
        return WRONG_SETTING


def main() -> int:
    """One server, whatever ``workers`` says: the exit code is 1 where a second signal ended it."""
    return with_settings(
        lambda settings, sources: run(
            serve(
                settings,
                sources,
                inherited_sockets(os.environ, os.getpid()),
                ServiceManager.taken(os.environ, os.getpid()),
            )
        )
    )


if __name__ == "__main__":
    sys.exit(main())
