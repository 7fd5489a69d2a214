"""Beside a server that runs: what it holds of what these settings name, told from what somebody else holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aiohttp

from adapters.http.binding import UNIX_PREFIX
from entrypoints.checking import InTheWay
from entrypoints.container import SHARED_STORES
from entrypoints.doctor.asking import SECONDS, Unreachable, ask
from entrypoints.settings import Settings, SettingsError, TlsSettings


@dataclass(frozen=True, slots=True)
class Held:
    """What a server that runs holds: the ``addresses`` where it listens, and what there is to say of the ``store``."""

    addresses: Sequence[str] = ()
    store: str | None = None

    @property
    def at(self) -> Sequence[str]:
        return [
            f"{address} is in use by a server that runs: another one would not start beside it"
            for address in self.addresses
        ]

    @property
    def notes(self) -> Sequence[str]:
        return [*self.at, *([self.store] if self.store is not None else [])]


async def look_beside(settings: Settings, in_the_way: InTheWay) -> Held:
    """Bounded in time by SECONDS for each address that is taken. Raises SettingsError, as ``serve`` does, where what is
    in the way is not such a server's."""
    addresses: list[str] = []
    for address, host, port, tls in _addresses(settings):
        if address not in in_the_way.taken:
            continue
        if not await _is_ours(host, port, tls):
            raise SettingsError(in_the_way.taken[address])
        addresses.append(address)
    store = in_the_way.store
    if store is None:
        return Held(addresses)
    if settings.store.scheme in SHARED_STORES:
        # Not from another server: from a move.
        return Held(addresses, f"serve would wait for the store: {store.removeprefix('store: ')}")
    if not addresses:
        raise SettingsError(store)
    return Held(addresses, f"{settings.store.path.absolute()} is in use by a server that runs")


def _addresses(settings: Settings) -> Iterator[tuple[str, str, int, TlsSettings]]:
    """In the order in which ``serve`` takes them, as ``check`` names them, each with its host, its port and what it
    proves itself with."""
    internal = settings.internal
    yield f"{internal.host}:{internal.port}", internal.host, internal.port or 0, internal.tls
    yield settings.address, settings.host, settings.port, settings.tls


async def _is_ours(host: str, port: int, tls: TlsSettings) -> bool:
    connector: aiohttp.BaseConnector
    if host.startswith(UNIX_PREFIX):
        connector, where = aiohttp.UnixConnector(host.removeprefix(UNIX_PREFIX)), "localhost"
    else:
        # Its certificate is for the names by which others know it.
        connector = aiohttp.TCPConnector(ssl=False)
        where = f"[{host}]:{port}" if ":" in host else f"{host or 'localhost'}:{port}"
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        try:
            answer = await ask(session, f"{'http' if tls.cert is None else 'https'}://{where}/health/live")
        except Unreachable:
            return False
    return answer.members.get("status") == "live"
