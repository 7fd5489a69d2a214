"""Fetching a JSON document from a key server: https, bounded in time and size, never redirected."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp


class FetchFailed(Exception):
    """A key server did not give what was asked for. The text says why, and holds nothing of its answer."""

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        """``absent``: the server answered that there is no such document."""
        super().__init__(reason)
        self.absent = absent


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = _host(url)
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_secure(url: str) -> bool:
    """Whether keys may be fetched from there: https, or http from this machine; no credentials, no fragment."""
    host = _host(url)
    if host is None:
        return False
    parts = urlsplit(url)
    plain = not parts.username and not parts.password and not parts.fragment and url.isascii() and url.isprintable()
    return plain and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)))


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        # Only reading the port tells whether it is a number.
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts.hostname


@dataclass(frozen=True, slots=True)
class Fetcher:
    """``timeout`` is for one whole document."""

    timeout: timedelta = timedelta(seconds=5)
    max_bytes: int = 1_048_576

    async def get(self, url: str) -> bytes:
        """The body of a 200 answer. Raises FetchFailed."""
        if not is_secure(url):
            raise FetchFailed("the URL is neither https nor of this machine")
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                return await self._get(url)
        except TimeoutError:
            raise FetchFailed(f"no answer within {self.timeout.total_seconds():g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise FetchFailed(f"the connection failed ({type(error).__name__})") from None

    async def get_object(self, url: str) -> dict[str, object]:
        """The JSON object in the body of a 200 answer. Raises FetchFailed."""
        try:
            value = json.loads((await self.get(url)).decode())
        except (ValueError, RecursionError):
            raise FetchFailed("the answer is not JSON in UTF-8") from None
        if not isinstance(value, dict):
            raise FetchFailed("the answer is not a JSON object")
        return value

    async def _get(self, url: str) -> bytes:
        # A compressed answer could grow past any bound while it is read.
        headers = {"Accept": "application/json, application/jwk-set+json", "Accept-Encoding": "identity"}
        async with (
            aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK:
                absent = response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
                raise FetchFailed(f"the answer has status {response.status}", absent=absent)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self.max_bytes:
                    raise FetchFailed(f"the answer is larger than {self.max_bytes} bytes")
            return bytes(body)
