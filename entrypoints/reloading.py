"""The settings, read again while the server serves: which of them hold at once, and which only behind a restart."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from adapters.api.backends import Backend
from adapters.api.inbox import Users
from adapters.api.publish import set_publish_limits
from adapters.api.reload import Reloaded
from adapters.auth.callers import Callers
from adapters.auth.issuers import Issuers, KeySource
from adapters.auth.jwt import JwtVerifier
from adapters.auth.key_servers import KeyServers
from adapters.auth.served import ServedVerifier
from adapters.http.peer import PeerPolicy
from adapters.http.problems import InvalidSettings
from adapters.telemetry.logs import set_log_level
from domain.model import FieldError
from domain.policy import ConnectionPolicy
from domain.ports import Telemetry
from entrypoints.building.auth import build_callers, build_issuers
from entrypoints.building.limits import http_limits, internal_http_limits, socketio_limits, sse_limits
from entrypoints.building.transports import build_policy, build_request_pace
from entrypoints.checking import check_workers
from entrypoints.server import Server
from entrypoints.service_manager import ServiceManager
from entrypoints.settings import Settings, SettingsError, TlsSettings
from entrypoints.settings_reading import Naming, read_again
from entrypoints.settings_sources import Sources
from entrypoints.settings_types import Section
from entrypoints.stopping import StopSignals
from entrypoints.tls import Certificate, Loaded, digest

LIVE: Final = frozenset(
    (
        "auth.secret", "auth.secret_file", "auth.audience", "auth.roles", "auth.user_claim", "auth.role_claim",
        "auth.issuers", "auth.shared_user_ids", "auth.leeway",
        "api.key", "api.key_file", "api.keys", "api.publish_per_second", "api.publish_burst",
        "replay", "cors_origins", "trusted_proxies",
        "tls.cert", "tls.key", "internal.tls.cert", "internal.tls.key",
        "limits.connect_timeout", "limits.connections", "limits.unauthenticated", "limits.events_per_second",
        "limits.events_burst", "limits.topics_per_user", "limits.requests_per_second", "limits.requests_burst",
        "limits.publish_bytes", "limits.batch_bytes", "limits.request_timeout",
        "limits.keepalive_timeout", "limits.drain_time", "limits.drain_rate",
        "log.level",
    )
)  # fmt: skip
"""What holds at once: for every request, handshake and connection from then on."""

RESTART: Final = frozenset(
    (
        "host", "port", "workers",
        "auth.verifier", "auth.token_bytes", "auth.longest_life", "api.docs",
        "source.url", "source.token", "source.token_file", "source.ca_file",
        "store", "store_password", "store_password_file", "store_listen", "store_durability", "store_migrate",
        "internal.host", "internal.port", "internal.ops", "internal.ops_session", "internal.ops_idle", "node.address",
        "retention.log", "retention.inbox", "retention.inbox_per_user", "retention.deliveries",
        "limits.message_bytes", "limits.queue_bytes", "limits.connections_per_user", "limits.notification_bytes",
        "limits.restrictions", "limits.schedule_ahead", "limits.scheduled",
        "limits.ping_interval", "limits.ping_timeout", "limits.memory_entries", "limits.memory_bytes",
        "log.format",
        "otel.endpoint", "otel.token", "otel.token_file", "otel.traces", "otel.sample",
    )
)  # fmt: skip
"""What sockets, the store or clients that are connected were given at the start."""

_log = logging.getLogger("synkrone.server")

S = TypeVar("S", bound=Section)
Digests: TypeAlias = Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that is to hold, built and checked. ``settings`` are those that then hold, ``digests`` are of the files with
    keys that they name; ``issuers`` is None where nobody needs any."""

    settings: Settings
    reloaded: Reloaded
    policy: ConnectionPolicy
    issuers: Issuers | None
    callers: Callers | None
    certificates: Sequence[tuple[Certificate, Loaded]]
    digests: Digests


