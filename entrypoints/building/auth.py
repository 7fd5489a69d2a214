"""Who users and callers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from pydantic import SecretStr

from adapters.auth.api_keys import ApiKey, ApiKeys, hash_key, parse_hash
from adapters.auth.callers import Callers
from adapters.auth.issuers import Issuer, Issuers, KeySource
from adapters.auth.jwt import JwtVerifier
from adapters.auth.key_servers import KeyServers
from adapters.auth.keys import StaticKeys
from adapters.auth.locations import Discovery, JwksUrl, Location
from adapters.auth.service_tokens import ServiceTokens
from domain.model import Rate
from domain.ports import Clock
from entrypoints.building.errors import as_settings_errors, plain
from entrypoints.files import read_file
from entrypoints.settings import SettingsError
from entrypoints.settings_access import ADMIN, SCOPES, ApiKeySettings, ApiSettings, AuthSettings, IssuerSettings
from entrypoints.settings_types import cannot_read

SINGLE_KEY_NAME = "api.key"


def build_issuers(auth: AuthSettings, key_servers: KeyServers) -> Issuers:
    """Raises SettingsError, naming the setting."""
    if auth.secret is not None:
        with as_settings_errors("auth"):
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
        raise SettingsError("auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers")
    issuers = [_issuer(settings, f"auth.issuers[{index}]", key_servers) for index, settings in enumerate(auth.issuers)]
    with as_settings_errors("auth"):
        return Issuers(issuers, shared_user_ids=auth.shared_user_ids)


def _issuer(settings: IssuerSettings, path: str, key_servers: KeyServers) -> Issuer:
    with as_settings_errors(path):
        keys = _keys(settings, path, key_servers)
        are_secrets = isinstance(keys, StaticKeys) and keys.are_secrets
        return Issuer(
            keys=keys,
            algorithms=settings.algorithms or ["HS256" if are_secrets else "RS256"],
            issuer=settings.issuer,
            audience=settings.audience,
            roles=settings.roles,
            multiple_roles=settings.multiple_roles,
            user_claim=settings.user_claim,
            role_claim=settings.role_claim,
            user_prefix=settings.user_prefix,
            services=settings.services,
        )


def _shared(secrets: Sequence[SecretStr]) -> StaticKeys:
    return StaticKeys.from_secret(*(secret.get_secret_value().encode() for secret in secrets))


def key_server(settings: IssuerSettings) -> Location | None:
    """Where the keys of an issuer are fetched from; None where they lie here. Raises ConfigurationError."""
    if settings.secret is not None or settings.public_key is not None or settings.jwks_file is not None:
        return None
    return JwksUrl(settings.jwks) if settings.jwks is not None else Discovery(settings.issuer)


def _keys(settings: IssuerSettings, path: str, key_servers: KeyServers) -> KeySource:
    if settings.secret is not None:
        return _shared(settings.secret)
    if settings.public_key is not None:
        return StaticKeys.from_pem(settings.public_key.encode())
    if (file := settings.jwks_file) is not None:
        try:
            return StaticKeys.from_jwks(read_file(file))
        except OSError as error:
            raise SettingsError(f"{path}.jwks: {cannot_read(file, error)}") from None
    return key_servers.keys_at(JwksUrl(settings.jwks) if settings.jwks is not None else Discovery(settings.issuer))


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
        with as_settings_errors("api"):
            keys.append(ApiKey(SINGLE_KEY_NAME, hash_key(api.key.get_secret_value()), SCOPES - {ADMIN}, _rate(api)))
    for index, settings in enumerate(api.keys):
        with as_settings_errors(f"api.keys[{index}]"):
            digest = parse_hash(settings.hash) if settings.hash is not None else hash_key(plain(settings.key))
            keys.append(ApiKey(settings.name, digest, frozenset(settings.scopes), _rate(settings)))
    services = any(issuer.services for issuer in auth.issuers)
    if not keys and not services:
        return None
    with as_settings_errors("api"):
        tokens = ServiceTokens(build_issuers(), clock, auth.leeway, auth.token_bytes) if services else None
        return Callers(ApiKeys(keys), tokens)


def _rate(key: ApiSettings | ApiKeySettings) -> Rate | None:
    """At once as many as in a second, where nothing is said."""
    if key.publish_per_second is None:
        return None
    return Rate(key.publish_per_second, key.publish_burst or ceil(key.publish_per_second))
