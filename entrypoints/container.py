"""The wiring: the one module that knows every adapter, and dependency-injector.

Everything is constructed synchronously; what needs a loop opens later, in the server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from dependency_injector import containers, providers
from pydantic import SecretStr

from adapters.api.handlers import Backend
from adapters.api.routes import api_routes
from adapters.auth.api_keys import ApiKey, ApiKeys, hash_key, parse_hash
from adapters.auth.callers import Callers
from adapters.auth.issuers import ConfigurationError, Issuer, Issuers, KeySource
from adapters.auth.jwks import RemoteKeys
from adapters.auth.jwt import JwtVerifier
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import Discovery, JwksUrl
from adapters.auth.service_tokens import ServiceTokens
from adapters.clock import SystemClock
from adapters.ids import SystemRandomness
from adapters.inbox.memory import MemoryInbox
from adapters.source.http_feed import HttpFeed
from adapters.source.memory import MemorySource
from adapters.telemetry.logging import LoggingTelemetry
from adapters.transport.socketio.peer import PeerPolicy
from adapters.transport.socketio.transport import SocketIoLimits, SocketIoTransport
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Randomness
from domain.services.connections import ConnectionService
from domain.services.delivery import DeliveryService
from entrypoints.settings import (
    REPLAY_BYTES,
    SCOPES,
    ApiSettings,
    AuthSettings,
    IssuerSettings,
    Settings,
    SettingsError,
)

SINGLE_KEY_NAME = "api.key"


def build_issuers(auth: AuthSettings, clock: Clock) -> Issuers:
    """Raises SettingsError, naming the setting."""
    if auth.secret is not None:
        with _naming("auth"):
            secret = StaticKeys.from_secret(auth.secret.get_secret_value().encode())
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
        raise SettingsError("auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers")
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


def _keys(settings: IssuerSettings, path: str, clock: Clock) -> KeySource:
    if settings.secret is not None:
        return StaticKeys.from_secret(settings.secret.get_secret_value().encode())
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


def build_callers(api: ApiSettings, auth: AuthSettings, issuers: Issuers, clock: Clock) -> Callers | None:
    """Who may call the backend API; None for nobody. Raises SettingsError."""
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
        return Callers(ApiKeys(keys), ServiceTokens(issuers, clock, auth.leeway) if services else None)


def build_policy(settings: Settings, randomness: Randomness) -> ConnectionPolicy:
    limits = settings.limits
    return ConnectionPolicy(
        leeway=settings.auth.leeway,
        connections=limits.connections,
        connections_per_user=limits.connections_per_user,
        notification_bytes=limits.notification_bytes,
        # Below what may wait at all, or a slow but steady reader would be cut in its replay.
        replay_bytes=min(REPLAY_BYTES, limits.queue_bytes // 2),
        drain=limits.drain_time,
        drain_rate=limits.drain_rate,
        uniform=randomness.uniform,
    )


def build_transport(settings: Settings, clock: Clock) -> SocketIoTransport:
    limits = settings.limits
    return SocketIoTransport(
        clock=clock,
        peers=PeerPolicy(trusted_proxies=settings.trusted_proxies, origins=settings.cors_origins),
        limits=SocketIoLimits(
            message_bytes=limits.message_bytes,
            held_bytes=limits.queue_bytes,
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


class Container(containers.DeclarativeContainer):
    """Who gets what. To swap an adapter, change its line."""

    settings = providers.Dependency(instance_of=Settings)

    clock = providers.Singleton(SystemClock)
    randomness = providers.Singleton(SystemRandomness)
    telemetry = providers.Singleton(LoggingTelemetry, clock)
    policy = providers.Singleton(build_policy, settings, randomness)

    issuers = providers.Singleton(build_issuers, settings.provided.auth, clock)
    verifier = providers.Singleton(JwtVerifier, issuers, clock, settings.provided.auth.leeway)
    callers = providers.Singleton(build_callers, settings.provided.api, settings.provided.auth, issuers, clock)

    inbox = providers.Singleton(
        MemoryInbox,
        clock=clock,
        max_entries=settings.provided.limits.memory_entries,
        max_bytes=settings.provided.limits.memory_bytes,
        retention=settings.provided.retention.log,
    )
    source = providers.Selector(
        settings.provided.source.kind,
        memory=providers.Singleton(MemorySource),
        http=providers.Singleton(build_feed, settings, clock, randomness),
    )
    transport = providers.Singleton(build_transport, settings, clock)

    connections = providers.Singleton(
        ConnectionService,
        verifier=verifier,
        inbox=inbox,
        transport=transport,
        policy=policy,
        clock=clock,
        telemetry=telemetry,
    )
    delivery = providers.Singleton(
        DeliveryService,
        inbox=inbox,
        transport=transport,
        policy=policy,
        clock=clock,
        randomness=randomness,
        telemetry=telemetry,
    )
    backend = providers.Singleton(Backend, publisher=delivery, callers=callers, telemetry=telemetry)
    routes = providers.Factory(
        api_routes,
        backend=backend,
        publish_bytes=settings.provided.limits.publish_bytes,
        batch_bytes=settings.provided.limits.batch_bytes,
    )


def build_container(settings: Settings) -> Container:
    """Build every part, so that a wrong setting shows before anything is opened. Raises SettingsError."""
    container = Container(settings=settings)
    container.connections()
    container.delivery()
    container.source()
    container.backend()
    return container


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the section's name before the field an adapter complains about."""
    try:
        yield
    except ConfigurationError as error:
        raise SettingsError(f"{path}.{error.field}: {error.message}") from None


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
