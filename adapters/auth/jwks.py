"""The keys of an issuer as its key server publishes them: fetched when first needed, cached, refreshed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from joserfc.jwk import Key

from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.compact import CompactToken
from adapters.auth.fetching import Fetcher, FetchFailed
from adapters.auth.keys import InvalidKeySet, KeyRing, parse_jwks
from adapters.auth.locations import Location
from adapters.system.configuration import ConfigurationError
from domain.errors import KeysUnavailable
from domain.ports import Clock

_log = logging.getLogger("synkrone.auth")

MAX_ARRIVALS = 1_024
"""How many tokens without a key are remembered; of more, those that have not come for longest are forgotten."""
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class CacheTimes:
    """``min_interval`` lies between any two fetches, whatever asks for them. From ``max_age`` on the cached keys are
    refreshed in the background; at ``max_stale`` they are no longer used."""

    min_interval: timedelta = timedelta(seconds=30)
    max_age: timedelta = timedelta(minutes=10)
    max_stale: timedelta = timedelta(hours=24)


class Arrivals:
    """When tokens whose key is not known came for the first time, in seconds of a monotonic clock.

    Each token counts for itself: were it each ``kid``, whoever guesses the next one could have it refused in advance.
    One that was forgotten comes for the first time again, and so is told to come back once more, never refused.
    """

    def __init__(self, limit: int = MAX_ARRIVALS) -> None:
        self._limit = limit
        self._first: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._first)

    def first(self, token: str, now: float) -> float:
        digest = hashlib.blake2b(token.encode(), digest_size=_DIGEST_BYTES).digest()
        first = self._first.setdefault(digest, now)
        self._first.move_to_end(digest)
        if len(self._first) > self._limit:
            self._first.popitem(last=False)
        return first


async def fetch_keys(location: Location, fetcher: Fetcher) -> tuple[KeyRing, Sequence[str]]:
    """The usable keys that a key server has now, at least one, and why others are skipped.

    Raises FetchFailed and InvalidKeySet.
    """
    ring, skipped = parse_jwks(await fetcher.get(await location.jwks_uri(fetcher)))
    if not ring:
        reasons = f": {'; '.join(skipped)}" if skipped else ""
        raise InvalidKeySet(f"holds no key that can verify a signature{reasons}")
    return ring, skipped


class RemoteKeys:
    """A KeySource that asks a key server.

    A token whose key is cached never waits. One with an unknown ``kid`` waits for a fetch where one is allowed now;
    all that wait share it. It is refused for good once a fetch that began after it came has not brought its key, and
    until then is told to come back: an issuer may have begun to use a key just after the last fetch.
    """

    def __init__(
        self,
        location: Location,
        clock: Clock,
        *,
        times: CacheTimes | None = None,
        fetcher: Fetcher | None = None,
        fetched: Callable[[bool], None] = lambda _succeeded: None,
    ) -> None:
        """``fetched`` is called with whether a fetch brought keys."""
        self._location = location
        self._clock = clock
        self._times = times or CacheTimes()
        self._fetcher = fetcher or Fetcher()
        self._fetched = fetched
        self._ring: KeyRing | None = None
        self._fetched_at = 0.0
        self._asked_at: float | None = None
        self._arrivals = Arrivals()
        self._attempted_at: float | None = None
        self._fetch: asyncio.Task[None] | None = None
        self._closed = False

    def check(self, algorithms: Collection[str]) -> None:
        for name in algorithms:
            if ALGORITHMS[name].is_hmac:
                raise ConfigurationError("algorithms", f"{name} needs a secret; a key server has public keys only")

    async def find(self, token: CompactToken) -> Sequence[Key]:
        ring = self._usable_ring()
        if ring is not None:
            keys = ring.select(token.algorithm, token.kid)
            if keys or ring.knows(token.kid):
                if self._age() >= self._times.max_age.total_seconds():
                    self._start_fetch()
                return keys
        arrived_at = self._arrivals.first(token.text, self._clock.monotonic())
        fetch = self._start_fetch()
        if fetch is not None:
            # Unlike awaiting the task: whoever stops waiting must not end it for the others.
            await asyncio.wait([fetch])
        ring = self._usable_ring()
        if ring is None:
            raise KeysUnavailable
        keys = ring.select(token.algorithm, token.kid)
        if not keys and not ring.knows(token.kid) and not self._was_asked_since(arrived_at):
            again = f"{self._times.min_interval.total_seconds():g} s"
            raise KeysUnavailable(f"the key of this token is not known; the key server is asked again within {again}")
        return keys

    def are_unavailable(self) -> bool:
        is_fetching = self._fetch is not None and not self._fetch.done()
        return self._usable_ring() is None and not is_fetching and not self._may_fetch()

    async def close(self) -> None:
        self._closed = True
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.wait([self._fetch])

    def _was_asked_since(self, arrived_at: float) -> bool:
        """Whether the cached keys are the answer to what was asked no earlier than that."""
        return self._asked_at is not None and self._asked_at >= arrived_at

    def _age(self) -> float:
        return self._clock.monotonic() - self._fetched_at

    def _usable_ring(self) -> KeyRing | None:
        return self._ring if self._age() < self._times.max_stale.total_seconds() else None

    def _start_fetch(self) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one where enough time has passed since the last began."""
        if self._fetch is not None and not self._fetch.done():
            return self._fetch
        if self._closed or not self._may_fetch():
            return None
        self._attempted_at = self._clock.monotonic()
        self._fetch = asyncio.create_task(self._refresh())
        return self._fetch

    def _may_fetch(self) -> bool:
        if self._attempted_at is None:
            return True
        return self._clock.monotonic() - self._attempted_at >= self._times.min_interval.total_seconds()

    async def _refresh(self) -> None:
        asked_at = self._clock.monotonic()
        try:
            ring, skipped = await fetch_keys(self._location, self._fetcher)
        except (FetchFailed, InvalidKeySet) as error:
            _log.warning("keys of %s cannot be had: %s", self._location.name, error)
            self._fetched(False)
        else:
            if skipped:
                _log.warning("some keys of %s are not used: %s", self._location.name, "; ".join(skipped))
            self._ring = ring
            self._asked_at = asked_at
            self._fetched_at = self._clock.monotonic()
            self._fetched(True)
