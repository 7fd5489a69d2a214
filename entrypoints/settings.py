"""One validated object from ``synkrone.toml`` and ``SYNKRONE_*``; the environment comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from entrypoints.settings_errors import first_error
from entrypoints.settings_file import UnusableFile, parse_toml, read_text
from entrypoints.settings_sources import Sources, path_of
from entrypoints.settings_types import (
    Address,
    ClaimPath,
    CorsOrigin,
    DrainTime,
    Duration,
    Heartbeat,
    JsonList,
    JsonTable,
    KeyName,
    Network,
    NodeAddress,
    Port,
    Retention,
    Secrets,
    Section,
    SectionWithSecrets,
    Timeout,
    TokenBytes,
    WorkerCount,
    error_at,
    overlap,
)

DEFAULT_FILE = Path("synkrone.toml")
API_KEY_MIN_LENGTH = 32
REPLAY_BYTES = 262_144
HEAD_BYTES = 8_192
"""Of the head of a request, beside a token: what cookies, proxies and browsers add."""
CONNECT_BYTES = 2_048
"""Of a CONNECT packet, beside a token: cursors, a device with all its characters escaped, and what holds them."""
CUT_AT_QUEUES = 8
ADMIN = "admin"
"""The scope of operators, which a key has only where it is named: ``api.key`` has it not."""
SCOPES = frozenset(("publish", "connections:read", "connections:write", "deliveries:read", "users:write", ADMIN))


class SettingsError(Exception):
    """A setting is wrong. The message is one line, which begins with the setting's name and a colon."""


