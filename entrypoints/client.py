"""A client for the terminal: the stock python-socketio one, which comes back with its last cursor."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeGuard
from urllib.parse import quote, urlencode

import aiohttp
import socketio
from yarl import URL

from adapters.contract.json_text import to_json
from adapters.http.unreachable import why_unverified
from entrypoints.unreachable import reason_of

CONNECT_TIMEOUT = 10.0
LEAVE_TIMEOUT = 2.0
FIRST_DELAY = 0.5
MAX_DELAY = 5.0
PUBLISH_TIMEOUT = 10.0

_DELIVERY = frozenset(("id", "outcome", "sentence", "connections"))
_SCHEDULED = frozenset(("id", "state", "sentence"))

ShowEvent = Callable[[str, tuple[Any, ...]], None]


class Refused(Exception):
    """The server does not want this client. The message is its answer."""


class Unverified(Exception):
    """The server's certificate shows nobody who it is. The message says why."""


class NotOurs(Exception):
    """Something else answers than the server of this program."""


async def listen(
    url: str, token: str, show: ShowEvent, *, notify: Callable[[str], None], cursor: str | None = None
) -> None:
    """Show every event of a user and return after each cut, missing nothing. Raises Refused, and Unverified.

    ``show`` gets an event's name and arguments; ``notify`` a line about the connection itself. ``cursor`` is the last
    one that was seen before, if any.
    """
    delay = FIRST_DELAY
    faults: list[aiohttp.ClientConnectorError] = []
    async with aiohttp.ClientSession(trace_configs=[_noting(faults)]) as session:
        while True:
            faults.clear()
            visit = _Visit(url, token, cursor, show)
            await visit.run(session, notify, faults)
            if unverified := [*filter(_is_unverified, faults)]:
                raise Unverified(why_unverified(unverified[0]))
            if visit.refusal is not None:
                raise Refused(visit.refusal)
            if visit.cursor != cursor:
                cursor, delay = visit.cursor, FIRST_DELAY
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 (jitter)
            delay = min(MAX_DELAY, delay * 2)
            notify("connecting again")


def _noting(faults: list[aiohttp.ClientConnectorError]) -> aiohttp.TraceConfig:
    """Keeps the exceptions that the library passes on as a text, or not at all."""

    async def note(_session: object, _context: object, seen: aiohttp.TraceRequestExceptionParams) -> None:
        if isinstance(seen.exception, aiohttp.ClientConnectorError):
            faults.append(seen.exception)

    config = aiohttp.TraceConfig()
    config.on_request_exception.append(note)
    return config


def _is_unverified(fault: aiohttp.ClientConnectorError) -> TypeGuard[aiohttp.ClientConnectorCertificateError]:
    return isinstance(fault, aiohttp.ClientConnectorCertificateError)


class _Visit:
    """One connection, from its beginning to its end. ``cursor`` is where the next one continues."""

    def __init__(self, url: str, token: str, cursor: str | None, show: ShowEvent) -> None:
        self.cursor = cursor
        self.refusal: str | None = None
        self._url = url
        self._auth = {"token": token} | ({"cursor": cursor} if cursor is not None else {})
        self._show = show
        self._ended = asyncio.Event()

    async def run(
        self,
        session: aiohttp.ClientSession,
        notify: Callable[[str], None],
        faults: Sequence[aiohttp.ClientConnectorError],
    ) -> None:
        """``faults`` are what the ``session`` meets; of certificates is said nothing here."""
        client = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=session)
        client.on("*", self._on_event)
        client.on("connect_error", self._on_connect_error)
        client.on("disconnect", self._on_disconnect)
        try:
            await client.connect(self._url, auth=self._auth, wait_timeout=CONNECT_TIMEOUT)
            # It waits by wait_for(), which before Python 3.12 loses a cancellation that comes as the wait is over.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            await self._ended.wait()
        except socketio.exceptions.ConnectionError as error:
            if self.refusal is None and not any(map(_is_unverified, faults)):
                notify(f"cannot connect: {reason_of(faults[-1] if faults else error)}")
        finally:
            await self._leave(client)

    async def _leave(self, client: socketio.AsyncClient) -> None:
        """In good order, as long as that takes LEAVE_TIMEOUT at most: the library waits for what the server says last,
        which may not come, and takes a cancellation for the end of a handler."""
        leaving = asyncio.create_task(client.disconnect())
        await asyncio.wait((leaving,), timeout=LEAVE_TIMEOUT)
        if leaving.done():
            leaving.result()
        else:
            leaving.cancel()

    async def _on_event(self, name: str, *arguments: Any) -> None:
        if arguments and isinstance(arguments[-1], str):
            self.cursor = arguments[-1]
        if name == "session.closing" and not arguments[0].get("reconnect", True):
            self.refusal = f"{arguments[0]['code']}: {arguments[0]['title']}"
        self._show(name, arguments)

    async def _on_connect_error(self, answer: Any) -> None:
        problem = answer.get("data") if isinstance(answer, dict) else None
        if isinstance(problem, dict):
            self.refusal = f"{problem.get('code')}: {problem.get('title')}"

    async def _on_disconnect(self, _reason: str) -> None:
        self._ended.set()


async def deliveries(url: str, key: str, user: str, query: Mapping[str, str]) -> dict[str, Any]:
    """What became of notifications for a user.

    Raises Refused, NotOurs, aiohttp.ClientError and TimeoutError.
    """
    # As it stands: of a path that is not, whoever is called . or .. would not be left.
    address = URL(f"{url}/v1/users/{quote(user, safe='')}/deliveries?{urlencode(query)}", encoded=True)
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PUBLISH_TIMEOUT)) as session,
        session.get(address, headers={"Authorization": f"Bearer {key}"}) as answer,
    ):
        octets = await answer.read()
    if answer.status != HTTPStatus.OK:
        raise Refused(octets.decode(errors="replace"))
    try:
        found: dict[str, Any] = json.loads(octets)
        scheduled = found.get("scheduled")
        is_ours = all(delivery.keys() >= _DELIVERY for delivery in found["deliveries"]) and "next" in found
        if is_ours and (scheduled is None or scheduled.keys() >= _SCHEDULED):
            return found
    except (ValueError, LookupError, TypeError, AttributeError):
        raise NotOurs from None
    raise NotOurs


async def publish(url: str, key: str, body: dict[str, Any]) -> tuple[int, str]:
    """Post one publication; the status and body of the answer. Raises aiohttp.ClientError and TimeoutError."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PUBLISH_TIMEOUT)) as session,
        session.post(
            f"{url}/v1/notifications",
            data=to_json(body),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        ) as answer,
    ):
        return answer.status, await answer.text()