class Reloading:
    """Reads the settings again, and has a server obey them: all that can hold at once, or nothing.

    ``adjust`` makes of settings as they are written those of this process. ``pass_on`` is called where somebody has
    asked this server alone.
    """

    def __init__(
        self,
        server: Server,
        sources: Sources,
        *,
        environ: Mapping[str, str] = os.environ,
        adjust: Callable[[Settings], Settings] = lambda settings: settings,
        pass_on: Callable[[], None] = lambda: None,
        manager: ServiceManager | None = None,
    ) -> None:
        """Before the server is running, which then has a route for it."""
        self._server = server
        self._sources = sources
        self._environ = environ
        self._adjust = adjust
        self._pass_on = pass_on
        self._manager = manager or ServiceManager()
        self._one_at_a_time = asyncio.Lock()
        self._digests = _digests_of_keys(server.settings)
        self._used: Sequence[KeySource] = ()
        if _needs_issuers(server.settings, self._verifies_jwts):
            issuers: Issuers = server.container.issuers()
            self._used = issuers.key_sources
        server.reload = self._asked

    async def obey(self, signals: StopSignals) -> None:
        """Reload whenever a signal asks for it; for ever."""
        while True:
            await signals.reload.wait()
            signals.reload.clear()
            try:
                await self.reload("SIGHUP")
            except InvalidSettings:
                # The log has said so.
                continue

    async def reload(self, by: str) -> Reloaded:
        """``by`` is who asks, for the log. Raises InvalidSettings where nothing was changed."""
        async with self._one_at_a_time, self._told_of():
            key_servers: KeyServers = self._server.container.key_servers()
            try:
                prepared = await asyncio.to_thread(self._prepare)
            except SettingsError as error:
                await key_servers.forget_all_but(self._used)
                setting, _, reason = str(error).partition(": ")
                _log.error("not reloaded", extra={"by": by, "setting": setting, "reason": reason})
                raise InvalidSettings(str(error)).about([FieldError(setting, reason)]) from None
            self._apply(prepared)
            await key_servers.forget_all_but(self._used)
            telemetry: Telemetry = self._server.container.telemetry()
            telemetry.acted(by, "reloaded", detail=_told(prepared.reloaded))
            return prepared.reloaded

    @asynccontextmanager
    async def _told_of(self) -> AsyncIterator[None]:
        """Who supervises the process waits for it."""
        self._manager.reloading()
        try:
            yield
        finally:
            self._manager.ready(f"listening on {self._server.url}")

    async def _asked(self, by: str) -> Reloaded:
        reloaded = await self.reload(by)
        self._pass_on()
        return reloaded

    @property
    def _verifies_jwts(self) -> bool:
        verifier: ServedVerifier = self._server.container.verifier()
        return isinstance(verifier, JwtVerifier)

    def _prepare(self) -> _Prepared:
        """Raises SettingsError. In a thread: the files may lie on a slow disk."""
        now = self._server.settings
        read, sources = read_again(self._sources, self._environ)
        with Naming(sources):
            check_workers(read)
            read = self._adjust(read)
            can_change = self._can_change(now, read)
            changed, needs_restart = _compared(now, read, can_change)
            settings = merged(now, read, frozenset(changed))
            container = self._server.container
            issuers = None
            if _needs_issuers(settings, self._verifies_jwts):
                issuers = build_issuers(settings.auth, container.key_servers())
            callers = build_callers(settings.api, settings.auth, _given(issuers), container.clock())
            certificates = [(each, each.prepare(tls)) for each, tls in self._certificates(settings, can_change)]
            digests = _digests_of_keys(settings)
            renewed = [name for each, loaded in certificates for name in each.renewed(loaded)]
            changed_files = [name for name, held in digests.items() if self._digests.get(name, held) != held]
            policy = build_policy(settings, container.randomness())
        names = [*changed, *(name for name in (*changed_files, *renewed) if name not in changed)]
        return _Prepared(settings, Reloaded(names, needs_restart), policy, issuers, callers, certificates, digests)

    def _can_change(self, now: Settings, read: Settings) -> Mapping[str, bool]:
        """Sections of which that depends on more than the setting: a verifier of another kind reads its own, and a
        listener cannot begin or cease to speak TLS."""
        return {
            "auth": self._verifies_jwts and now.auth.verifier == read.auth.verifier,
            "tls": (now.tls.cert is None) == (read.tls.cert is None),
            "internal": (now.internal.tls.cert is None) == (read.internal.tls.cert is None),
        }

    def _certificates(
        self, settings: Settings, can_change: Mapping[str, bool]
    ) -> Iterator[tuple[Certificate, TlsSettings]]:
        if can_change["tls"]:
            yield self._server.certificate, settings.tls
        if can_change["internal"] and self._server.internal is not None:
            yield self._server.internal.certificate, settings.internal.tls

    def _apply(self, prepared: _Prepared) -> None:
        """In one turn of the loop, and nothing in it can fail: no request sees a part of it."""
        server, settings = self._server, prepared.settings
        container = server.container
        policy: ConnectionPolicy = container.policy()
        policy.become(prepared.policy)
        peers: PeerPolicy = container.peers()
        peers.replace(trusted_proxies=settings.trusted_proxies, origins=settings.cors_origins)
        verifier: ServedVerifier = container.verifier()
        if isinstance(verifier, JwtVerifier) and prepared.issuers is not None:
            verifier.replace(prepared.issuers, settings.auth.leeway)
        backend: Backend = container.backend()
        backend.callers = prepared.callers
        container.socketio().set_limits(socketio_limits(settings))
        container.sse().set_limits(sse_limits(settings))
        limits = settings.limits
        users: Users = container.users()
        users.pace.rate = backend.inbox_pace.rate = build_request_pace(limits, container.clock()).rate
        set_publish_limits(
            container.publish_routes(), publish_bytes=limits.publish_bytes, batch_bytes=limits.batch_bytes
        )
        server.listener.set_limits(http_limits(settings))
        if server.internal_listener is not None:
            server.internal_listener.set_limits(internal_http_limits(settings))
        if server.forwarding is not None:
            server.forwarding.set_most_links(limits.connections)
        for certificate, loaded in prepared.certificates:
            certificate.use(loaded)
        if settings.log.level != server.settings.log.level:
            set_log_level(settings.log.level)
        server.settings = settings
        self._digests = prepared.digests
        self._used = prepared.issuers.key_sources if prepared.issuers is not None else ()


