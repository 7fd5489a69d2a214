"""The TokenVerifier for JWTs (RFC 7519): one for every type of user."""

from __future__ import annotations

from datetime import timedelta

from adapters.auth.claims import check_audience, check_kind, check_times, role_of, roles_of, user_of
from adapters.auth.compact import DEFAULT_TOKEN_BYTES
from adapters.auth.issuers import Issuers
from adapters.auth.signed import SignedTokens
from domain.errors import TokenExpired
from domain.model import Identity, UserId
from domain.ports import Clock


class JwtVerifier:
    """Verifies the access tokens of some issuers: of at most ``token_bytes`` each.

    ``leeway`` allows for clocks that differ.
    """

    _issuers: Issuers
    _tokens: SignedTokens
    _leeway: timedelta

    def __init__(
        self,
        issuers: Issuers,
        clock: Clock,
        leeway: timedelta = timedelta(seconds=30),
        token_bytes: int = DEFAULT_TOKEN_BYTES,
    ) -> None:
        self._clock = clock
        self._token_bytes = token_bytes
        self.replace(issuers, leeway)

    def replace(self, issuers: Issuers, leeway: timedelta) -> None:
        """Believe these issuers in place of those there were, from the next token on. They are not closed."""
        self._issuers = issuers
        self._tokens = SignedTokens(issuers, self._token_bytes)
        self._leeway = leeway

    async def verify(self, token: str) -> Identity:
        signed = await self._tokens.read(token)
        check_kind(signed.header, signed.claims)
        validity = check_times(signed.claims, self._clock.now(), self._leeway)
        check_audience(signed.claims, signed.issuer.audience)
        roles = roles_of(signed.claims, signed.issuer) if signed.issuer.multiple_roles else ()
        identity = Identity(
            user=UserId(user_of(signed.claims, signed.issuer)),
            role=roles[0] if roles else role_of(signed.claims, signed.issuer),
            roles=roles,
            issuer=signed.issuer.issuer or "",
            expires_at=validity.expires_at,
            issued_at=validity.issued_at,
        )
        # Last of all: it tells the client that a new token is all it needs.
        if validity.expired:
            raise TokenExpired("exp is past")
        return identity

    @property
    def fault(self) -> str | None:
        """The code of what is wrong while no token of any issuer could be verified."""
        return self._issuers.fault

    async def close(self) -> None:
        """Fetch no keys any more."""
        await self._issuers.close()
