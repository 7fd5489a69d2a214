"""The nodes of a cluster: what they say of themselves, and where that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.errors import SynkroneError
from domain.model.value import value


@value
class Member:
    """One node, from its start to its end or to the loss of its lease: afterwards it is another one.

    ``boot`` is 8 characters of base64url, at random. ``address`` is the URL of its internal listener. ``offset`` is how
    far it has read the log.
    """

    boot: str
    address: str
    version: str
    since: datetime
    connections: int
    offset: int


@value
class Roll:
    """The nodes that hold a lease, oneself among them, and the secret that they share: 32 random bytes."""

    members: Sequence[Member]
    secret: bytes


class LeaseLost(SynkroneError):
    code = "lease_lost"
    title = "The other nodes have taken this one for dead."


class Registry(Protocol):
    """Where nodes register: it is the truth of who is one."""

    async def renew(self, own: Member) -> Roll:
        """Take a lease or renew it, and read who else holds one. To be called every few seconds.

        Raises LeaseLost where there was one that is gone, and StoreUnavailable.
        """

    async def leave(self, boot: str) -> None:
        """Give a lease back. Raises StoreUnavailable."""

    async def roll(self) -> Roll:
        """Who holds a lease. Raises StoreUnavailable."""


class Members(Protocol):
    """What one node knows of the others."""

    @property
    def boot(self) -> str:
        """Its own; another one after it has lost its lease."""

    @property
    def secrets(self) -> Sequence[bytes]:
        """That of the cluster, and behind it those that it had before: sessions of then live on."""

    async def find(self, boot: str) -> Member | None:
        """A node by its boot, itself among them; None for one that holds no lease.

        One that is not known is looked for in the registry, at most once a second for all of them.
        """
