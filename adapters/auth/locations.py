"""Where an issuer's JWK Set is: at a configured URL, or where the issuer's own metadata says."""

from __future__ import annotations

from typing import Protocol

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc8414 import get_well_known_url as get_oauth_url
from authlib.oidc.discovery import OpenIDProviderMetadata
from authlib.oidc.discovery import get_well_known_url as get_openid_url

from adapters.auth.fetching import Fetcher, FetchFailed, is_loopback, is_secure
from adapters.system.configuration import ConfigurationError


class Location(Protocol):
    @property
    def name(self) -> str:
        """What logs call it."""

    @property
    def address(self) -> str:
        """The configured URL, by which one is told from others of its kind."""

    async def jwks_uri(self, fetcher: Fetcher, /) -> str:
        """The URL of the JWK Set. Raises FetchFailed."""


class JwksUrl:
    """A configured URL. Raises ConfigurationError for one that is neither https nor of this machine."""

    def __init__(self, url: str) -> None:
        if not is_secure(url):
            raise ConfigurationError("jwks", "must be a file, or an https URL (http only on this machine)")
        self.address = url
        self.name = url.partition("?")[0]

    async def jwks_uri(self, _: Fetcher) -> str:
        return self.address


class Discovery:
    """The metadata of an issuer: OpenID Connect Discovery 1.0, or else RFC 8414.

    Raises ConfigurationError for an issuer that is no URL to fetch metadata from.
    """

    def __init__(self, issuer: str) -> None:
        if not is_secure(issuer) or "?" in issuer:
            raise ConfigurationError(
                "issuer", "must be an https URL (http only on this machine), as its keys are looked up there"
            )
        self.address = self.name = issuer

    async def jwks_uri(self, fetcher: Fetcher) -> str:
        metadata = await self._metadata(fetcher)
        for member in ("issuer", "jwks_uri"):
            # Authlib's checks take strings for granted.
            if not isinstance(metadata.get(member), str):
                raise FetchFailed(f"the metadata has no {member}")
        try:
            metadata.validate_issuer()
            metadata.validate_jwks_uri()
        except ValueError as error:
            raise FetchFailed(f"the metadata is not valid: {error}") from None
        # Otherwise one issuer could have the keys of another believed (OpenID Connect Discovery 1.0, section 4.3).
        if metadata["issuer"] != self.address:
            raise FetchFailed("the metadata is of another issuer")
        jwks_uri = str(metadata["jwks_uri"])
        if not is_secure(jwks_uri) or (is_loopback(jwks_uri) and not is_loopback(self.address)):
            raise FetchFailed("the metadata's jwks_uri is neither https nor of the issuer's own machine")
        return jwks_uri

    async def _metadata(self, fetcher: Fetcher) -> AuthorizationServerMetadata:
        try:
            return OpenIDProviderMetadata(await fetcher.get_object(get_openid_url(self.address, external=True)))
        except FetchFailed as failure:
            if not failure.absent:
                raise
        return AuthorizationServerMetadata(await fetcher.get_object(get_oauth_url(self.address, external=True)))
