"""Every setting: its section, its type, its default, and what it may be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from entrypoints.settings_access import ADMIN, ApiSettings, AuthSettings
from entrypoints.settings_errors import first_error
from entrypoints.settings_types import (
    Address,
    CorsOrigin,
    DrainTime,
    Heartbeat,
    JsonList,
    Network,
    NodeAddress,
    Port,
    Retention,
    Section,
    SectionWithSecrets,
    Timeout,
    WorkerCount,
    error_at,
)

REPLAY_BYTES = 262_144
HEAD_BYTES = 8_192
"""Of the head of a request, beside a token: what cookies, proxies and browsers add."""
CONNECT_BYTES = 2_048
"""Of a CONNECT packet, beside a token: cursors, a device with all its characters escaped, and what holds them."""
CUT_AT_QUEUES = 8


class SettingsError(Exception):
    """A setting is wrong. The message is one line, which begins with the setting's name and a colon."""


class SourceSettings(SectionWithSecrets):
    url: Address = Address("memory://")
    token: SecretStr | None = None
    token_file: Path | None = None
    ca_file: Path | None = None


class TlsSettings(Section):
    cert: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise error_at("key" if self.key is None else "cert", "is needed too")
        return self


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class InternalSettings(Section):
    """The listener for the other nodes and for operators. There is none where ``port`` is not set.

    ``ops``: it has a page for operators, whose sessions end after ``ops_session``, and when idle for ``ops_idle``.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port | None = None
    tls: TlsSettings = TlsSettings()
    ops: bool = False
    ops_session: Timeout = timedelta(hours=8)
    ops_idle: Timeout = timedelta(minutes=30)

    @field_validator("host")
    @classmethod
    def _of_tcp(cls, host: str) -> str:
        if host.startswith("unix:"):
            raise PydanticCustomError("unix", "must be an address: other machines reach no Unix socket")
        return host

    @property
    def url(self) -> str | None:
        """Where it listens; None where there is none."""
        if self.port is None:
            return None
        scheme = "https" if self.tls.cert is not None else "http"
        return f"{scheme}://{_authority(self.host, self.port)}"

    @property
    def is_every_address(self) -> bool:
        """Whether ``host`` stands for all addresses of the machine, and is none that others could connect to."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)


class NodeSettings(Section):
    address: NodeAddress | None = None


class RetentionSettings(Section):
    log: Timeout = timedelta(days=30)
    inbox: Timeout = timedelta(days=365)
    inbox_per_user: int = Field(default=10_000, ge=1)
    deliveries: Retention = timedelta(days=7)

    @property
    def inbox_age(self) -> timedelta:
        """How long an item stays in lists: never shorter than in the log."""
        return max(self.inbox, self.log)


class LimitSettings(Section):
    """Bytes, counts and durations; see docs/reference/settings.md."""

    message_bytes: int = Field(default=65_536, ge=1_024)
    queue_bytes: int = Field(default=1_048_576, ge=65_536)
    connect_timeout: Timeout = timedelta(seconds=10)
    connections: int = Field(default=10_000, ge=1)
    unauthenticated: int = Field(default=2_000, ge=1)
    connections_per_user: int = Field(default=20, ge=1)
    topics_per_user: int = Field(default=1_000, ge=1)
    restrictions: int = Field(default=100_000, ge=1)
    events_per_second: float = Field(default=20, gt=0)
    events_burst: int = Field(default=40, ge=1)
    requests_per_second: float = Field(default=20, gt=0)
    requests_burst: int = Field(default=100, ge=1)
    publish_bytes: int = Field(default=1_048_576, ge=1_024)
    batch_bytes: int = Field(default=16_777_216, ge=1_024)
    notification_bytes: int = Field(default=65_536, ge=256)
    request_timeout: Timeout = timedelta(seconds=15)
    keepalive_timeout: Timeout = timedelta(seconds=75)
    ping_interval: Heartbeat = timedelta(seconds=25)
    ping_timeout: Heartbeat = timedelta(seconds=20)
    drain_time: DrainTime = timedelta(seconds=20)
    drain_rate: float = Field(default=250, gt=0)
    schedule_ahead: Timeout = timedelta(days=366)
    scheduled: int = Field(default=1_000_000, ge=1)
    memory_entries: int = Field(default=100_000, ge=1_000)
    memory_bytes: int = Field(default=268_435_456, ge=33_554_432)

    @model_validator(mode="after")
    def _fit_together(self) -> LimitSettings:
        # Otherwise one notification would cut its recipient, at every return anew. JSON may write a character in six.
        least = (6 * self.notification_bytes + REPLAY_BYTES) // CUT_AT_QUEUES
        if self.queue_bytes < least:
            raise error_at("queue_bytes", f"must be at least {least} for limits.notification_bytes")
        return self


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text", "otlp"] = "auto"