class IssuerSettings(SectionWithSecrets):
    """One issuer of tokens; its keys come from ``jwks`` (URL or file), ``secret``, ``public_key`` or discovery."""

    one_a_line: ClassVar[frozenset[str]] = frozenset(("secret",))

    issuer: str = Field(min_length=1)
    jwks: str | None = None
    secret: Secrets | None = None
    secret_file: Path | None = None
    public_key: str | None = None
    public_key_file: Path | None = None
    algorithms: JsonList[str] = Field(default_factory=list)
    audience: str | None = Field(default=None, min_length=1)
    roles: JsonList[str] | None = None
    user_claim: ClaimPath = "sub"
    role_claim: ClaimPath = "role"
    user_prefix: str = ""
    services: JsonTable[list[str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> IssuerSettings:
        given = [name for name in ("jwks", "secret", "public_key") if getattr(self, name) is not None]
        if len(given) > 1:
            raise error_at(given[1], f"is given beside {given[0]}: remove one of them")
        return self

    @model_validator(mode="after")
    def _claims_apart(self) -> IssuerSettings:
        _check_claims(self.user_claim, self.role_claim)
        return self

    @property
    def jwks_file(self) -> Path | None:
        """Where ``jwks`` is a file."""
        if self.jwks is None or self.jwks.lower().startswith(("http:", "https:")):
            return None
        return Path(self.jwks)

    @field_validator("services")
    @classmethod
    def _known_scopes(cls, services: dict[str, list[str]]) -> dict[str, list[str]]:
        for client, scopes in services.items():
            _check_scopes(client, scopes)
        return services


class AuthSettings(SectionWithSecrets):
    """``verifier`` selects what verifies users' tokens.

    For JWTs ``secret`` is the one-secret case, ``issuers`` the general one. Of several secrets the first signs and all
    verify. ``token_bytes`` is how long a token may be, and ``longest_life`` for how long it may be good.
    """

    one_a_line: ClassVar[frozenset[str]] = frozenset(("secret",))

    verifier: Address = Address("jwt")
    secret: Secrets | None = None
    secret_file: Path | None = None
    audience: str | None = Field(default=None, min_length=1)
    roles: JsonList[str] | None = None
    user_claim: ClaimPath = "sub"
    role_claim: ClaimPath = "role"
    issuers: JsonList[IssuerSettings] = Field(default_factory=list)
    shared_user_ids: bool = False
    leeway: Duration = timedelta(seconds=30)
    token_bytes: TokenBytes = 16_384
    longest_life: Timeout = timedelta(days=365)

    @model_validator(mode="after")
    def _one_case(self) -> AuthSettings:
        if self.secret is not None and self.issuers:
            raise error_at("secret", "is given beside auth.issuers: remove one of them")
        if self.issuers:
            for name in ("audience", "roles", "user_claim", "role_claim"):
                if name in self.model_fields_set:
                    raise error_at(name, "belongs to auth.secret; with auth.issuers each issuer has its own")
        _check_claims(self.user_claim, self.role_claim)
        if not timedelta() <= self.leeway <= timedelta(minutes=5):
            raise error_at("leeway", "must be 0 to 5m")
        return self


def _check_claims(user: str | list[str], role: str | list[str]) -> None:
    if overlap(user, role):
        raise error_at("role_claim", "must not be the user claim, nor inside it, nor around it")


class ApiKeySettings(SectionWithSecrets):
    name: KeyName
    hash: str | None = None
    key: SecretStr | None = None
    key_file: Path | None = None
    scopes: JsonList[str] = Field(default_factory=lambda: ["publish"])
    publish_per_second: float | None = Field(default=None, gt=0)
    publish_burst: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of(self) -> ApiKeySettings:
        if (self.hash is None) == (self.key is None):
            raise error_at("key", "exactly one of key, key_file and hash is needed")
        _check_scopes("scopes", self.scopes)
        _check_rate(self.publish_per_second, self.publish_burst)
        return self

    @field_validator("key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        return _strong_key(key)


class ApiSettings(SectionWithSecrets):
    key: SecretStr | None = None
    key_file: Path | None = None
    keys: JsonList[ApiKeySettings] = Field(default_factory=list)
    publish_per_second: float | None = Field(default=None, gt=0)
    publish_burst: int | None = Field(default=None, ge=1)
    docs: bool = True

    @model_validator(mode="after")
    def _rate_of_key(self) -> ApiSettings:
        _check_rate(self.publish_per_second, self.publish_burst)
        if self.publish_per_second is not None and self.key is None:
            raise error_at("publish_per_second", "is for api.key; each of api.keys has its own")
        return self

    @field_validator("key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        return _strong_key(key)


def _strong_key(key: SecretStr | None) -> SecretStr | None:
    if key is not None and len(key.get_secret_value()) < API_KEY_MIN_LENGTH:
        raise PydanticCustomError("weak", f"must have at least {API_KEY_MIN_LENGTH} characters")
    return key


def _check_rate(per_second: float | None, burst: int | None) -> None:
    if burst is not None and per_second is None:
        raise error_at("publish_burst", "needs publish_per_second")


def _check_scopes(setting: str, scopes: list[str]) -> None:
    for scope in scopes:
        if scope not in SCOPES:
            raise error_at(setting, f"{scope!r} is not one of {', '.join(sorted(SCOPES))}")


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
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

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


def load_settings(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read the file (``synkrone.toml`` where there is one) and the environment. Raises SettingsError."""
    return read_settings(environ, file)[0]


def read_settings(environ: Mapping[str, str], file: Path | None = None) -> tuple[Settings, Sources]:
    """The same, and where they came from, for ``naming`` in what is found wrong with them later."""
    path = file if file is not None else DEFAULT_FILE
    try:
        text = read_text(path.absolute(), is_named=file is not None)
        values = parse_toml(path.absolute(), text or "")
    except UnusableFile as error:
        raise SettingsError(str(error)) from None
    sources = Sources.found(path, environ, text)
    given = _given(sources, environ)
    with naming(sources):
        _override(values, given, "")
        return validate_settings(values), sources


def read_again(sources: Sources, environ: Mapping[str, str]) -> tuple[Settings, Sources]:
    """The settings of where they came from before. A file that was there has to be there. Raises SettingsError."""
    settings, found = read_settings(environ, sources.file if sources.has_file else None)
    return with_workers(settings, found, sources.workers)


def with_workers(settings: Settings, sources: Sources, workers: int | None) -> tuple[Settings, Sources]:
    """The same where the command line says how many there are; None: it does not."""
    if workers is None:
        return settings, sources
    sources = replace(sources.with_option("workers", "--workers"), workers=workers)
    return settings.model_copy(update={"workers": workers}), sources


@contextmanager
def naming(sources: Sources) -> Iterator[None]:
    """What is found wrong with a setting is said of where it comes from, as ``Sources.named`` does."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(sources.named(str(error))) from None


def validate_settings(values: Mapping[str, object]) -> Settings:
    """Raises SettingsError, which names the first wrong setting."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(first_error(error, Settings)) from None


def _given(sources: Sources, environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the environment: ``SYNKRONE_A__B`` at ``a.b``."""
    given: dict[str, Any] = {}
    for variable in sources.variables.values():
        *sections, name = path_of(variable)
        values = given
        for section in sections:
            values = values.setdefault(section, {})
            if not isinstance(values, dict):
                raise SettingsError(f"{variable}: {section} is not a section")
        values[name] = environ[variable]
    return given


def _override(values: dict[str, Any], given: Mapping[str, Any], path: str) -> None:
    """Put what is given above the values: ``x`` takes the place of ``x_file`` too, and the other way round."""
    for name, value in given.items():
        if isinstance(value, dict):
            inner = values.setdefault(name, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"{path}{name}: is not a section in the settings file")
            _override(inner, value, f"{path}{name}.")
        else:
            values.pop(name.removesuffix("_file") if name.endswith("_file") else f"{name}_file", None)
    values.update({name: value for name, value in given.items() if not isinstance(value, dict)})
