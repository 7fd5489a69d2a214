"""Requests to the address that is looked through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from entrypoints.unreachable import reason_of

SECONDS: Final = 5.0
"""For an answer, and for what is to come at once."""

OF_PROXIES: Final = "docs/how-to/proxies.md has one that works"


class Unreachable(Exception):
    """There is no answer. The message is one line."""


@dataclass(frozen=True, slots=True)
class Asked:
    """``url`` without a slash at its end; ``origin`` is that of a page. With a ``token`` a user connects, and with an
    API ``key`` the server is asked how, at ``direct`` where it is not at the ``url``. ``is_trusted`` says whether what
    is said at an address of others is believed."""

    url: str
    leeway: timedelta
    is_trusted: Callable[[str], bool]
    origin: str | None = None
    token: str | None = None
    key: str | None = None
    direct: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_refusal(self) -> bool:
        """Whether it is Engine.IO that refuses so, and not something in between."""
        return {"code", "message"} <= self.members.keys()

    @property
    def members(self) -> Mapping[str, Any]:
        """Of a JSON object; none of anything else."""
        try:
            value = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def sends_on(self) -> str | None:
        """Where to, if it does."""
        is_redirect = HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST
        return self.headers.get("Location", "nowhere") if is_redirect else None


async def ask(session: aiohttp.ClientSession, url: str, **headers: str) -> Answer:
    """Raises Unreachable."""
    try:
        async with session.get(url, headers=headers, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers, await answer.read())
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(f"{url} cannot be reached: {reason_of(error)}") from None
