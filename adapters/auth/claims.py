"""What the claims of a signed token say, and whether they may (RFC 7519, section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.auth.issuers import Issuer
from domain.errors import InvalidToken
from domain.policy import is_name

ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_HEADER_TYPES = ACCESS_TOKEN_TYPES | {"jwt"}

_KIND_CLAIMS = ("typ", "type", "token_use", "token_type")
"""Where issuers write what a token is for: Keycloak, many Python and Node libraries, Cognito, Simple JWT."""
_ACCESS = frozenset({"access", "access_token", "bearer", "at+jwt"})
_NOT_ACCESS = frozenset({"id", "id_token", "refresh", "refresh_token", "offline", "logout", "logout_token"})
_HASHES = ("at_hash", "c_hash", "s_hash")

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Validity:
    """When a token is good, in UTC; without leeway."""

    expires_at: datetime
    expired: bool


def header_type(header: Mapping[str, Any]) -> str:
    """The media type (RFC 7515, section 4.1.9), which knows no case; a token without one is a plain JWT."""
    return str(header.get("typ", "JWT")).lower()


def check_kind(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Refuse what is no access token: above all id tokens and refresh tokens, which issuers sign with the same keys.

    An id token is known by its hashes and its nonce (OpenID Connect Core, section 2), where it says nothing else.
    """
    typ = header_type(header)
    if typ not in _HEADER_TYPES:
        raise InvalidToken("the header's typ is not that of an access token")
    kinds = {value.lower() for name in _KIND_CLAIMS if isinstance(value := claims.get(name), str)}
    if kinds & _NOT_ACCESS:
        raise InvalidToken("it says that it is not an access token")
    if any(name in claims for name in _HASHES):
        raise InvalidToken("it is an id token")
    says_access = typ in ACCESS_TOKEN_TYPES or bool(kinds & _ACCESS)
    if "nonce" in claims and not says_access:
        raise InvalidToken("it has a nonce, as an id token has")


def check_times(claims: Mapping[str, Any], now: datetime, leeway: timedelta) -> Validity:
    """``exp`` is required; ``nbf`` and ``iat`` must not lie in the future. The caller decides about the expired."""
    present, allowed = now.timestamp(), leeway.total_seconds()
    for name in ("nbf", "iat"):
        if name in claims and _numeric_date(claims, name) > present + allowed:
            raise InvalidToken(f"{name} is in the future")
    expires = _numeric_date(claims, "exp")
    try:
        expires_at = datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidToken("exp is not a time of the calendar") from None
    return Validity(expires_at, expired=present >= expires + allowed)


def check_audience(claims: Mapping[str, Any], audience: str | None) -> None:
    """With an audience, ``aud`` must be it or a list that holds it. Without one, only its type counts."""
    aud = claims.get("aud", [])
    values = aud if isinstance(aud, list) else [aud]
    if not all(isinstance(value, str) for value in values):
        raise InvalidToken("aud is neither a string nor a list of strings")
    if audience is not None and audience not in values:
        raise InvalidToken("it is for another audience")


def user_of(claims: Mapping[str, Any], issuer: Issuer) -> str:
    value = _claim(claims, issuer.user_claim)
    if value is _MISSING:
        raise InvalidToken(f"the token has no claim {issuer.user_claim}")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or not is_name(user := issuer.user_prefix + value):
        raise InvalidToken("the user claim is not a user id")
    return user


def role_of(claims: Mapping[str, Any], issuer: Issuer) -> str:
    value = _claim(claims, issuer.role_claim)
    if value is _MISSING:
        raise InvalidToken(f"the token has no claim {issuer.role_claim}")
    if isinstance(value, list):
        # One role that is allowed must not carry others in: which of several holds is not ours to choose.
        if len(value) != 1:
            raise InvalidToken("the role claim does not hold exactly one role")
        value = value[0]
    if not isinstance(value, str) or not is_name(value):
        raise InvalidToken("the role claim is not a role")
    if issuer.roles is not None and value not in issuer.roles:
        raise InvalidToken("the issuer may not assert this role")
    return value


def has_role(claims: Mapping[str, Any], issuer: Issuer) -> bool:
    return _claim(claims, issuer.role_claim) is not _MISSING


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """The claim of exactly that name (namespaced ones hold dots), else the one at the end of the dotted path."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _numeric_date(claims: Mapping[str, Any], name: str) -> float:
    """Seconds since 1970 (RFC 7519, section 2), as a float: a huge integer is none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken(f"{name} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidToken(f"{name} is not a time")
    return number
