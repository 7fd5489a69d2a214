"""One node among others: what it asks of them for its clients, and what they ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adapters.cluster.forwarding import ForwardingRoute, Peers, Sessions
from adapters.cluster.members import Members
from adapters.cluster.served import LINK_PATH, LinkRoute
from adapters.http.exchange import Route
from domain.ports import Clock

FRAME_BYTES: Final = 16_384
"""Of the frame of a request, beside its head and its body: names of its fields, addresses, what was seen."""

ANSWER_MARGIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class ForwardingLimits:
    """Bytes, counts and seconds. ``head_bytes`` and ``body_bytes`` are of one request; ``links`` of those to one other
    node; ``poll_seconds`` is how long a poll may wait for its answer."""

    head_bytes: int
    body_bytes: int
    links: int
    poll_seconds: float


class Forwarding:
    """Lets clients come to any node with any session. ``sweep`` is to be called about once a second."""

    def __init__(
        self, sessions: Sessions, members: Members, peers: Peers, clock: Clock, *, limits: ForwardingLimits
    ) -> None:
        self.route = ForwardingRoute(
            sessions,
            members,
            peers,
            clock,
            max_body_bytes=limits.body_bytes,
            max_links=limits.links,
            answer_seconds=limits.poll_seconds + ANSWER_MARGIN,
        )
        self._links = LinkRoute(
            members, sessions, clock, max_request_bytes=limits.head_bytes + limits.body_bytes + FRAME_BYTES
        )

    def set_most_links(self, links: int) -> None:
        """To one other node; those that are open stay."""
        self.route.links.max_links = links

    @property
    def internal_routes(self) -> Mapping[str, Route]:
        """What the other nodes ask, by its path on the internal listener."""
        return {LINK_PATH: self._links}

    @property
    def open_sockets(self) -> int:
        """Connections of clients that were taken from the public listener and are still open."""
        return self.route.open_sockets

    @property
    def open_links(self) -> int:
        """Connections of other nodes that were taken from the internal listener and are still open."""
        return self._links.open_links

    def sweep(self) -> None:
        self.route.sweep()
        self._links.sweep()

    async def drain(self, seconds: float) -> None:
        """This node is about to stop: end the connections that are spliced here, spread over that time."""
        await self.route.end_splices(seconds)

    async def release(self) -> None:
        """At last, have the polls that wait here for other nodes answered, so that their clients ask elsewhere."""
        await self.route.release()

    async def close(self) -> None:
        await self.route.close()
        await self._links.close()
