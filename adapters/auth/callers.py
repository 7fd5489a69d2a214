"""Any credential of a backend."""

from __future__ import annotations

from adapters.auth.api_keys import ApiKeys
from adapters.auth.service_tokens import ServiceTokens
from domain.errors import Unauthenticated
from domain.model import Caller


class Callers:
    """The CallerVerifier that takes an API key, or else a service token where there can be any."""

    def __init__(self, api_keys: ApiKeys, service_tokens: ServiceTokens | None = None) -> None:
        self.api_keys = api_keys
        self._service_tokens = service_tokens

    async def authenticate(self, credential: str) -> Caller:
        try:
            return await self.api_keys.authenticate(credential)
        except Unauthenticated:
            if self._service_tokens is None or credential.count(".") != 2:
                raise
        return await self._service_tokens.authenticate(credential)

    async def close(self) -> None:
        """End what runs in the background."""
        if self._service_tokens is not None:
            await self._service_tokens.close()
