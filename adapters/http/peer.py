"""Who is at the other end of a request: address, scheme and origin, with and without proxies in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal, Protocol, TypeAlias

from adapters.http.forwarded import SCHEMES, Headers, Hops, parse_address, parse_node, read_hops
from adapters.http.origins import AllowedOrigin, Origin, OriginSet, origin_at, origin_sent
from domain.ports import Telemetry

Network: TypeAlias = IPv4Network | IPv6Network | Literal["unix"]
"""``unix`` is whoever connects over a Unix socket: their address is the same word."""

UNIX: Final = "unix"
SHOWN_LENGTH: Final = 200


class AnyRequest(Protocol):
    """What is asked of a request to tell who sent it.

    ``remote_ip`` is the peer's address, ``unix`` over a Unix socket; ``protocol`` is ``http`` or ``https``, as it came
    in here; ``host`` is what stands in ``Host``.
    """

    @property
    def method(self) -> str | None: ...

    @property
    def remote_ip(self) -> str | None: ...

    @property
    def protocol(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def headers(self) -> Headers: ...


@dataclass(frozen=True, slots=True)
class VouchedPeer:
    """Who has sent a request, as another node has seen and judged it: the client's address, and whether the page that
    it comes from may talk to us."""

    address: str
    may_talk: bool


class PeerPolicy:
    """Reads what proxies say only where the peer itself is a trusted one.

    Each proxy tells of whoever asked it, so that the chain is followed from the peer outwards, for as long as whoever
    speaks is trusted. The client is the first address that is not, or the last one there is; what cannot be read ends
    the walk. As many elements of X-Forwarded-Proto, from the right, were said by trusted proxies as were met on that
    walk; the outermost of them counts, as it spoke with the client. One that only overwrites leaves a single element,
    which then counts. ``origins`` are allowed beside the origin of the request itself.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Iterable[Network] = (),
        origins: Iterable[AllowedOrigin] = (),
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry
        self.replace(trusted_proxies=trusted_proxies, origins=origins)

    def replace(self, *, trusted_proxies: Iterable[Network], origins: Iterable[AllowedOrigin]) -> None:
        """Have these in place of those there were, from the next request on."""
        trusted = tuple(trusted_proxies)
        self._trusted = tuple(network for network in trusted if network != UNIX)
        self._trusts_unix = UNIX in trusted
        self._origins = OriginSet(origins)

    def address(self, request: AnyRequest) -> str:
        """The client's address: the first one of the chain, from here on, that is not a trusted proxy."""
        if not self.trusts(request.remote_ip or ""):
            return request.remote_ip or ""
        return self._follow(request, read_hops(request.headers))[0]

    def scheme(self, request: AnyRequest) -> str:
        """``http`` or ``https``, as the client asked."""
        if not self.trusts(request.remote_ip or ""):
            return request.protocol
        hops = read_hops(request.headers)
        return _outermost(hops, self._follow(request, hops)[1]) or request.protocol

    def own_origin(self, request: AnyRequest) -> Origin | None:
        """Where the client sees the server; None where its ``Host`` is no host."""
        return origin_at(self.scheme(request), request.host)

    def allows_origin(self, request: AnyRequest) -> bool:
        """Whether a browser's page may talk to us; a request without an Origin does not come from one.

        To be asked once for each request, as each denial is reported.
        """
        sent = request.headers.get_list("Origin")
        if not sent:
            return True
        origin = origin_sent(sent[0]) if len(sent) == 1 else None
        if origin is not None and (origin in self._origins or origin == self.own_origin(request)):
            return True
        if self._telemetry is not None:
            self._report(self._telemetry, request, ", ".join(sent), origin)
        return False

    def _follow(self, request: AnyRequest, hops: Hops) -> tuple[str, int]:
        """The address where the walk ends, and how many trusted proxies were met."""
        address, trusted = request.remote_ip or "", 0
        for hop in (*reversed(hops.addresses), ""):
            if not self.trusts(address):
                break
            trusted += 1
            node = parse_node(hop)
            if node is None:
                break
            address = str(node)
        return address, trusted

    def trusts(self, address: str) -> bool:
        """Whether what somebody at this address says of others is believed."""
        if address == UNIX:
            return self._trusts_unix
        if not self._trusted:
            return False
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._trusted)

    def _report(self, telemetry: Telemetry, request: AnyRequest, sent: str, origin: Origin | None) -> None:
        own = self.own_origin(request)
        setting, advice = self._advice(request, origin)
        telemetry.origin_refused(
            remote_address=_shown(self.address(request)),
            origin=_shown(sent),
            own=str(own) if own is not None else _shown(f"{self.scheme(request)}://{request.host}"),
            setting=setting,
            advice=advice,
        )

    def _advice(self, request: AnyRequest, origin: Origin | None) -> tuple[str | None, str]:
        """The setting that would let this page in, and what to do with it."""
        if origin is None:
            return None, "this is no origin: no browser sends it, and no setting allows it"
        hops = read_hops(request.headers)
        speaker, trusted = self._follow(request, hops)
        believable = (_outermost(hops, count) for count in range(trusted + 1, len(hops.schemes) + 1))
        if any(scheme is not None and origin == origin_at(scheme, request.host) for scheme in believable):
            return "trusted_proxies", f"what {_shown(speaker)} forwards is not believed: add it if it is your proxy"
        host = request.headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
        if host and origin in (origin_at("http", host), origin_at("https", host)):
            return "cors_origins", "X-Forwarded-Host is not read: have the proxy pass Host on, or add the origin"
        if origin == origin_at("https", request.host):
            return "trusted_proxies", "if a proxy ends TLS, have it send X-Forwarded-Proto, and add its address"
        return "cors_origins", "if these pages are yours, add the origin"


def _outermost(hops: Hops, trusted: int) -> str | None:
    """The scheme that the outermost of so many proxies told of; None where none of them did."""
    outermost = None
    for said in reversed(hops.schemes[max(0, len(hops.schemes) - trusted) :]):
        if said:
            scheme = SCHEMES.get(said.strip('"').lower())
            if scheme is None:
                break
            outermost = scheme
    return outermost


def _shown(text: str) -> str:
    shown = text[:SHOWN_LENGTH] + ("..." if len(text) > SHOWN_LENGTH else "")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
