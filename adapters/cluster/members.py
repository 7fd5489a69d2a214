"""What one node knows of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from adapters.system.nodes import Member

__all__ = ["Member", "Members"]


class Members(Protocol):
    @property
    def boot(self) -> str:
        """Its own; another one after it has lost its lease."""

    @property
    def secrets(self) -> Sequence[bytes]:
        """Those by which others know what is the cluster's: the first one signs, and all of them verify.

        A new one signs only once all nodes have it, and sessions of before live on. A node that came after it knows
        none of before.
        """

    def knows(self, boot: str) -> bool:
        """Whether it can be found without looking for it."""

    async def find(self, boot: str) -> Member | None:
        """A node by its boot, itself among them; None for one that holds no lease, or has no internal listener.

        One that is not known is looked for in the registry, at most once a second for all of them.
        """
