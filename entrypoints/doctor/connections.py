"""Connections of a user through the address: do they come about, does what is sent come at once, and from where."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from ssl import cert_time_to_seconds
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from adapters.http.problems import MEDIA_TYPE
from entrypoints.doctor.asking import OF_PROXIES, SECONDS, Asked, Unreachable, ask
from entrypoints.doctor.findings import Findings
from entrypoints.doctor.here import report_certificate

FORGED: Final = "192.0.2.1"
"""An address that nobody has (RFC 5737), as if it was said by a proxy."""

_UPGRADE: Final = f"have the proxy pass Upgrade and Connection on: {OF_PROXIES}"
_ADDRESS: Final = "client address"


@dataclass(frozen=True, slots=True)
class Connected:
    """``own`` is the address of this machine in the connection; ``device`` is of this connection alone."""

    user: str
    device: str
    own: str


async def look_at_websocket(findings: Findings, session: aiohttp.ClientSession, asked: Asked) -> None:
    """From no page: whose pages may connect is seen at the handshake."""
    url = f"{asked.url}/socket.io/?EIO=4&transport=websocket"
    try:
        async with (
            asyncio.timeout(SECONDS),
            session.ws_connect(url, headers={"X-Forwarded-For": FORGED}) as socket,
        ):
            if not (await socket.receive_str()).startswith("0{"):
                raise TypeError
            findings.ok("websocket", "it opens, and what is sent comes through")
            _look_at_certificate(findings, asked, socket.get_extra_info("peercert"))
            if asked.token is None:
                findings.untried.append("the client's address, and streams: give --token, or auth.secret")
                return
            connected = await _connect(findings, socket, asked.token)
            if connected is not None:
                await _look_at_address(findings, session, asked, connected)
    except aiohttp.WSServerHandshakeError as error:
        findings.fail("websocket", f"the upgrade answers {error.status}", _UPGRADE)
    except (aiohttp.ClientError, OSError, TypeError, LookupError, ValueError, RecursionError) as error:
        # It is a TypeError where no text comes, and any of the last four where others talk than this program's server.
        findings.fail("websocket", f"it breaks, or nothing comes ({type(error).__name__})", _UPGRADE)


def _look_at_certificate(findings: Findings, asked: Asked, certificate: dict[str, Any] | None) -> None:
    if certificate:
        end = datetime.fromtimestamp(cert_time_to_seconds(certificate["notAfter"]), UTC)
        report_certificate(findings, f"that of {asked.url}", end)


async def _connect(findings: Findings, socket: aiohttp.ClientWebSocketResponse, token: str) -> Connected | None:
    """None for whom the server refuses. Raises TypeError and ValueError where it says something else."""
    device = f"doctor-{secrets.token_hex(4)}"
    await socket.send_str(f"40{json.dumps({'token': token, 'device': device})}")
    while not (packet := await socket.receive_str()).startswith('42["session.ready"'):
        if packet.startswith("44"):
            code = json.loads(packet[2:])["data"]["code"]
            findings.fail("token", f"the server refuses it: {code}", "see its log for the reason")
            return None
    own = (socket.get_extra_info("sockname") or ("",))[0]
    return Connected(str(json.loads(packet[2:])[1]["user"]["id"]), device, str(own))


async def _look_at_address(
    findings: Findings, session: aiohttp.ClientSession, asked: Asked, connected: Connected
) -> None:
    if asked.key is None:
        findings.untried.append("the client's address: it needs api.key")
        return
    for url in filter(None, (asked.url, asked.direct)):
        for address in await _seen(session, url, asked.key, connected):
            _report_address(findings, asked, address, connected.own)
            return
    findings.untried.append("the client's address: /v1/users/ is not passed on to this server, with this api.key")


async def _seen(session: aiohttp.ClientSession, url: str, key: str, connected: Connected) -> Sequence[str]:
    """The address of the connection, as the server there has it; none where it does not know it."""
    user = quote(connected.user, safe="")
    try:
        answer = await ask(session, f"{url}/v1/users/{user}/connections", Authorization=f"Bearer {key}")
    except Unreachable:
        return []
    connections = answer.members.get("connections", [])
    return [str(one["remote_address"]) for one in connections if one["device"] == connected.device]


def _report_address(findings: Findings, asked: Asked, seen: str, own: str) -> None:
    if seen == FORGED and asked.is_trusted(own):
        findings.untried.append(
            f"the client's address: this machine ({own}) is one of trusted_proxies, and believed whatever it says: "
            "run doctor elsewhere"
        )
    elif seen == FORGED:
        findings.fail(
            _ADDRESS,
            "the server believes what a client says in X-Forwarded-For",
            "have the proxy set it, or append to it, and name nobody but proxies in trusted_proxies",
        )
    elif seen == own:
        findings.ok(_ADDRESS, f"it is seen as {seen}, as this machine has it")
    else:
        findings.warn(
            _ADDRESS,
            f"it is seen as {seen}, and this machine has {own or 'none'}",
            f"if {seen} is a proxy of yours, have it set X-Forwarded-For, and add it to trusted_proxies",
        )


async def look_at_stream(findings: Findings, session: aiohttp.ClientSession, asked: Asked) -> None:
    """Whether what is sent comes at once, where the stream is passed on."""
    if asked.token is None:
        return
    headers = {"Authorization": f"Bearer {asked.token}", "Accept": "text/event-stream"}
    try:
        async with session.get(f"{asked.url}/v1/stream", headers=headers, allow_redirects=False) as answer:
            kind = answer.content_type
            if answer.status == HTTPStatus.OK and kind == "text/event-stream":
                came = await answer.content.readany()
            elif kind == MEDIA_TYPE:
                findings.fail("stream", f"the server refuses it: {answer.status}", "see its log for the reason")
                return
            else:
                findings.untried.append(f"whether streams are held back: {asked.url}/v1/stream is not passed on")
                return
    except TimeoutError:
        said = f"nothing of it comes within {SECONDS:.0f} s"
        findings.fail("stream", said, f"have the proxy buffer nothing there: {OF_PROXIES}")
        return
    except (aiohttp.ClientError, OSError) as error:
        findings.fail("stream", f"it breaks ({type(error).__name__})", OF_PROXIES)
        return
    if came:
        findings.ok("stream", "what is sent comes at once")
    else:
        findings.fail("stream", "it ends before anything came", OF_PROXIES)
