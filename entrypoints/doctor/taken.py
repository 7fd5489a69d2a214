"""Whether it is this program's server that listens where that of the settings would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import aiohttp

from adapters.http.listening import UNIX_PREFIX
from entrypoints.doctor.asking import SECONDS, Unreachable, ask
from entrypoints.doctor.findings import Findings
from entrypoints.settings import Settings, TlsSettings


async def look_at_taken(findings: Findings, settings: Settings, taken: Mapping[str, str]) -> None:
    """At each of the addresses that somebody listens on. Bounded in time by SECONDS for each."""
    for address, host, port, tls in _addresses(settings):
        if address not in taken:
            continue
        if await _is_ours(host, port, tls):
            findings.ok("listening", f"{address} is in use, by a server that runs")
        else:
            findings.fail(
                "listening",
                f"{address} is in use, and what listens there does not answer as a server of this program",
                "stop that program, or name another address; a server that hangs has to be started again",
            )


def _addresses(settings: Settings) -> Iterator[tuple[str, str, int, TlsSettings]]:
    """As ``check`` names them, each with its host, its port and what it proves itself with."""
    internal = settings.internal
    yield settings.address, settings.host, settings.port, settings.tls
    yield f"{internal.host}:{internal.port}", internal.host, internal.port or 0, internal.tls


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
