"""Who has logged in, and how often somebody may try to."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final, Protocol

from domain.errors import RateLimited
from domain.ports import Clock

SESSIONS_MAX: Final = 64
"""Of more than so many sessions the one that was used least recently ends."""

ATTEMPTS: Final = 5
ATTEMPT_SECONDS: Final = 12.0
"""An address may fail so often at once, and once more after each so many seconds."""

ADDRESSES_MAX: Final = 4_096

_TOKEN_BYTES: Final = 32
_NETWORK_BITS: Final = 64


class Key(Protocol):
    """An API key, without what it is. Another key, or the same with other scopes, is not equal to it."""

    @property
    def name(self) -> str: ...

    @property
    def scopes(self) -> frozenset[str]: ...


@dataclass(slots=True)
class Session:
    """Of whoever has logged in with ``key``. The times are monotonic seconds."""

    key: Key
    began: float
    used: float


class Sessions:
    """Those who have logged in, each known by a token of 256 random bits, of which only the digest is kept.

    A session ends after ``lifetime``, and after ``idle`` in which it was not used.
    """

    def __init__(self, clock: Clock, *, lifetime: timedelta, idle: timedelta, most: int = SESSIONS_MAX) -> None:
        self._clock = clock
        self._lifetime = lifetime.total_seconds()
        self._idle = idle.total_seconds()
        self._most = most
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, key: Key) -> str:
        """A new one; its token, in base64url."""
        now = self._clock.monotonic()
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[_digest(token)] = Session(key, now, now)
        while len(self._sessions) > self._most:
            self._sessions.popitem(last=False)
        return token

    def find(self, token: str, *, is_used: bool = True) -> Session | None:
        """The one of that token, if it has not ended. ``is_used``: somebody does something with it, just now."""
        # Found by its digest, so that the time a look-up takes says nothing about tokens that are good.
        digest, now = _digest(token), self._clock.monotonic()
        session = self._sessions.get(digest)
        if session is None:
            return None
        if now - session.began >= self._lifetime or now - session.used >= self._idle:
            del self._sessions[digest]
            return None
        if is_used:
            session.used = now
            self._sessions.move_to_end(digest)
        return session

    def end(self, token: str) -> None:
        """It may have ended before."""
        self._sessions.pop(_digest(token), None)

    def __len__(self) -> int:
        return len(self._sessions)


class Attempts:
    """Failed attempts to log in, by the address that they came from; an IPv6 network of 64 bits counts as one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises RateLimited."""
        over = self._debt(_network(address)) - (ATTEMPTS - 1) * ATTEMPT_SECONDS
        if over > 0:
            raise RateLimited("there were too many attempts to log in", retry_after=over)

    def failed(self, address: str) -> None:
        network = _network(address)
        self._free_at[network] = self._clock.monotonic() + self._debt(network) + ATTEMPT_SECONDS
        self._free_at.move_to_end(network)
        while len(self._free_at) > ADDRESSES_MAX:
            self._free_at.popitem(last=False)

    def _debt(self, network: str) -> float:
        """In how many seconds it will be as if nothing had failed."""
        return max(0.0, self._free_at.get(network, 0.0) - self._clock.monotonic())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(int(parsed) >> (128 - _NETWORK_BITS))
    return address
