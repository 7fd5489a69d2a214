"""The nodes of a cluster: what they say of themselves, and where that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from domain.errors import SynkroneError
from domain.model.value import value


@value
class Member:
    """One node, from its start to its end or to the loss of its lease: afterwards it is another one.

    ``boot`` is 8 characters of base64url, at random. ``address`` is the URL of its internal listener; empty: it has
    none. ``offset`` is how far it has read the log, and ``lag`` by how many entries that was less than all of it when
    it last renewed its lease.
    """

    boot: str
    address: str
    version: str
    since: datetime
    connections: int
    offset: int
    lag: int = 0


@value
class Roll:
    """The nodes that hold a lease, the longest there first, and the secret that they share: 32 random bytes.

    ``is_settled``: whoever is missing is gone. For a while after the registry began anew, or was out of everybody's
    reach, they may still come back.
    """

    members: Sequence[Member]
    secret: bytes
    is_settled: bool = True


class LeaseLost(SynkroneError):
    code = "lease_lost"
    title = "The other nodes have taken this one for dead."


class Registry(Protocol):
    """Where nodes register: it is the truth of who is one.

    A lease ends some seconds after it was last renewed, by the clock of the registry, and whoever renews removes those
    that have ended. What of them is left in a database that is started anew, promoted or copied is void, and so is the
    secret of before. While leases end because nobody can renew any, none counts as ended.
    """

    @property
    def lease(self) -> timedelta:
        """How long one lasts after it was renewed."""

    async def renew(self, own: Member) -> Roll:
        """Take a lease or renew it, and read who else holds one. To be called every few seconds.

        Raises LeaseLost where there was one that is gone, and StoreUnavailable.
        """

    async def leave(self, boot: str) -> None:
        """Give a lease back. Raises StoreUnavailable."""

    async def roll(self) -> Roll:
        """Who holds a lease. Raises StoreUnavailable, also where nobody has ever taken one."""

    async def close(self) -> None:
        """Let go of it."""
