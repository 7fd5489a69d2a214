"""The key servers of all issuers, each with what was fetched from it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from adapters.auth.issuers import KeySource
from adapters.auth.jwks import RemoteKeys
from adapters.auth.locations import Location
from domain.ports import Clock


class KeyServers:
    """Keys by where they are fetched: issuers that change beside one of them keep what is cached of it, and ask for
    nothing anew."""

    def __init__(self, clock: Clock, fetched: Callable[[bool], None] = lambda _succeeded: None) -> None:
        """``fetched`` is called with whether a fetch brought keys."""
        self._clock = clock
        self._fetched = fetched
        self._known: dict[tuple[type[Location], str], RemoteKeys] = {}

    def __len__(self) -> int:
        return len(self._known)

    def keys_at(self, location: Location) -> RemoteKeys:
        """The same for the same place."""
        identity = (type(location), location.address)
        if identity not in self._known:
            self._known[identity] = RemoteKeys(location, self._clock, fetched=self._fetched)
        return self._known[identity]

    async def forget_all_but(self, used: Collection[KeySource]) -> None:
        """Close those that nobody needs any more. Whoever waits for one of them is told to come back."""
        for identity, keys in list(self._known.items()):
            if not any(keys is each for each in used):
                del self._known[identity]
                await keys.close()
