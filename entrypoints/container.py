"""The wiring: the one module that knows every adapter, and dependency-injector.

Everything is constructed synchronously; what needs a loop opens later, in the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dependency_injector import containers, providers
from pydantic import SecretStr

from adapters.api.backends import Backend
from adapters.api.description.routes import description_routes
from adapters.api.inbox import Users
from adapters.api.publish import publish_routes
from adapters.api.routes import api_routes
from adapters.auth.api_keys import ApiKey, ApiKeys, hash_key, parse_hash
from adapters.auth.callers import Callers
from adapters.auth.issuers import Issuer, Issuers, KeySource
from adapters.auth.jwks import RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import Discovery, JwksUrl
from adapters.auth.service_tokens import ServiceTokens
from adapters.client.routes import client_routes
from adapters.cluster.contact import PATH as CONTACT_PATH
from adapters.cluster.contact import ContactRoute, HttpContacts
from adapters.cluster.members import Members
from adapters.cluster.membership import Membership
from adapters.cluster.node import Forwarding, ForwardingLimits
from adapters.cluster.sids import SessionNames
from adapters.http.exchange import Route
from adapters.http.files import FileRoute
from adapters.http.peer import PeerPolicy
from adapters.source.http_feed import HttpFeed
from adapters.source.memory import MemorySource
from adapters.store.memory import MemoryStore
from adapters.store.presence import LocalPresence
from adapters.store.served import ServedPresence, ServedStore, SharedStore
from adapters.store.sqlite.store import SqliteStore
from adapters.system.clock import SystemClock
from adapters.system.configuration import ConfigurationError
from adapters.system.ids import SystemRandomness
from adapters.system.nodes import Registry
from adapters.system.pids import KeyedPids
from adapters.telemetry.logging import LoggingTelemetry
from adapters.transport.arrivals import Arrivals
from adapters.transport.socketio.transport import SocketIoLimits, SocketIoTransport
from adapters.transport.sse.transport import SseLimits, SseTransport
from domain.application import Application
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Randomness, Telemetry
from entrypoints.settings import (
    REPLAY_BYTES,
    SCOPES,
    ApiSettings,
    AuthSettings,
    IssuerSettings,
    MissingSetting,
    Settings,
    SettingsError,
)
from entrypoints.settings_types import Address
from entrypoints.version import installed_version, known_version

SINGLE_KEY_NAME = "api.key"
STREAM_PING = timedelta(seconds=15)


def build_issuers(auth: AuthSettings, clock: Clock) -> Issuers:
    """Raises SettingsError, naming the setting."""
    if auth.secret is not None:
        with _naming("auth"):
            secret = _shared(auth.secret)
            issuer = Issuer(
                keys=secret,
                algorithms=["HS256"],
                audience=auth.audience,
                roles=auth.roles,
                user_claim=auth.user_claim,
                role_claim=auth.role_claim,
            )
            return Issuers([issuer])
    if not auth.issuers:
        raise MissingSetting("auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers")
    issuers = [_issuer(settings, f"auth.issuers[{index}]", clock) for index, settings in enumerate(auth.issuers)]
    with _naming("auth"):
        return Issuers(issuers, shared_user_ids=auth.shared_user_ids)


def _issuer(settings: IssuerSettings, path: str, clock: Clock) -> Issuer:
    with _naming(path):
        return Issuer(
            keys=_keys(settings, path, clock),
            algorithms=settings.algorithms or (["HS256"] if settings.secret is not None else ["RS256"]),
            issuer=settings.issuer,
            audience=settings.audience,
            roles=settings.roles,
            user_claim=settings.user_claim,
            role_claim=settings.role_claim,
            user_prefix=settings.user_prefix,
            services=settings.services,
        )


def _shared(secrets: Sequence[SecretStr]) -> StaticKeys:
    return StaticKeys.from_secret(*(secret.get_secret_value().encode() for secret in secrets))


def _keys(settings: IssuerSettings, path: str, clock: Clock) -> KeySource:
    if settings.secret is not None:
        return _shared(settings.secret)
    if settings.public_key is not None:
        return StaticKeys.from_pem(settings.public_key.encode())
    if settings.jwks is not None and urlsplit(settings.jwks).scheme not in ("http", "https"):
        try:
            return StaticKeys.from_jwks(Path(settings.jwks).read_bytes())
        except OSError as error:
            raise SettingsError(f"{path}.jwks: cannot read {settings.jwks}: {error.strerror}") from None
    if settings.jwks is not None:
        return RemoteKeys(JwksUrl(settings.jwks), clock)
    return RemoteKeys(Discovery(settings.issuer), clock)


def build_jwt_verifier(auth: AuthSettings, issuers: Issuers, clock: Clock) -> JwtVerifier:
    auth.verifier.check_bare()
    return JwtVerifier(issuers, clock, auth.leeway, auth.token_bytes)


def build_callers(
    api: ApiSettings, auth: AuthSettings, build_issuers: Callable[[], Issuers], clock: Clock
) -> Callers | None:
    """Who may call the backend API; None for nobody. Raises SettingsError.

    Issuers are needed for service tokens alone, and users' tokens may be of another kind.
    """
    keys = []
    if api.key is not None:
        with _naming("api"):
            keys.append(ApiKey(SINGLE_KEY_NAME, hash_key(api.key.get_secret_value()), SCOPES))
    for index, settings in enumerate(api.keys):
        with _naming(f"api.keys[{index}]"):
            digest = parse_hash(settings.hash) if settings.hash is not None else hash_key(_plain(settings.key))
            keys.append(ApiKey(settings.name, digest, frozenset(settings.scopes)))
    services = any(issuer.services for issuer in auth.issuers)
    if not keys and not services:
        return None
    with _naming("api"):
        tokens = ServiceTokens(build_issuers(), clock, auth.leeway, auth.token_bytes) if services else None
        return Callers(ApiKeys(keys), tokens)


def build_policy(settings: Settings, randomness: Randomness) -> ConnectionPolicy:
    limits = settings.limits
    return ConnectionPolicy(
        leeway=settings.auth.leeway,
        token_bytes=settings.auth.token_bytes,
        replays_undelivered=settings.replay == "undelivered",
        connections=limits.connections,
        connections_per_user=limits.connections_per_user,
        requests_waiting=limits.events_burst,
        notification_bytes=limits.notification_bytes,
        # Below what may wait at all, or a slow but steady reader would be cut in its replay.
        replay_bytes=min(REPLAY_BYTES, limits.queue_bytes // 2),
        drain=limits.drain_time,
        drain_rate=limits.drain_rate,
        uniform=randomness.uniform,
    )


def build_peers(settings: Settings, telemetry: Telemetry) -> PeerPolicy:
    return PeerPolicy(trusted_proxies=settings.trusted_proxies, origins=settings.cors_origins, telemetry=telemetry)


def build_sse(settings: Settings, clock: Clock, peers: PeerPolicy, arrivals: Arrivals) -> SseTransport:
    limits = settings.limits
    return SseTransport(
        clock=clock,
        peers=peers,
        arrivals=arrivals,
        limits=SseLimits(
            queue_bytes=limits.queue_bytes,
            connections=limits.connections,
            connecting=limits.unauthenticated,
            ping_interval=min(limits.ping_interval, STREAM_PING).total_seconds(),
        ),
    )


def build_socketio(settings: Settings, clock: Clock, peers: PeerPolicy, arrivals: Arrivals) -> SocketIoTransport:
    limits = settings.limits
    return SocketIoTransport(
        clock=clock,
        peers=peers,
        arrivals=arrivals,
        limits=SocketIoLimits(
            message_bytes=limits.message_bytes,
            queue_bytes=limits.queue_bytes,
            connect_timeout=limits.connect_timeout.total_seconds(),
            connections=limits.connections,
            unauthenticated=limits.unauthenticated,
            events_per_second=limits.events_per_second,
            events_burst=limits.events_burst,
            ping_interval=limits.ping_interval.total_seconds(),
            ping_timeout=limits.ping_timeout.total_seconds(),
        ),
    )


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


def build_memory_store(settings: Settings, clock: Clock) -> MemoryStore:
    settings.store.check_bare()
    _check_is_alone(settings)
    return MemoryStore(
        clock=clock,
        max_entries=settings.limits.memory_entries,
        max_bytes=settings.limits.memory_bytes,
        retention=settings.retention.log,
        inbox_per_user=settings.retention.inbox_per_user,
    )


def build_sqlite_store(settings: Settings, clock: Clock) -> SqliteStore:
    _check_is_alone(settings)
    return SqliteStore(
        settings.store.path,
        clock=clock,
        retention_log=settings.retention.log,
        retention_inbox=settings.retention.inbox_age,
        inbox_per_user=settings.retention.inbox_per_user,
    )


def _check_is_alone(settings: Settings) -> None:
    """What somebody relies on is not passed over. Raises ConfigurationError."""
    for name, is_given in (
        ("store_durability", settings.store_durability == "sync"),
        ("store_listen", settings.store_listen is not None),
    ):
        if is_given:
            raise ConfigurationError(name, f"is for a store of postgresql://, and the store is {settings.store.scheme}")


def build_postgresql_store(settings: Settings, clock: Clock) -> ServedStore:
    try:
        from adapters.store.postgresql.store import PostgresqlStore  # noqa: PLC0415 (what it needs is an extra)
    except ImportError:
        raise ConfigurationError("", "needs psycopg: pip install 'synkrone-socket[postgresql]'") from None
    return PostgresqlStore(
        settings.store,
        clock=clock,
        password=_plain(settings.store_password) if settings.store_password is not None else None,
        listen_url=settings.store_listen,
        migrates=settings.store_migrate,
        sync=settings.store_durability == "sync",
        retention_log=settings.retention.log,
        retention_inbox=settings.retention.inbox_age,
        inbox_per_user=settings.retention.inbox_per_user,
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


def build_memory_source(url: Address) -> MemorySource:
    url.check_bare()
    return MemorySource()


def build_feed(settings: Settings, clock: Clock, randomness: Randomness) -> HttpFeed:
    source = settings.source
    try:
        return HttpFeed(
            url=source.url,
            token=_plain(source.token) if source.token is not None else None,
            ca_file=source.ca_file,
            clock=clock,
            randomness=randomness,
            max_event_bytes=settings.limits.publish_bytes,
        )
    except OSError as error:
        raise SettingsError(f"source.ca_file: cannot use {source.ca_file}: {error.strerror}") from None


def build_file_routes(settings: Settings) -> Mapping[str, FileRoute]:
    """What is served as it lies there: what pages load, and the description of the API."""
    of_client = client_routes(known_version())
    if not settings.api.docs:
        return of_client
    return {**of_client, **description_routes(known_version(), file_paths=list(of_client))}


class Container(containers.DeclarativeContainer):
    """Who gets what. To swap an adapter, change its line.

    The schemes by which a setting can select an adapter are those of its Selector here, and nowhere else.
    """

    settings = providers.Dependency(instance_of=Settings)

    clock = providers.Singleton(SystemClock)
    randomness = providers.Singleton(SystemRandomness)
    telemetry = providers.Singleton(LoggingTelemetry, clock)
    policy = providers.Singleton(build_policy, settings, randomness)

    issuers = providers.Singleton(build_issuers, settings.provided.auth, clock)
    verifier = providers.Selector(
        settings.provided.auth.verifier.scheme,
        jwt=providers.Singleton(build_jwt_verifier, settings.provided.auth, issuers, clock),
    )
    callers = providers.Singleton(build_callers, settings.provided.api, settings.provided.auth, issuers.provider, clock)

    store = providers.Selector(
        settings.provided.store.scheme,
        memory=providers.Singleton(build_memory_store, settings, clock),
        sqlite=providers.Singleton(build_sqlite_store, settings, clock),
        postgresql=providers.Singleton(build_postgresql_store, settings, clock),
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
    )

    connections = application.provided.connections
    publishing = application.provided.publishing
    backend = providers.Singleton(
        Backend,
        publisher=publishing,
        directory=application.provided.directory,
        callers=callers,
        peers=peers,
        telemetry=telemetry,
    )
    users = providers.Singleton(Users, access=application.provided.inboxes, peers=peers, telemetry=telemetry)
    routes = providers.Factory(
        api_routes,
        backend=backend,
        users=users,
        message_bytes=settings.provided.limits.message_bytes,
    )
    publish_routes = providers.Singleton(
        publish_routes,
        backend,
        publish_bytes=settings.provided.limits.publish_bytes,
        batch_bytes=settings.provided.limits.batch_bytes,
    )
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
    container.application()
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
    with _naming(section, name):
        port()


@contextlib.contextmanager
def _naming(section: str, address: str = "") -> Iterator[None]:
    """Say of the setting what an adapter says of a field, or of the address by which it was selected."""
    try:
        yield
    except ConfigurationError as error:
        setting = ".".join(filter(None, (section, error.field or address)))
        raise SettingsError(f"{setting}: {error.message}") from None


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