def _compared(now: Settings, read: Settings, can_change: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """The names of settings that differ: of those that can hold at once, and of the others."""
    changed: list[str] = []
    needs_restart: list[str] = []
    before = flat(now)
    for name, value in flat(read).items():
        if value != before[name]:
            is_live = name in LIVE and can_change.get(name.partition(".")[0], True)
            (changed if is_live else needs_restart).append(name)
    return changed, needs_restart


def _told(reloaded: Reloaded) -> str:
    """In one line."""
    changed = f"changed: {', '.join(reloaded.changed) or 'nothing'}"
    return f"{changed}; needs a restart: {', '.join(reloaded.needs_restart)}" if reloaded.needs_restart else changed


def flat(section: Section, path: str = "") -> dict[str, object]:
    """The values of a section and of those in it, each by its name as it is written."""
    values: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            values |= flat(value, f"{path}{name}.")
        else:
            values[f"{path}{name}"] = value
    return values


def merged(now: S, read: S, names: frozenset[str], path: str = "") -> S:
    """What holds now, but for the settings of these names."""
    values: dict[str, object] = {}
    for name in type(now).model_fields:
        value = getattr(now, name)
        if isinstance(value, Section):
            values[name] = merged(value, getattr(read, name), names, f"{path}{name}.")
        elif f"{path}{name}" in names:
            values[name] = getattr(read, name)
    return now.model_copy(update=values)


def _needs_issuers(settings: Settings, verifies_jwts: bool) -> bool:  # noqa: FBT001 (the one thing beside settings)
    return verifies_jwts or any(issuer.services for issuer in settings.auth.issuers)


def _given(issuers: Issuers | None) -> Callable[[], Issuers]:
    def given() -> Issuers:
        if issuers is None:
            raise LookupError("nobody needs issuers")
        return issuers

    return given


def _digests_of_keys(settings: Settings) -> Digests:
    """Of the key sets in files, which the settings only name."""
    files = {f"auth.issuers[{index}].jwks": issuer.jwks_file for index, issuer in enumerate(settings.auth.issuers)}
    return {name: digest(file) for name, file in files.items() if file is not None}
