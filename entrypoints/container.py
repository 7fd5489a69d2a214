"""The wiring: who gets what. The one module that knows dependency-injector; what it calls is in ``building``.

Everything is constructed synchronously; what needs a loop opens later, in the server.
"""

from __future__ import annotations

from typing import Any, Final

from dependency_injector import containers, providers
from prometheus_client import CollectorRegistry

from adapters.api.backends import Backend
from adapters.api.inbox import Users
from adapters.api.pacing import PublishPace
from adapters.api.publish import BATCH_PATH, ONE_PATH, publish_routes
from adapters.api.routes import api_routes
from adapters.auth.key_servers import KeyServers
from adapters.store.served import ServedStore
from adapters.system.clock import SystemClock
from adapters.system.ids import SystemRandomness
from adapters.system.pids import KeyedPids
from adapters.telemetry.exposition import Exposition
from adapters.telemetry.history import History
from adapters.telemetry.logging import LoggingTelemetry
from adapters.telemetry.metrics import Metrics
from adapters.telemetry.sampled import Sampled
from adapters.telemetry.shown import SHOWN
from adapters.transport.arrivals import Arrivals
from domain.application import Application
from entrypoints.building.auth import build_callers, build_issuers, build_jwt_verifier
from entrypoints.building.errors import as_settings_errors
from entrypoints.building.files import build_file_routes
from entrypoints.building.nodes import (
    build_contact_routes,
    build_forwarding,
    build_membership,
    build_presence,
    members_of,
)
from entrypoints.building.ops import build_console
from entrypoints.building.sources import build_feed, build_memory_source
from entrypoints.building.stores import build_memory_store, build_postgresql_store, build_sqlite_store
from entrypoints.building.telemetry import build_telemetry, build_tracer_provider
from entrypoints.building.transports import build_peers, build_policy, build_request_pace, build_socketio, build_sse
from entrypoints.settings import Settings, SettingsError
from entrypoints.version import installed_version
from entrypoints.vitals import Vitals


