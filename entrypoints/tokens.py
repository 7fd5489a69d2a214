"""Tokens for development, signed with ``auth.secret``: the first, where there are several."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from entrypoints.settings import SettingsError
from entrypoints.settings_access import AuthSettings


def mint(auth: AuthSettings, *, user: str, role: str, ttl: timedelta) -> str:
    """A JWT (HS256) that a server with these settings accepts. Raises SettingsError where there is no secret."""
    if not auth.secret:
        raise SettingsError("auth.secret: is needed to sign a token")
    if auth.roles is not None and role not in auth.roles:
        raise SettingsError(f"auth.roles: {role!r} is not one of {', '.join(auth.roles)}")
    now = int(time.time())
    claims: dict[str, Any] = {"iat": now, "exp": now + max(1, int(ttl.total_seconds()))}
    if auth.audience is not None:
        claims["aud"] = auth.audience
    _put(claims, auth.user_claim, user)
    _put(claims, auth.role_claim, role)
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(auth.secret[0].get_secret_value()))


def _put(claims: dict[str, Any], path: str | list[str], value: str) -> None:
    *objects, name = path.split(".") if isinstance(path, str) else path
    for key in objects:
        claims = claims.setdefault(key, {})
    claims[name] = value
