"""Who is at the other end of a request: address, scheme and origin, with and without proxies in between."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, Literal, TypeAlias

from tornado.httputil import HTTPServerRequest

Network: TypeAlias = IPv4Network | IPv6Network | Literal["unix"]
"""``unix`` is whoever connects over a Unix socket: their address is the same word."""

UNIX: Final = "unix"


class PeerPolicy:
    """Reads ``X-Forwarded-For`` and ``X-Forwarded-Proto`` only where the peer itself is a trusted proxy.

    ``origins`` are allowed beside the origin of the request itself, each as ``scheme://host[:port]``.
    """

    def __init__(self, *, trusted_proxies: Iterable[Network] = (), origins: Iterable[str] = ()) -> None:
        trusted = tuple(trusted_proxies)
        self._trusted = tuple(network for network in trusted if network != UNIX)
        self._trusts_unix = UNIX in trusted
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def address(self, request: HTTPServerRequest) -> str:
        """The client's address: the last one in the chain that is not a trusted proxy."""
        address = request.remote_ip or ""
        forwarded = ",".join(request.headers.get_list("X-Forwarded-For"))
        for hop in reversed([hop.strip() for hop in forwarded.split(",") if hop.strip()]):
            if not self._is_trusted(address) or _parsed(hop) is None:
                break
            address = hop
        return address

    def scheme(self, request: HTTPServerRequest) -> str:
        forwarded = request.headers.get("X-Forwarded-Proto", "").lower()
        if forwarded in ("http", "https") and self._is_trusted(request.remote_ip or ""):
            return forwarded
        return request.protocol

    def allows_origin(self, request: HTTPServerRequest) -> bool:
        """Whether a browser's page may talk to us; a request without an Origin does not come from one."""
        origins = request.headers.get_list("Origin")
        if not origins:
            return True
        origin = origins[0].lower()
        return len(origins) == 1 and (
            origin in self._origins or origin == f"{self.scheme(request)}://{request.host.lower()}"
        )

    def _is_trusted(self, address: str) -> bool:
        if address == UNIX:
            return self._trusts_unix
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _parsed(address: str) -> object | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
