"""Who may come in: the sections of users' tokens and of backends' keys."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from entrypoints.settings_types import (
    Address,
    ClaimPath,
    Duration,
    JsonList,
    JsonTable,
    KeyName,
    Secrets,
    SectionWithSecrets,
    Timeout,
    TokenBytes,
    error_at,
    overlap,
)

API_KEY_MIN_LENGTH = 32
ADMIN = "admin"
"""The scope of operators, which a key has only where it is named: ``api.key`` has it not."""
SCOPES = frozenset(
    (
        "publish",
        "notifications:read",
        "notifications:write",
        "connections:read",
        "connections:write",
        "deliveries:read",
        "inbox:read",
        "inbox:write",
        "topics:write",
        "users:write",
        "users:erase",
        "users:export",
        ADMIN,
    )
)


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
    multiple_roles: bool = False
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
