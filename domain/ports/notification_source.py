"""Where notifications come from by themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from domain.model import Incoming


class NotificationSource(Protocol):
    """Where notifications come from when they are not posted to the server."""

    @property
    def name(self) -> str:
        """Names the checkpoint: the same source has the same name after a restart."""

    def stream(self, after: str | None) -> AsyncGenerator[Sequence[Incoming], None]:
        """The items after the one with resume id ``after``, in order, in batches; all it has for None.

        Asking for the next batch acknowledges the one before: only then may the source forget it. Whoever stops
        asking closes the generator. It ends where nothing more can come; where it should be asked again later, it
        raises Unavailable.
        """