class Container(containers.DeclarativeContainer):
    """Who gets what. To swap an adapter, change its line.

    The schemes by which a setting can select an adapter are those of its Selector here, and nowhere else.
    """

    settings = providers.Dependency(instance_of=Settings)

    clock = providers.Singleton(SystemClock)
    randomness = providers.Singleton(SystemRandomness)
    counted = providers.Singleton(CollectorRegistry)
    metrics = providers.Singleton(Metrics, counted, clock)
    exposition = providers.Singleton(Exposition, counted)
    tracer_provider = providers.Singleton(build_tracer_provider, settings)
    history = providers.Singleton(History, counted, SHOWN, clock)
    policy = providers.Singleton(build_policy, settings, randomness)

    key_servers = providers.Singleton(KeyServers, clock, metrics.provided.keys_fetched)
    issuers = providers.Singleton(build_issuers, settings.provided.auth, key_servers)
    verifier = providers.Selector(
        settings.provided.auth.verifier.scheme,
        jwt=providers.Singleton(build_jwt_verifier, settings.provided.auth, issuers, clock),
    )
    callers = providers.Singleton(build_callers, settings.provided.api, settings.provided.auth, issuers.provider, clock)

    store = providers.Selector(
        settings.provided.store.scheme,
        memory=providers.Singleton(build_memory_store, settings, clock),
        sqlite=providers.Singleton(build_sqlite_store, settings, clock, metrics),
        postgresql=providers.Singleton(build_postgresql_store, settings, clock, metrics),
    )
    telemetry = providers.Singleton(
        build_telemetry, providers.Singleton(LoggingTelemetry, clock), metrics, tracer_provider, store
    )
    pids = providers.Singleton(KeyedPids, store.provided.secret)
    source = providers.Selector(
        settings.provided.source.url.scheme,
        memory=providers.Singleton(build_memory_source, settings.provided.source.url),
        **dict.fromkeys(("http", "https"), providers.Singleton(build_feed, settings, clock, randomness)),
    )
    peers = providers.Singleton(build_peers, settings, telemetry)
    arrivals = providers.Singleton(Arrivals)
    registry = providers.Singleton(lambda store: store.registry(), store)
    membership = providers.Singleton(build_membership, registry, clock, randomness)
    members = providers.Singleton(members_of, membership)
    presence = providers.Singleton(build_presence, settings, store, membership)
    contact_routes = providers.Singleton(build_contact_routes, membership, store)
    socketio = providers.Singleton(build_socketio, settings, clock, peers, arrivals)
    forwarding = providers.Singleton(build_forwarding, settings, clock, peers, socketio, members)
    sse = providers.Singleton(build_sse, settings, clock, peers, arrivals)
    transports = providers.Singleton(lambda *transports: transports, socketio, sse)

    application = providers.Singleton(
        Application,
        verifier=verifier,
        store=store,
        presence=presence,
        transports=transports,
        pids=pids,
        clock=clock,
        randomness=randomness,
        telemetry=telemetry,
        policy=policy,
        longest_life=settings.provided.auth.longest_life,
        most_restrictions=settings.provided.limits.restrictions,
        keeps_deliveries=settings.provided.retention.deliveries,
    )

    vitals = providers.Singleton(Vitals, application, transports, store, source, clock)
    sampled = providers.Singleton(Sampled, counted, vitals, providers.Callable(installed_version))

    connections = application.provided.connections
    publishing = application.provided.publishing
    backend = providers.Singleton(
        Backend,
        publisher=publishing,
        editor=application.provided.editing,
        directory=application.provided.directory,
        access=application.provided.access,
        pace=providers.Singleton(PublishPace, clock),
        inbox_pace=providers.Singleton(build_request_pace, settings.provided.limits, clock),
        deliveries=application.provided.ledger,
        reports=application.provided.reports,
        inboxes=application.provided.user_inboxes,
        topics=application.provided.topics,
        erasing=application.provided.erasing,
        exports=application.provided.exports,
        callers=callers,
        peers=peers,
        telemetry=telemetry,
    )
    users = providers.Singleton(
        Users,
        access=application.provided.inboxes,
        peers=peers,
        telemetry=telemetry,
        pace=providers.Singleton(build_request_pace, settings.provided.limits, clock),
    )
    publish_routes = providers.Singleton(
        publish_routes,
        backend,
        publish_bytes=settings.provided.limits.publish_bytes,
        batch_bytes=settings.provided.limits.batch_bytes,
    )
    routes = providers.Factory(
        api_routes,
        backend=backend,
        users=users,
        message_bytes=settings.provided.limits.message_bytes,
        published=publish_routes.provided[ONE_PATH],
        batches=publish_routes.provided[BATCH_PATH],
    )
    console = providers.Factory(build_console, settings, application, backend, peers, telemetry, clock, history)
    file_routes = providers.Singleton(build_file_routes, settings)


SHARED_STORES: Final = ("postgresql",)
"""The schemes of ``store`` for stores that several processes can serve from at once."""

SELECTED_BY: Final = {"verifier": "auth.verifier", "store": "store", "source": "source.url"}
"""The settings whose addresses select adapters, by the Selectors of the container."""


def add_kinds(port: providers.Selector[Any], **kinds: providers.Provider[Any]) -> None:
    """Let the addresses of more schemes select adapters: ``add_kinds(Container.source, queue=...)``.

    In every container that is made afterwards. Raises TypeError for a scheme that is taken.
    """
    port.set_providers(**port.providers, **kinds)


def build_container(settings: Settings) -> Container:
    """Build every part, so that a wrong setting shows before anything is opened. Raises SettingsError."""
    container = Container(settings=settings)
    for port, setting in SELECTED_BY.items():
        _build_selected(getattr(container, port), setting)
    container.tracer_provider()
    container.application()
    container.sampled()
    container.backend()
    return container


def build_store(settings: Settings) -> ServedStore:
    """The store alone. Raises SettingsError."""
    container = Container(settings=settings)
    _build_selected(container.store, SELECTED_BY["store"])
    store: ServedStore = container.store()
    return store


def _build_selected(port: providers.Selector[Any], setting: str) -> None:
    if not port.overridden and port.selector() not in port.providers:
        *others, last = port.providers
        known = f"{', '.join(others)} or {last}" if others else last
        raise SettingsError(f"{setting}: must begin with {known}")
    section, _, name = setting.rpartition(".")
    with as_settings_errors(section, name):
        port()
