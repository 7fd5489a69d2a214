"""What the server needs of a transport that it runs, beside the domain's port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tornado.web

from domain.ports import Transport


class ServedTransport(Transport, Protocol):
    @property
    def routes(self) -> Sequence[tuple[str, type[tornado.web.RequestHandler]]]:
        """To be mounted before the server's own."""

    def stop_accepting(self) -> None:
        """Refuse new clients from now on, so that they come back later."""

    def sweep(self) -> None:
        """Keep deadlines and limits; called about once a second."""

    async def close(self) -> None:
        """End every connection at once."""
