"""What the server needs of a transport that it runs, beside the domain's port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from adapters.http.exchange import Route
from domain.ports import Transport


class ServedTransport(Transport[Any, Any], Protocol):
    @property
    def routes(self) -> Mapping[str, Route]:
        """What serves its clients, by the paths it is to be mounted at."""

    @property
    def sweep_seconds(self) -> float:
        """How often ``sweep`` is to be called, at the least."""

    @property
    def open_sockets(self) -> int:
        """Connections that were taken from the HTTP server and are still open."""

    @property
    def waiting_bytes(self) -> int:
        """What was sent and waits for clients to take it."""

    @property
    def connecting(self) -> int:
        """How many clients have come, and are not let in yet."""

    def set_ready(self, *, ready: bool) -> None:
        """Whether new clients can be served at the moment; if not, they are refused, and come back."""

    def refuse_at_once(self, head: bytes) -> bytes | None:
        """The whole answer to a request that begins with these octets, where it is one of a new client and none is
        served now; None for anything else, and where there is any doubt. The connection is closed behind it."""

    def give_up_place(self) -> bool:
        """Close a socket behind which no user is, for one that may have one; False where there is none."""

    def stop_accepting(self) -> None:
        """Refuse new clients from now on, so that they come back later."""

    def sweep(self) -> None:
        """Keep deadlines and limits."""

    async def close(self) -> None:
        """End every connection at once."""
