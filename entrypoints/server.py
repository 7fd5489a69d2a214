"""A server: settings, container, open in order, serve, drain, close in reverse."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import tornado.web
from tornado.routing import Router

from adapters.api.backends import Backend
from adapters.api.handlers import NotFound
from adapters.api.ops.console import About, Console
from adapters.api.ops.routes import ops_files, ops_routes
from adapters.api.reload import Reload
from adapters.api.routes import internal_routes
from adapters.auth.callers import Callers
from adapters.auth.served import ServedVerifier
from adapters.cluster.membership import Load, Membership
from adapters.cluster.node import Forwarding
from adapters.http.exchange import Route
from adapters.http.listening import Listener, address_of
from adapters.store.served import ServedPresence, ServedStore, SharedStore, StoreWithOutbox
from adapters.system.nodes import Registry
from adapters.telemetry.history import History
from adapters.transport.served import ServedTransport
from domain.errors import ShuttingDown, StoreUnavailable, SynkroneError
from entrypoints.binding import open_port
from entrypoints.building.limits import http_limits
from entrypoints.container import Container, build_container
from entrypoints.inherited import Inherited
from entrypoints.internal import Internal
from entrypoints.lag import Lag
from entrypoints.pauses import watch_pauses
from entrypoints.settings import Settings, SettingsError
from entrypoints.supervisor import Supervisor, every, repeat, until
from entrypoints.tls import Certificate
from entrypoints.version import installed_version
from entrypoints.vitals import Vitals

_log = logging.getLogger("synkrone.server")

TICK_SECONDS = 1.0
TIDY_PAUSE = 0.05
FORGET_SECONDS = 60.0
COUNTS_AT_ONCE = 50
SHUTDOWN_SECONDS = 28.0
LEAVE_SECONDS = (1.0, 4.0)
"""For at least and at most so long a server that leaves its port to others still serves who has come to it."""
SILENT_SECONDS = 5.0
"""After which it counts as a fault that nobody has looked what others have stored."""


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
        self._background: list[asyncio.Task[None]] = []
        self._sources: list[asyncio.Task[None]] = []
        self._supervisors: list[Supervisor] = []
        self._draining = False
        self._since = container.clock().now()
        self._lag = Lag(container.clock())
        self._vitals: Vitals = container.vitals()
        self._vitals.certificates = {
            "public": certificate,
            **({"internal": internal.certificate} if internal is not None else {}),
        }
        self._delivery: Supervisor
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
        self._background.append(self._start(coroutine))

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
            stack.push_async_callback(self._stop, self._background)
            stack.push_async_callback(self._stop, self._sources)
            self._delivery = self._supervised("delivery", application.delivery.deliver)
            if membership is not None:
                self.run_beside(membership.run())
            if membership is not None and isinstance(store, SharedStore):
                self.run_beside(self._hurry_at_new_epochs(membership, store))
            self.run_beside(presence.follow())
            for transport in transports:
                self.run_beside(every(transport.sweep_seconds, transport.sweep))
            self._supervised("marks", partial(repeat, TICK_SECONDS, self._store_marks))
            self._supervised(
                "counts", partial(repeat, TICK_SECONDS, partial(application.counts.announce, COUNTS_AT_ONCE))
            )
            self._supervised("retention", partial(repeat, TICK_SECONDS, store.tidy, pause=TIDY_PAUSE))
            self._supervised("restrictions", partial(repeat, FORGET_SECONDS, application.admission.forget))
            source = container.source()
            self._supervised(f"source {source.name}", partial(application.publishing.consume, source), self._sources)
            if isinstance(store, StoreWithOutbox):
                self._supervised("outbox", partial(application.publishing.relay, store.outbox), self._sources)
            api = tornado.web.Application(
                container.routes(readiness=self.readiness),
                default_handler_class=NotFound,
                log_function=_log_request,
            )
            if self.internal is not None:
                await stack.enter_async_context(self._serving_nodes(self.internal))
            listener = self._new_listener(api, transports)
            self._follow(self.certificate)
            self.run_beside(every(TICK_SECONDS, application.expiry.tick, listener.sweep))
            self.run_beside(self._watch_readiness(transports, listener))
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
        router = tornado.web.Application(
            [
                *internal_routes(
                    backend=container.backend(),
                    readiness=self.readiness,
                    expose=container.exposition().expose,
                    message_bytes=self.settings.limits.message_bytes,
                    read_roll=read_roll,
                    reload=self.reload,
                ),
                *(ops_routes(console) if console is not None else ()),
            ],
            default_handler_class=NotFound,
            log_function=_log_request,
        )
        forwarding = self.forwarding
        of_nodes: Mapping[str, Route] = container.contact_routes()
        listener = internal.listener(
            router,
            {
                **of_nodes,
                **(forwarding.internal_routes if forwarding is not None else {}),
                **(ops_files() if console is not None else {}),
            },
            clock=container.clock(),
            randomness=container.randomness(),
            taken_over=lambda: forwarding.open_links if forwarding is not None else 0,
        )
        self._follow(internal.certificate)
        self.run_beside(every(TICK_SECONDS, listener.sweep))
        self.run_beside(container.vitals().measure())
        self.run_beside(watch_pauses(container.clock(), container.metrics().loop_paused))
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
        return await self._serving_faults() | {"tail": await self._tail_fault()} | self._supervised_faults()

    def _supervised_faults(self) -> dict[str, str | None]:
        return {supervisor.name: supervisor.fault for supervisor in self._supervisors}

    async def _serving_faults(self) -> dict[str, str | None]:
        """The same, of that without which no client can be served."""
        membership: Membership | None = self._container.membership()
        return {
            "server": ShuttingDown.code if self._draining else None,
            "store": await self._store_fault(),
            "listener": self._listener_fault(),
            "lease": membership.fault if membership is not None else None,
            "keys": self._container.verifier().fault,
            self._delivery.name: self._delivery.fault,
        }

    async def _watch_readiness(self, transports: Sequence[ServedTransport], listener: Listener) -> None:
        """While a fault is known, clients are told so at their handshake, on which they back off."""
        while True:
            faults = await self._serving_faults()
            self._vitals.readiness = {**faults, "tail": await self._tail_fault(), **self._supervised_faults()}
            ready = all(fault is None for fault in faults.values())
            for transport in transports:
                transport.set_ready(ready=ready)
            listener.set_ready(ready=ready)
            await asyncio.sleep(TICK_SECONDS)

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
        """Take no new connections, as others take them from the same port; serve those who have come, for ``least``
        seconds, and wait until they are let in."""
        self.listener.leave()
        most = LEAVE_SECONDS[1]

        async def nobody_comes() -> bool:
            is_expected = any(transport.connecting for transport in self._container.transports())
            return not is_expected and not self.listener.is_asked

        await asyncio.sleep(least)
        with suppress(TimeoutError):
            async with asyncio.timeout(most - least):
                await until(nobody_comes)
        self.listener.close_idle()

    async def drain(self) -> None:
        """Take nothing new, deliver what was taken, tell every client, and wait until they are gone.

        The port stays open meanwhile: clients that poll come back to it for what they are told. Raises TimeoutError.
        """
        self._draining = True
        application = self._container.application()
        for transport in self._container.transports():
            transport.stop_accepting()
        application.publishing.close()
        await self._stop(self._sources)

        async def all_gone() -> bool:
            application.expiry.tick()
            return application.connections.open_connections == 0

        async with asyncio.timeout(SHUTDOWN_SECONDS):
            await until(application.publishing.is_up_to_date)
            application.expiry.drain()
            if self.forwarding is not None:
                await self.forwarding.drain(self.settings.limits.drain_time.total_seconds())
            await until(all_gone, look_every=0.1)
            if self.forwarding is not None:
                await self.forwarding.release()

    async def _store_fault(self) -> str | None:
        try:
            await self._container.store().ensure_writable()
        except StoreUnavailable as error:
            return error.code
        return None

    def _listener_fault(self) -> str | None:
        try:
            silent: float = self._container.store().silent_seconds
        except StoreUnavailable as error:
            return error.code
        return f"the log was not read for {silent:.0f} s" if silent > SILENT_SECONDS else None

    async def _tail_fault(self) -> str | None:
        container = self._container
        delivered = container.application().hub.delivered
        try:
            head = await container.store().head()
        except StoreUnavailable as error:
            return error.code
        self._vitals.head = head.offset
        return self._lag.fault(head.offset, delivered.offset if delivered is not None else 0)

    def _new_listener(self, router: Router, transports: Sequence[ServedTransport]) -> Listener:
        of_transports = {path: route for transport in transports for path, route in transport.routes.items()}
        forwarding = self.forwarding
        if forwarding is not None:
            of_transports |= dict.fromkeys(self._container.socketio().routes, forwarding.route)

        def refuse_at_once(head: bytes) -> bytes | None:
            answers = (transport.refuse_at_once(head) for transport in transports)
            return next((answer for answer in answers if answer is not None), None)

        listener = Listener(
            self._sockets,
            router,
            routes={**self._container.publish_routes(), **self._container.file_routes(), **of_transports},
            tls=self.certificate.context,
            limits=http_limits(self.settings),
            taken_over=lambda: (
                sum(transport.open_sockets for transport in transports)
                + (forwarding.open_sockets if forwarding is not None else 0)
            ),
            give_up_place=lambda: any(transport.give_up_place() for transport in transports),
            refuse_at_once=refuse_at_once,
            clock=self._container.clock(),
            randomness=self._container.randomness(),
            inherited=self._inherited,
        )
        self.certificate.follow(listener.prove_by)
        return listener

    def _follow(self, certificate: Certificate) -> None:
        if certificate.context is not None:
            self.run_beside(certificate.watch())

    def _supervised(
        self, name: str, run: Callable[[], Awaitable[None]], tasks: list[asyncio.Task[None]] | None = None
    ) -> Supervisor:
        container = self._container
        supervisor = Supervisor(name, run, clock=container.clock(), randomness=container.randomness())
        self._supervisors.append(supervisor)
        (self._background if tasks is None else tasks).append(self._start(supervisor()))
        return supervisor

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A background task that ends by a defect ends the server: it would deliver nothing any more."""
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

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

    @staticmethod
    async def _stop(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


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


def _log_request(handler: tornado.web.RequestHandler) -> None:
    request = handler.request
    caller = getattr(handler, "caller", None)
    _log.debug(
        "request",
        extra={
            "method": request.method,
            "path": request.path,
            "status": handler.get_status(),
            "seconds": request.request_time(),
            "caller": caller.name if caller is not None else None,
        },
    )
