"""What can be seen through an address that clients use, and whatever proxies stand behind it."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from entrypoints.doctor.asking import OF_PROXIES, SECONDS, Asked, Unreachable, ask
from entrypoints.doctor.clock import skew_of
from entrypoints.doctor.connections import look_at_stream, look_at_websocket
from entrypoints.doctor.findings import Findings
from entrypoints.doctor.here import report_clock

HANDSHAKE: Final = "/socket.io/?EIO=4&transport=polling"


async def look_through(asked: Asked) -> Findings:
    """Bounded in time by SECONDS for each of a handful of requests."""
    findings = Findings()
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        try:
            await _look_at_handshake(findings, session, asked)
        except Unreachable as error:
            findings.fail("reached", str(error), "see that the name, the port and the certificate are right")
            findings.untried.append(f"all else that is seen through {asked.url}")
            return findings
        await _look_at_readiness(findings, session, asked)
        await look_at_websocket(findings, session, asked)
        await look_at_stream(findings, session, asked)
    return findings


async def _look_at_handshake(findings: Findings, session: aiohttp.ClientSession, asked: Asked) -> None:
    """As browsers begin, from a page of the server's own origin, and from that of a given page. Raises Unreachable."""
    parts = urlsplit(asked.url)
    own = f"{parts.scheme}://{parts.netloc}"
    for origin in dict.fromkeys((own, asked.origin or own)):
        check = "origin" if origin != own else "scheme and host"
        began = time.time()
        answer = await ask(session, f"{asked.url}{HANDSHAKE}", Origin=origin)
        if origin == own:
            report_clock(findings, asked.url, skew_of(answer.headers.get("Date"), began, time.time()), asked.leeway)
        if answer.sends_on is not None:
            raise Unreachable(f"{asked.url} sends on to {answer.sends_on}: give that as --url")
        if answer.status == HTTPStatus.FORBIDDEN and answer.is_refusal:
            _report_refused(findings, origin, own)
        elif answer.status == HTTPStatus.SERVICE_UNAVAILABLE and answer.is_refusal:
            findings.fail(check, "the server takes nobody at the moment", "see /health/ready and its log")
        elif answer.status != HTTPStatus.OK or not answer.body.startswith(b"0{"):
            findings.fail(check, f"the handshake answers {answer.status}", f"pass /socket.io/ on: {OF_PROXIES}")
        elif answer.headers.get("Access-Control-Allow-Origin") != origin:
            findings.fail(
                check, f"{origin} is let in, and browsers are not told so", "have the proxy keep CORS headers"
            )
        else:
            findings.ok(check, f"pages of {origin} may connect")


def _report_refused(findings: Findings, origin: str, own: str) -> None:
    if origin != own:
        findings.fail("origin", f"pages of {origin} may not connect", "add it to cors_origins")
        return
    findings.fail(
        "scheme and host",
        f"the server does not know that it is {own}",
        "have the proxy pass on Host and X-Forwarded-Proto, and add its address to trusted_proxies",
    )


async def _look_at_readiness(findings: Findings, session: aiohttp.ClientSession, asked: Asked) -> None:
    try:
        answer = await ask(session, f"{asked.url}/health/ready")
    except Unreachable as error:
        findings.fail("ready", str(error), OF_PROXIES)
        return
    status, failures = answer.members.get("status"), answer.members.get("failures")
    if status == "ready":
        findings.ok("ready", "the server says so")
    elif isinstance(failures, dict):
        wrong = ", ".join(f"{name} ({code})" for name, code in failures.items())
        findings.fail("ready", f"the server is not: {wrong}", "see its log")
    else:
        findings.untried.append(f"whether the server is ready: {asked.url}/health/ready is not passed on to it")
