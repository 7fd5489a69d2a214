"""How nodes ask one another whether they reach the store: a question that only nodes can put, and an answer that only
the one can give who was asked."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp

from adapters.cluster.members import Member, Members
from adapters.http.exchange import Exchange
from adapters.http.messages import RequestHead

PATH: Final = "/cluster/contact"
HEADER: Final = "Synkrone-Contact"
TIMEOUT_SECONDS: Final = 2.0

_NONCE_BYTES: Final = 16
_ANSWER_BYTES: Final = 200
_FIELDS: Final = (("Cache-Control", "no-store"), ("Content-Type", "text/plain"))


def question(secret: bytes, boot: str, nonce: str) -> str:
    """What is put to the node of that boot, once."""
    return f"{nonce} {_code(secret, 'question', boot, nonce)}"


def answer(known: Sequence[bytes], boot: str, asked: str, seconds: float) -> str | None:
    """What that node says; None for what none who knows one of the secrets has asked."""
    nonce, _, code = asked.partition(" ")
    for secret in known:
        if hmac.compare_digest(code.encode(), _code(secret, "question", boot, nonce).encode()):
            said = f"{seconds:.3f}"
            return f"{said} {_code(secret, 'answer', boot, nonce, said)}"
    return None


def seconds_in(secret: bytes, boot: str, nonce: str, answered: str) -> float | None:
    """What was said; None for what the node of that boot has not said to this question."""
    said, _, code = answered.partition(" ")
    if not hmac.compare_digest(code.encode(), _code(secret, "answer", boot, nonce, said).encode()):
        return None
    return float(said)


def _code(secret: bytes, *parts: str) -> str:
    return hmac.digest(secret, "\n".join(("contact", *parts)).encode(errors="surrogatepass"), "sha256").hex()


class HttpContacts:
    """The Contacts of a node, over the internal listeners of the others."""

    async def ask(self, member: Member, secrets: Sequence[bytes]) -> float | None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await _ask(member, secrets[0])
        except (aiohttp.ClientError, OSError, ValueError):
            return None


async def _ask(member: Member, secret: bytes) -> float | None:
    nonce = secrets.token_hex(_NONCE_BYTES)
    headers = {HEADER: question(secret, member.boot, nonce)}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get(f"{member.address.rstrip('/')}{PATH}", headers=headers, allow_redirects=False) as response,
    ):
        if response.status != HTTPStatus.OK:
            return None
        return seconds_in(secret, member.boot, nonce, (await response.content.read(_ANSWER_BYTES)).decode())


class ContactRoute:
    """Answers them. ``silent_seconds`` says how long ago the store was last read."""

    def __init__(self, members: Members, silent_seconds: Callable[[], float]) -> None:
        self._members = members
        self._silent_seconds = silent_seconds

    def open(self, head: RequestHead, exchange: Exchange) -> ContactRequest:
        return ContactRequest(self, head, exchange)

    def answer_to(self, asked: str) -> str | None:
        return answer(self._members.secrets, self._members.boot, asked, self._silent_seconds())


@dataclass(slots=True)
class ContactRequest:
    """A body is dropped."""

    route: ContactRoute
    head: RequestHead
    exchange: Exchange

    def data_received(self, chunk: bytes) -> None:
        """Nothing is done with it."""

    def finish(self) -> None:
        said = self.route.answer_to(self.head.headers.get(HEADER, ""))
        if said is None:
            self.exchange.respond(HTTPStatus.FORBIDDEN, _FIELDS)
        else:
            self.exchange.respond(HTTPStatus.OK, _FIELDS, said.encode())

    def body_too_large(self) -> None:
        self.exchange.respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _FIELDS)

    def on_connection_close(self) -> None:
        """Nothing was begun."""
