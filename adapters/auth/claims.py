"""What the claims of a signed token say, and whether they may (RFC 7519, section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.auth.issuers import ClaimPath, Issuer
from domain.errors import InvalidToken
from domain.model import ROLES_MOST
from domain.policy import is_name

ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_HEADER_TYPES = ACCESS_TOKEN_TYPES | {"jwt", "application/jwt"}

_KIND_CLAIMS = ("typ", "type", "token_use", "token_type")
"""Where issuers write what a token is for: Keycloak, many Python and Node libraries, Cognito, Simple JWT."""
_ACCESS = frozenset({"access", "access_token", "bearer", "at+jwt"})
_NOT_ACCESS = frozenset({"id", "id_token", "refresh", "refresh_token", "offline", "logout", "logout_token"})
_HASHES = ("at_hash", "c_hash", "s_hash")
_SCOPES = ("scp", "scope")

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Validity:
    """When a token is good, in UTC; without leeway."""

    expires_at: datetime
    issued_at: datetime | None
    expired: bool


def header_type(header: Mapping[str, Any]) -> str:
    """The media type (RFC 7515, section 4.1.9), which knows no case; a token without one is a plain JWT."""
    return str(header.get("typ", "JWT")).lower()


def check_kind(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Refuse what is no access token: above all id tokens and refresh tokens, which issuers sign with the same keys.

    An id token is known by its hashes and its nonce (OpenID Connect Core, section 2), where it says nothing else. A
    logout token is known by its events (OpenID Connect Back-Channel Logout, section 2.4; RFC 8417, section 2.2), and a
    refresh token of Cloud Foundry's UAA by the scopes it stands for and does not have.
    """
    typ = header_type(header)
    if typ not in _HEADER_TYPES:
        raise InvalidToken("the header's typ is not that of an access token")
    kinds = {value.lower() for name in _KIND_CLAIMS if isinstance(value := claims.get(name), str)}
    if kinds & _NOT_ACCESS:
        raise InvalidToken("it says that it is not an access token")
    if any(name in claims for name in _HASHES):
        raise InvalidToken("it is an id token")
    if isinstance(claims.get("events"), Mapping):
        raise InvalidToken("it tells of an event, as a logout token does")
    if "granted_scopes" in claims:
        raise InvalidToken("it is a refresh token")
    says_access = typ in ACCESS_TOKEN_TYPES or bool(kinds & _ACCESS) or _is_granted_to_a_client(claims)
    if "nonce" in claims and not says_access:
        raise InvalidToken("it has a nonce, as an id token has")


def _is_granted_to_a_client(claims: Mapping[str, Any]) -> bool:
    """Whether it says which client was granted what, in one string: Azure AD B2C's access tokens have a nonce too.

    A list does not count, since UAA writes one into its id tokens.
    """
    is_text = [isinstance(value := claims.get(name), str) and bool(value) for name in _SCOPES]
    return any(is_text) and isinstance(claims.get("azp"), str)


def check_times(claims: Mapping[str, Any], now: datetime, leeway: timedelta) -> Validity:
    """``exp`` is required; ``nbf`` and ``iat`` must not lie in the future. The caller decides about the expired."""
    present, allowed = now.timestamp(), leeway.total_seconds()
    for name in ("nbf", "iat"):
        if name in claims and _numeric_date(claims, name) > present + allowed:
            raise InvalidToken(f"{name} is in the future")
    expires = _numeric_date(claims, "exp")
    issued_at = _calendar_time(claims, "iat") if "iat" in claims else None
    return Validity(_calendar_time(claims, "exp"), issued_at, expired=present >= expires + allowed)


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
        raise InvalidToken(f"the token has no claim {_shown(issuer.user_claim)}, which is to hold the user id")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or not is_name(user := issuer.user_prefix + value):
        raise InvalidToken("the user claim is not a user id")
    return user


def role_of(claims: Mapping[str, Any], issuer: Issuer) -> str:
    value = _claim(claims, issuer.role_claim)
    if value is _MISSING:
        raise InvalidToken(f"the token has no claim {_shown(issuer.role_claim)}, which is to hold the role")
    if isinstance(value, list) or (isinstance(value, Mapping) and issuer.roles is not None):
        value = _only_role(list(value), issuer)
    if not isinstance(value, str) or not is_name(value):
        raise InvalidToken("the role claim is not a role")
    if issuer.roles is not None and value not in issuer.roles:
        raise InvalidToken("the issuer may not assert this role")
    return value


def roles_of(claims: Mapping[str, Any], issuer: Issuer) -> tuple[str, ...]:
    """All that the issuer may assert, in the order in which it names them: at least one. What else it holds are roles
    of its own."""
    value = _claim(claims, issuer.role_claim)
    if value is _MISSING:
        raise InvalidToken(f"the token has no claim {_shown(issuer.role_claim)}, which is to hold the roles")
    given = list(value) if isinstance(value, list | Mapping) else [value]
    if not all(isinstance(role, str) for role in given):
        raise InvalidToken("the role claim holds what is no role")
    roles = tuple(role for role in issuer.roles or () if role in given)
    if not 0 < len(roles) <= ROLES_MOST:
        raise InvalidToken(f"the role claim holds {len(roles)} roles that are allowed, not 1 to {ROLES_MOST}")
    return roles


def _only_role(roles: Sequence[object], issuer: Issuer) -> object:
    """The one of several that is allowed. Zitadel writes an object, whose names are the roles.

    Issuers list roles of their own beside it; but which of two that are allowed holds is not ours to choose.
    """
    if not all(isinstance(role, str) for role in roles):
        raise InvalidToken("the role claim holds what is no role")
    allowed = [role for role in roles if issuer.roles is None or role in issuer.roles]
    if len(allowed) != 1:
        raise InvalidToken(f"the role claim holds {len(allowed)} roles that are allowed, not exactly one")
    return allowed[0]


def has_role(claims: Mapping[str, Any], issuer: Issuer) -> bool:
    return _claim(claims, issuer.role_claim) is not _MISSING


def _claim(claims: Mapping[str, Any], path: ClaimPath) -> object:
    """The claim at the end of the steps. A string is the claim of exactly that name (namespaced ones hold dots), else
    the one at the end of the dotted path."""
    if isinstance(path, str):
        if path in claims:
            return claims[path]
        path = path.split(".")
    value: object = claims
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _shown(path: ClaimPath) -> str:
    return repr(path if isinstance(path, str) else list(path))


def _calendar_time(claims: Mapping[str, Any], name: str) -> datetime:
    try:
        return datetime.fromtimestamp(_numeric_date(claims, name), UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidToken(f"{name} is not a time of the calendar") from None


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
