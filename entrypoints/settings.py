"""One validated object from ``synkrone.toml`` and ``SYNKRONE_*``; the environment comes first."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from entrypoints.settings_errors import first_error

ENVIRONMENT_PREFIX = "SYNKRONE_"
DEFAULT_FILE = Path("synkrone.toml")
API_KEY_MIN_LENGTH = 32
REPLAY_BYTES = 262_144
CUT_AT_QUEUES = 8
SCOPES = frozenset(("publish", "connections:read", "connections:write"))

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|days?)?", re.ASCII)
_ORIGIN = re.compile(r"https?://[^/*\s]+")
_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "day": 86400, "days": 86400}


class SettingsError(Exception):
    """A setting is wrong. The message is one line and names it."""


def duration(text: object) -> timedelta:
    """Read ``"90"`` or 90 (seconds), ``"500ms"``, ``"30s"``, ``"10m"``, ``"1h"``, ``"30d"``. Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if isinstance(text, bool) or match is None:
        raise ValueError("must be a duration such as 30s, 10m, 1h or 30d")
    try:
        return timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2] or "s"])
    except OverflowError:
        raise ValueError("is too long a duration") from None


def _from_json(value: object) -> object:
    """A list or table in an environment variable is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError("json", 'must be JSON, for example ["one", "two"]') from None


def _network(value: object) -> IPv4Network | IPv6Network:
    """Raises ValueError, in one line for both versions of IP."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("must be an IP address, or a network such as 10.0.0.0/8") from None


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be an origin such as https://app.example, with no path")
    return value


def _key_name(value: str) -> str:
    if not _KEY_NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'")
    return value


def _bounded(text: str, is_good: Callable[[timedelta], bool]) -> AfterValidator:
    """``text`` says what is good."""

    def check(value: timedelta) -> timedelta:
        if not is_good(value):
            raise ValueError(f"must be {text}")
        return value

    return AfterValidator(check)


def _no_flag(value: object) -> object:
    """In Python true is a number; in a settings file it is a mistake."""
    if isinstance(value, bool):
        raise PydanticCustomError("flag", "must be a whole number")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Timeout = Annotated[Duration, _bounded("more than 0", lambda value: value > timedelta())]
