"""Everything that is stored."""

from __future__ import annotations

from typing import Protocol

from domain.ports.amendments import Amendments
from domain.ports.checkpoints import Checkpoints
from domain.ports.erasures import Erasures
from domain.ports.inboxes import Inboxes
from domain.ports.ledger import Ledger
from domain.ports.log import Log
from domain.ports.recipients import Recipients
from domain.ports.restrictions import Restrictions
from domain.ports.schedule import Schedule
from domain.ports.subscribers import Subscribers
from domain.ports.topics import Topics


class Store(
    Log,
    Checkpoints,
    Subscribers,
    Inboxes,
    Ledger,
    Recipients,
    Restrictions,
    Amendments,
    Schedule,
    Erasures,
    Topics,
    Protocol,
):
    """One adapter keeps all of it, as what they promise together needs one commit."""

    async def secret(self) -> bytes:
        """32 random bytes that belong to this store: the same as long as it exists."""

    async def ensure_writable(self) -> None:
        """Raises StoreUnavailable where a write failed and none has succeeded since."""
