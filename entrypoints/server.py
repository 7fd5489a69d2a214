"""A server: settings, container, open in order, serve, drain, close in reverse."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

from adapters.api.backends import Backend
from adapters.api.ops.console import About, Console
from adapters.api.reload import Reload
from adapters.auth.callers import Callers
from adapters.auth.served import ServedVerifier
from adapters.cluster.membership import Load, Membership
from adapters.cluster.node import Forwarding
from adapters.http.binding import address_of
from adapters.http.listening import Listener
from adapters.store.served import ServedPresence, ServedStore, SharedStore, StoreWithOutbox
from adapters.system.nodes import Registry
from adapters.telemetry.history import History
from adapters.transport.served import ServedTransport
from domain.errors import StoreUnavailable, SynkroneError
from entrypoints.background import Background
from entrypoints.beginnings import store_beginnings
from entrypoints.binding import open_port
from entrypoints.coming_due import deliver_due
from entrypoints.container import Container, build_container
from entrypoints.draining import LEAVE_SECONDS, drain, leave
from entrypoints.inherited import Inherited
from entrypoints.internal import Internal
from entrypoints.listeners import internal_listener, public_listener
from entrypoints.pauses import watch_pauses
from entrypoints.readiness import Readiness
from entrypoints.settings import Settings, SettingsError
from entrypoints.supervisor import every, repeat
from entrypoints.tls import Certificate
from entrypoints.version import installed_version
from entrypoints.vitals import Vitals

_log = logging.getLogger("synkrone.server")

TICK_SECONDS = 1.0
TIDY_PAUSE = 0.05
FORGET_SECONDS = 60.0
WAITING_SECONDS = 60.0
COUNTS_AT_ONCE = 50


class Server:
    """A running server. ``url`` is where it listens. ``inherited``: the sockets go on after it."""

    def __init__(
        self,
        settings: Settings,
        container: Container,
        sockets: list[socket.socket],
        certificate: Certificate,
        internal: Internal | None,
        *,
        inherited: bool = False,
    ) -> None:
        self.settings = settings
        self._container = container
        self._sockets = sockets
        self.certificate = certificate
        self.internal = internal
        self._inherited = inherited
        self.forwarding: Forwarding | None = container.forwarding()
        self.reload: Reload | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        clock, randomness = container.clock(), container.randomness()
        self._background = Background(self.failed, clock=clock, randomness=randomness)
        self._sources = Background(self.failed, clock=clock, randomness=randomness)
        self._since = clock.now()
        self._vitals: Vitals = container.vitals()
        self._vitals.certificates = {
            "public": certificate,
            **({"internal": internal.certificate} if internal is not None else {}),
        }
        self._readiness: Readiness
        self.listener: Listener
        self.internal_listener: Listener | None = None

    @property
    def container(self) -> Container:
        return self._container

    @property
    def url(self) -> str:
        return address_of(self._sockets[0], scheme="https" if self.settings.tls.cert is not None else "http")

    @property
    def internal_url(self) -> str | None:
        """Where the other nodes reach this one; None where there is no internal listener."""
        return self.internal.address if self.internal is not None else None

    @property
    def open_connections(self) -> int:
        connections: int = self._container.connections().open_connections
        return connections

    def _about(self) -> About:
        membership: Membership | None = self._container.membership()
        return About(
            version=installed_version(),
            since=self._since,
            store=self._container.store().place,
            address=self.url,
            boot=membership.boot if membership is not None else None,
        )

    def _load(self) -> Load:
        delivered = self._container.application().hub.delivered
        store: ServedStore = self._container.store()
        return Load(
            self.open_connections, delivered.offset if delivered is not None else 0, silent_seconds=store.silent_seconds
        )

    def run_beside(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """As long as it is running. A defect in it ends the server."""
        self._background.run(coroutine)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Open everything in order; on leaving, close what is left in reverse."""
        container = self._container
        application = container.application()
        transports: Sequence[ServedTransport] = container.transports()
        store: ServedStore = container.store()
        presence: ServedPresence = container.presence()
        verifier: ServedVerifier = container.verifier()
        membership: Membership | None = container.membership()
        async with AsyncExitStack() as stack:
            stack.callback(self._close_sockets)
            if (tracing := container.tracer_provider()) is not None:
                # What waits is exported, in bounded time.
                stack.push_async_callback(asyncio.to_thread, tracing.shutdown)
            stack.push_async_callback(verifier.close)
            stack.push_async_callback(self._close_callers)
            try:
                await store.open()
                stack.push_async_callback(store.close)
                await presence.open()
                stack.push_async_callback(presence.close)
                await application.hub.begin()
                await application.admission.load()
                if membership is not None:
                    stack.push_async_callback(membership.close)
                    await membership.begin(
                        self.internal_url or "", load=self._load, send_away=application.expiry.send_away
                    )
            except SynkroneError as error:
                raise SettingsError(f"store: {error}") from None
            stack.push_async_callback(self._store_last_marks)
            for transport in transports:
                stack.push_async_callback(transport.close)
            stack.push_async_callback(self._background.stop)
            stack.push_async_callback(self._sources.stop)
            supervise = self._background.supervise
            delivery = supervise("delivery", application.delivery.deliver)
            self._readiness = Readiness(container, delivery, (self._background, self._sources))
            if membership is not None:
                self.run_beside(membership.run())
            if membership is not None and isinstance(store, SharedStore):
                self.run_beside(self._hurry_at_new_epochs(membership, store))
            self.run_beside(presence.follow())
            for transport in transports:
                self.run_beside(every(transport.sweep_seconds, transport.sweep))
            supervise("beginnings", partial(store_beginnings, application.ledger))
            supervise("marks", partial(repeat, TICK_SECONDS, self._store_marks))
            supervise("counts", partial(repeat, TICK_SECONDS, partial(application.counts.announce, COUNTS_AT_ONCE)))
            supervise("schedule", partial(deliver_due, application.due))
            supervise("waiting", partial(repeat, WAITING_SECONDS, application.due.count))
            supervise("retention", partial(repeat, TICK_SECONDS, store.tidy, pause=TIDY_PAUSE))
            supervise("restrictions", partial(repeat, FORGET_SECONDS, application.admission.forget))
            source = container.source()
            self._sources.supervise(f"source {source.name}", partial(application.publishing.consume, source))
            if isinstance(store, StoreWithOutbox):
                self._sources.supervise("outbox", partial(application.publishing.relay, store.outbox))
            if self.internal is not None:
                await stack.enter_async_context(self._serving_nodes(self.internal))
            listener = public_listener(
                container,
                self.settings,
                self._sockets,
                self.certificate,
                self.readiness,
                inherited=self._inherited,
            )
            self._follow(self.certificate)
            self.run_beside(every(TICK_SECONDS, application.expiry.tick, listener.sweep))
            self.run_beside(self._readiness.watch(transports, listener, self._vitals, seconds=TICK_SECONDS))
            listener.start()
            self.listener = listener
            stack.push_async_callback(listener.close)
            yield self

    @asynccontextmanager
    async def _serving_nodes(self, internal: Internal) -> AsyncIterator[None]:
        """Answer the other nodes and operators, on the internal listener."""
        container = self._container
        registry: Registry | None = container.registry()
        read_roll = registry.roll if registry is not None else None
        console: Console | None = container.console(readiness=self.readiness, about=self._about, read_roll=read_roll)
        if console is not None:
            history: History = container.history()
            self.run_beside(every(history.every, history.sample))
        listener = internal_listener(container, self.settings, internal, self.readiness, console, self.reload)
        self._follow(internal.certificate)
        self.run_beside(every(TICK_SECONDS, listener.sweep))
        self.run_beside(container.vitals().measure())
        self.run_beside(watch_pauses(container.clock(), container.metrics().loop_paused))
        forwarding = self.forwarding
        if forwarding is not None:
            self.run_beside(every(TICK_SECONDS, forwarding.sweep))
        listener.start()
        self.internal_listener = listener
        try:
            yield
        finally:
            if forwarding is not None:
                await forwarding.close()
            await listener.close()

    async def is_ready(self) -> bool:
        return not any((await self.readiness()).values())

    async def readiness(self) -> dict[str, str | None]:
        """What has to work, by name, each with what is wrong with it or None."""
        return await self._readiness.faults()

    async def _hurry_at_new_epochs(self, membership: Membership, store: SharedStore) -> None:
        """Where an epoch begins the database may be another one, and every session of a node that has not come over to
        it is unknown to those that have."""
        known: str | None = None
        while True:
            with suppress(StoreUnavailable):
                epoch = store.last_epoch()
                if known not in (None, epoch):
                    membership.hurry()
                known = epoch
            await asyncio.sleep(TICK_SECONDS)

    async def leave(self, least: float = LEAVE_SECONDS[0]) -> None:
        """As ``draining.leave`` says."""
        await leave(self.listener, self._container.transports(), least)

    async def drain(self) -> None:
        """As ``draining.drain`` says. Raises TimeoutError."""
        self._readiness.is_draining = True
        await drain(
            self._container.application(),
            self._container.transports(),
            self._sources,
            self.forwarding,
            self.settings.limits.drain_time,
        )

    def _follow(self, certificate: Certificate) -> None:
        if certificate.context is not None:
            self.run_beside(certificate.watch())

    async def _store_marks(self) -> bool:
        application = self._container.application()
        # What is asked for at once becomes one commit, where the store can do that.
        await asyncio.gather(application.recovery.store_marks(), application.ledger.store())
        return False

    async def _store_last_marks(self) -> None:
        """Where they cannot be stored, some of what clients without a cursor got comes to them again."""
        try:
            await self._store_marks()
        except StoreUnavailable as error:
            _log.warning("marks are not stored", extra={"code": error.code})

    async def _close_callers(self) -> None:
        backend: Backend = self._container.backend()
        if isinstance(backend.callers, Callers):
            await backend.callers.close()

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()
        if self.internal is not None:
            self.internal.close()


def open_server(settings: Settings, inherited: Inherited | None = None) -> Server:
    """Build everything and bind the ports, but for those of inherited sockets, without serving yet.

    Raises SettingsError.
    """
    container = build_container(settings)
    certificate = Certificate(settings.tls, "tls")
    inherited = inherited or Inherited()
    internal = Internal.bound(settings, inherited.internal)
    try:
        sockets = list(inherited.public) or open_port(settings)
    except SettingsError:
        if internal is not None:
            internal.close()
        raise
    return Server(settings, container, sockets, certificate, internal, inherited=bool(inherited.public))