Heartbeat = Annotated[Duration, _bounded("at least 1s", lambda value: value >= timedelta(seconds=1))]
DrainTime = Annotated[Duration, _bounded("at most 25s", lambda value: value <= timedelta(seconds=25))]
JsonList = Annotated[list[T], BeforeValidator(_from_json)]
JsonTable = Annotated[dict[str, T], BeforeValidator(_from_json)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
KeyName = Annotated[str, AfterValidator(_key_name)]
Port = Annotated[int, BeforeValidator(_no_flag), Field(ge=0, le=65_535)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class _WithSecretFiles(Section):
    """Every setting ``x`` with a twin ``x_file`` is read from that file where the twin is given."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name in [name for name in cls.model_fields if f"{name}_file" in cls.model_fields]:
            path = values.get(f"{name}_file")
            if path is None:
                continue
            if values.get(name) is not None:
                raise _at(f"{name}_file", f"is given beside {name}")
            values[name] = _read_text(f"{name}_file", Path(str(path)))
        return values


def _read_text(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise _at(setting, f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise _at(setting, f"cannot read {str(path)!r}: not text") from None


def _at(setting: str, message: str) -> PydanticCustomError:
    """An error of a section that belongs to one of its settings."""
    return PydanticCustomError("setting", "{message}", {"setting": setting, "message": message})


class IssuerSettings(_WithSecretFiles):
    """One issuer of tokens; its keys come from ``jwks`` (URL or file), ``secret``, ``public_key`` or discovery."""

    issuer: str = Field(min_length=1)
    jwks: str | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None
    public_key: str | None = None
    public_key_file: Path | None = None
    algorithms: JsonList[str] = Field(default_factory=list)
    audience: str | None = Field(default=None, min_length=1)
    roles: JsonList[str] | None = None
    user_claim: str = Field(default="sub", min_length=1)
    role_claim: str = Field(default="role", min_length=1)
    user_prefix: str = ""
    services: JsonTable[list[str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> IssuerSettings:
        given = [name for name in ("jwks", "secret", "public_key") if getattr(self, name) is not None]
        if len(given) > 1:
            raise _at(given[1], f"is given beside {given[0]}")
        return self

    @field_validator("services")
    @classmethod
    def _known_scopes(cls, services: dict[str, list[str]]) -> dict[str, list[str]]:
        for client, scopes in services.items():
            _check_scopes(client, scopes)
        return services


class AuthSettings(_WithSecretFiles):
    """``secret`` is the one-secret case; ``issuers`` the general one."""

    secret: SecretStr | None = None
    secret_file: Path | None = None
    audience: str | None = Field(default=None, min_length=1)
    roles: JsonList[str] | None = None
    user_claim: str = Field(default="sub", min_length=1)
    role_claim: str = Field(default="role", min_length=1)
    issuers: JsonList[IssuerSettings] = Field(default_factory=list)
    shared_user_ids: bool = False
    leeway: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _one_case(self) -> AuthSettings:
        if self.secret is not None and self.issuers:
            raise _at("secret", "is given beside auth.issuers")
        if self.issuers:
            for name in ("audience", "roles", "user_claim", "role_claim"):
                if name in self.model_fields_set:
                    raise _at(name, "belongs to auth.secret; with auth.issuers each issuer has its own")
        if not timedelta() <= self.leeway <= timedelta(minutes=5):
            raise _at("leeway", "must be 0 to 5m")
        return self


class ApiKeySettings(_WithSecretFiles):
    name: KeyName
    hash: str | None = None
    key: SecretStr | None = None
    key_file: Path | None = None
    scopes: JsonList[str] = Field(default_factory=lambda: ["publish"])

    @model_validator(mode="after")
    def _one_of(self) -> ApiKeySettings:
        if (self.hash is None) == (self.key is None):
            raise _at("key", "exactly one of key, key_file and hash is needed")
        _check_scopes("scopes", self.scopes)
        return self

    @field_validator("key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        return _strong_key(key)


class ApiSettings(_WithSecretFiles):
    key: SecretStr | None = None
    key_file: Path | None = None
    keys: JsonList[ApiKeySettings] = Field(default_factory=list)

    @field_validator("key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        return _strong_key(key)


def _strong_key(key: SecretStr | None) -> SecretStr | None:
    if key is not None and len(key.get_secret_value()) < API_KEY_MIN_LENGTH:
        raise PydanticCustomError("weak", f"must have at least {API_KEY_MIN_LENGTH} characters")
    return key


def _check_scopes(setting: str, scopes: list[str]) -> None:
    for scope in scopes:
        if scope not in SCOPES:
            raise _at(setting, f"{scope!r} is not one of {', '.join(sorted(SCOPES))}")


class SourceSettings(_WithSecretFiles):
    url: str = "memory://"
    token: SecretStr | None = None
    token_file: Path | None = None
    ca_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        if url == "memory://":
            return url
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise PydanticCustomError("url", "must be memory://, or the http(s):// address of a feed")
        if "@" in parts.netloc:
            # An address is shown in logs, a token is not.
            raise PydanticCustomError("url", "must hold no credentials: they belong in source.token")
        return url

    @property
    def kind(self) -> Literal["memory", "http"]:
        return "memory" if self.url == "memory://" else "http"


class TlsSettings(Section):
    cert: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise _at("key" if self.key is None else "cert", "is needed too")
        return self


class RetentionSettings(Section):
    log: Timeout = timedelta(days=30)


class LimitSettings(Section):
    """Bytes, counts and durations; see the table in the README."""

    message_bytes: int = Field(default=65_536, ge=1_024)
    queue_bytes: int = Field(default=1_048_576, ge=65_536)
    connect_timeout: Timeout = timedelta(seconds=10)
    connections: int = Field(default=10_000, ge=1)
    unauthenticated: int = Field(default=2_000, ge=1)
    connections_per_user: int = Field(default=20, ge=1)
    events_per_second: float = Field(default=20, gt=0)
    events_burst: int = Field(default=40, ge=1)
    publish_bytes: int = Field(default=1_048_576, ge=1_024)
    batch_bytes: int = Field(default=16_777_216, ge=1_024)
    notification_bytes: int = Field(default=65_536, ge=256)
    request_timeout: Timeout = timedelta(seconds=15)
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
            raise _at("queue_bytes", f"must be at least {least} for limits.notification_bytes")
        return self


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Settings(Section):
    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8000
    auth: AuthSettings = AuthSettings()
    api: ApiSettings = ApiSettings()
    source: SourceSettings = SourceSettings()
    store: Literal["memory://"] = "memory://"
    cors_origins: JsonList[Origin] = Field(default_factory=list)
    trusted_proxies: JsonList[Network] = Field(default_factory=list)
    tls: TlsSettings = TlsSettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()


def load_settings(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read the file (``synkrone.toml`` where there is one) and the environment. Raises SettingsError."""
    values = _read_toml(file)
    given: dict[str, Any] = {}
    for variable, value in sorted(environ.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            _put(given, variable, value)
    _override(values, given, "")
    return validate_settings(values)


def validate_settings(values: Mapping[str, object]) -> Settings:
    """Raises SettingsError, which names the first wrong setting."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(first_error(error)) from None


def _read_toml(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if file is None:
            return {}
        raise SettingsError(f"--config: cannot read {path}: No such file or directory") from None
    except OSError as error:
        raise SettingsError(f"--config: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {str(error).splitlines()[0]}") from None


def _put(values: dict[str, Any], variable: str, value: str) -> None:
    """Put ``SYNKRONE_A__B`` at ``a.b``."""
    *sections, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{variable}: {section} is not a section")
    values[name] = value


def _override(values: dict[str, Any], given: Mapping[str, Any], path: str) -> None:
    """Put what is given above the values: ``x`` takes the place of ``x_file`` too, and the other way round."""
    for name, value in given.items():
        if isinstance(value, dict):
            inner = values.setdefault(name, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"{path}{name}: is not a section")
            _override(inner, value, f"{path}{name}.")
        else:
            values.pop(name.removesuffix("_file") if name.endswith("_file") else f"{name}_file", None)
    values.update({name: value for name, value in given.items() if not isinstance(value, dict)})