class OtelSettings(SectionWithSecrets):
    """The OpenTelemetry collector, by OTLP over HTTP. Without an ``endpoint`` nothing is exported."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    token: SecretStr | None = None
    token_file: Path | None = None
    traces: bool = True
    sample: float = Field(default=1.0, ge=0, le=1)


class Settings(SectionWithSecrets):
    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8000
    workers: WorkerCount = 1
    auth: AuthSettings = AuthSettings()
    api: ApiSettings = ApiSettings()
    source: SourceSettings = SourceSettings()
    store: Address = Address("sqlite:///synkrone.db")
    store_password: SecretStr | None = None
    store_password_file: Path | None = None
    store_listen: Address | None = None
    store_durability: Literal["async", "sync"] = "async"
    store_migrate: bool = True
    replay: Literal["undelivered", "none"] = "undelivered"
    cors_origins: JsonList[CorsOrigin] = Field(default_factory=list)
    trusted_proxies: JsonList[Network] = Field(default_factory=list)
    tls: TlsSettings = TlsSettings()
    internal: InternalSettings = InternalSettings()
    node: NodeSettings = NodeSettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    otel: OtelSettings = OtelSettings()

    @property
    def is_unix(self) -> bool:
        """Whether the server listens on a Unix socket, and has no port."""
        return self.host.startswith("unix:")

    @property
    def address(self) -> str:
        """Where the server listens, as it stands in a URL; ``unix:/path`` for a Unix socket."""
        if self.is_unix:
            return self.host
        return _authority(self.host, self.port)

    @property
    def head_bytes(self) -> int:
        """How long the head of a request may be: it may hold a token."""
        return self.auth.token_bytes + HEAD_BYTES

    @model_validator(mode="after")
    def _tokens_fit(self) -> Settings:
        least = self.auth.token_bytes + CONNECT_BYTES
        if self.limits.message_bytes < least:
            raise error_at("limits.message_bytes", f"must be at least {least} for auth.token_bytes")
        return self

    @model_validator(mode="after")
    def _others_find_the_node(self) -> Settings:
        if self.internal.port is None and self.node.address is not None:
            raise error_at("internal.port", "is needed for node.address")
        if self.internal.port is not None and self.internal.is_every_address and self.node.address is None:
            raise error_at("node.address", "is needed: others cannot connect to the address of internal.host")
        return self

    @model_validator(mode="after")
    def _logs_have_an_end(self) -> Settings:
        if self.log.format == "otlp" and self.otel.endpoint is None:
            raise error_at("otel.endpoint", "is needed for log.format otlp")
        return self

    @model_validator(mode="after")
    def _operators_get_in(self) -> Settings:
        if self.internal.ops and self.internal.port is None:
            raise error_at("internal.port", "is needed for internal.ops")
        if self.internal.ops and not any(ADMIN in key.scopes for key in self.api.keys):
            raise error_at("api.keys", f"one of them needs the scope {ADMIN}, to log in to the page of internal.ops")
        return self

    @model_validator(mode="after")
    def _path_of_socket(self) -> Settings:
        if self.host == "unix:" or "\0" in self.host:
            raise error_at("host", "must be an address, or unix: and the path of a socket")
        return self


def validate_settings(values: Mapping[str, object]) -> Settings:
    """Raises SettingsError, which names the first wrong setting."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(first_error(error, Settings)) from None
