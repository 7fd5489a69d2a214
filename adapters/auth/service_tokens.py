"""Access tokens of services: JWTs by RFC 9068 that name a client and no user's role."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims

from adapters.auth.claims import ACCESS_TOKEN_TYPES, check_audience, check_kind, check_times, has_role, header_type
from adapters.auth.compact import DEFAULT_TOKEN_BYTES
from adapters.auth.issuers import Issuers
from adapters.auth.signed import SignedToken, SignedTokens
from domain.errors import InvalidToken, TokenExpired, Unauthenticated
from domain.model import Caller
from domain.ports import Clock

_log = logging.getLogger("synkrone.auth")


class _Claims(JWTAccessTokenClaims):
    """Authlib's claims, checked against our clock instead of the system's."""

    now: float
    leeway: float

    def validate(self) -> None:
        super().validate(now=self.now, leeway=self.leeway)


class ServiceTokens:
    """The CallerVerifier for service tokens: those of a client that its issuer's ``services`` names.

    The caller has the scopes that are both in the token (RFC 8693, section 4.2) and in ``services``.
    """

    def __init__(
        self,
        issuers: Issuers,
        clock: Clock,
        leeway: timedelta = timedelta(seconds=30),
        token_bytes: int = DEFAULT_TOKEN_BYTES,
    ) -> None:
        self._issuers = issuers
        self._tokens = SignedTokens(issuers, token_bytes)
        self._clock = clock
        self._leeway = leeway

    async def authenticate(self, credential: str) -> Caller:
        try:
            signed = await self._tokens.read(credential)
            return self._caller(signed, self._clock.now())
        except InvalidToken as error:
            _log.debug("service token refused: %s", error.reason)
            raise Unauthenticated from None

    async def close(self) -> None:
        """Fetch no keys any more."""
        await self._issuers.close()

    def _caller(self, signed: SignedToken, now: datetime) -> Caller:
        issuer, claims = signed.issuer, signed.claims
        if header_type(signed.header) not in ACCESS_TOKEN_TYPES:
            raise InvalidToken("the header's typ is not at+jwt")
        check_kind(signed.header, claims)
        check_audience(claims, issuer.audience)
        if check_times(claims, now, self._leeway).expired:
            raise TokenExpired("exp is past")
        client, scope = claims.get("client_id"), claims.get("scope", "")
        if not isinstance(client, str) or client not in issuer.services:
            raise InvalidToken("the client is not one of the issuer's services")
        if not isinstance(scope, str):
            raise InvalidToken("scope is not a string")
        if has_role(claims, issuer):
            raise InvalidToken("it has a role: it is a user's")
        self._check_profile(signed, now)
        return Caller(f"{issuer.issuer} {client}", frozenset(scope.split(" ")) & frozenset(issuer.services[client]))

    def _check_profile(self, signed: SignedToken, now: datetime) -> None:
        """The rest of RFC 9068, sections 2.2 and 4, by Authlib."""
        validator = JWTBearerTokenValidator(signed.issuer.issuer, signed.issuer.audience)
        options: dict[str, dict[str, Any]] = {
            "iss": {"essential": True, "validate": validator.validate_iss},
            "exp": {"essential": True},
            "aud": {"essential": True, "value": signed.issuer.audience},
            "sub": {"essential": True},
            "client_id": {"essential": True},
            "iat": {"essential": True},
            "jti": {"essential": True},
        }
        claims = _Claims(signed.claims, signed.header, options)
        claims.now = now.timestamp()
        claims.leeway = self._leeway.total_seconds()
        try:
            validator.validate_token(claims, scopes=None, request=None)
        except (OAuth2Error, ValueError, TypeError) as error:
            raise InvalidToken(f"it does not follow RFC 9068 ({type(error).__name__})") from None
