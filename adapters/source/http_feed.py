"""A backend's feed of Server-Sent Events, subscribed to over HTTP."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from adapters.contract.json_text import InvalidJson
from adapters.contract.publications import parse_publication
from adapters.http.unreachable import why_unreachable
from adapters.source.event_stream import Event, EventStreamParser
from adapters.system.configuration import ConfigurationError
from domain.errors import InvalidPublication
from domain.model import FieldError, Incoming, Publication
from domain.policy import is_identifier
from domain.ports import Clock, Randomness

BATCH_MAX_ITEMS = 100
BATCH_MAX_BYTES = 256 * 1024
RESUME_ID_MAX_LENGTH = 512
_READ_AT_A_TIME = 64 * 1024
_PARSED_AT_A_TIME = 16 * 1024
_MANY_FAILURES = 30

_log = logging.getLogger("synkrone.source")


class _AttemptFailed(Exception):
    """The feed answered, but not with events. ``lasting``: it asks not to be asked again soon."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


def reconnect_delay(
    failures: int, retry: int | None, *, low: float, high: float, uniform: Callable[[float, float], float]
) -> float:
    """Seconds to wait: doubled with each failure in a row, from ``low`` up to ``high``, and of that half at random.

    ``retry`` is the reconnection time the feed asked for, in milliseconds: it takes the place of ``low``, within the
    same bounds.
    """
    base = low if retry is None else min(max(retry / 1000, low), high)
    delay = min(high, base * 2.0 ** min(failures, _MANY_FAILURES))
    return uniform(delay / 2, delay)


class HttpFeed:
    """A NotificationSource that holds a subscription to ``url`` and renews it for ever.

    Each event's data is one publish body, and the event's own ``id`` field is the notification's id and the resume
    id. An event without one, with one that is not 1 to 128 of ``[A-Za-z0-9._:-]``, with a body that names another or
    is not valid, or of more than ``max_event_bytes``, is given as invalid.

    The resume id of an item is the stream's last event ID as of its event: that of an event with an id of its own,
    valid or not, so that the feed continues after an invalid one too. Where that is nothing a header can carry, the
    item has the resume id before it; at the very beginning of a feed an empty one, which stands for the beginning.

    ``connect_timeout`` (DNS, TCP and TLS), ``idle_timeout`` (no byte at all; comments count), ``backoff_min`` and
    ``backoff_max`` are in seconds. The constructor raises ConfigurationError for a bad ``url``, and OSError, of which
    ssl.SSLError is one, for a bad ``ca_file``.
    """

    def __init__(
        self,
        *,
        url: str,
        clock: Clock,
        randomness: Randomness,
        token: str | None = None,
        ca_file: Path | None = None,
        name: str = "feed",
        max_event_bytes: int = 1024 * 1024,
        connect_timeout: float = 10.0,
        idle_timeout: float = 90.0,
        backoff_min: float = 1.0,
        backoff_max: float = 60.0,
    ) -> None:
        _check_url(url)
        self._url = url
        self._clock = clock
        self._randomness = randomness
        self._token = token
        self._tls = ssl.create_default_context(cafile=ca_file) if ca_file is not None else True
        self._name = name
        self._max_event_bytes = max_event_bytes
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout, sock_read=idle_timeout)
        self._backoff_min = backoff_min
        self._backoff_max = backoff_max
        self._behind_since: float | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def lag_seconds(self) -> float:
        return self._clock.monotonic() - self._behind_since if self._behind_since is not None else 0.0

    async def stream(self, after: str | None) -> AsyncGenerator[Sequence[Incoming], None]:
        resume_id = after or ""
        retry: int | None = None
        failures = 0
        while True:
            started = self._clock.monotonic()
            self._behind_since = started if self._behind_since is None else self._behind_since
            delivered = False
            reason = "the feed ended"
            parser = EventStreamParser(max_event_bytes=self._max_event_bytes, last_id=resume_id)
            try:
                async with self._subscribe(resume_id) as body:
                    self._behind_since = None
                    while data := await body.read(_READ_AT_A_TIME):
                        for events in _batches(await _parse(parser, data)):
                            batch = list(self._items(events, resume_id))
                            delivered = delivered or any(item.publication is not None for item in batch)
                            self._behind_since = self._clock.monotonic()
                            yield batch
                            # Asked for more: these are stored.
                            self._behind_since = None
                            resume_id = batch[-1].resume_id
                            # A store may take a batch without a pause, and what has arrived may be many.
                            await asyncio.sleep(0)
            except _AttemptFailed as failed:
                reason = str(failed)
                failures = _MANY_FAILURES if failed.lasting else failures
            except (aiohttp.ClientError, OSError) as error:
                reason = _describe(error)
            if delivered or self._clock.monotonic() - started >= self._backoff_max:
                failures = 0
            retry = parser.retry if parser.retry is not None else retry
            delay = reconnect_delay(
                failures, retry, low=self._backoff_min, high=self._backoff_max, uniform=self._randomness.uniform
            )
            failures += 1
            _log.warning("source %s: %s; next attempt in %.1f s", self._name, reason, delay)
            await asyncio.sleep(delay)

    @asynccontextmanager
    async def _subscribe(self, resume_id: str) -> AsyncIterator[aiohttp.StreamReader]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if resume_id:
            headers["Last-Event-ID"] = resume_id
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                auto_decompress=False,
            ) as session,
            # A redirect would carry the token to wherever it leads.
            session.get(self._url, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _AttemptFailed(f"status {response.status}", lasting=response.status == 204)
            if response.content_type != "text/event-stream":
                raise _AttemptFailed("the content type is not text/event-stream")
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _AttemptFailed("the content is encoded, which was not asked for")
            yield response.content

    def _items(self, events: Sequence[Event], resume_id: str) -> Iterator[Incoming]:
        for event in events:
            resume_id = event.last_id if _is_resumable(event.last_id) else resume_id
            try:
                yield Incoming(resume_id, self._publication(event))
            except InvalidPublication as error:
                yield Incoming(resume_id, None, error.errors)
            except InvalidJson as error:
                yield Incoming(resume_id, None, (FieldError("data", str(error)),))

    def _publication(self, event: Event) -> Publication:
        if event.own_id is None:
            raise InvalidPublication([FieldError("id", "the event has no id field of its own")])
        if not is_identifier(event.own_id):
            raise InvalidPublication([FieldError("id", "must be 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':', '-'")])
        if event.too_large:
            raise InvalidPublication([FieldError("data", f"the event has more than {self._max_event_bytes} bytes")])
        publication = parse_publication(event.data.encode())
        if publication.id not in (None, event.own_id):
            raise InvalidPublication([FieldError("id", "is not the id field of the event")])
        return replace(publication, id=event.own_id)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError("url", "must be the http(s):// address of a feed")
    if "@" in parts.netloc:
        # An address is shown in logs, a token is not.
        raise ConfigurationError("url", "must hold no credentials: they belong in source.token")


def _is_resumable(last_id: str) -> bool:
    """Whether an id comes back to the feed as it was when it is sent in a header."""
    fits = 0 < len(last_id) <= RESUME_ID_MAX_LENGTH
    return fits and last_id.isascii() and last_id.isprintable() and last_id == last_id.strip()


async def _parse(parser: EventStreamParser, data: bytes) -> list[Event]:
    """All events of the bytes; others get their turn in between."""
    events = parser.feed(data[:_PARSED_AT_A_TIME])
    for start in range(_PARSED_AT_A_TIME, len(data), _PARSED_AT_A_TIME):
        await asyncio.sleep(0)
        events += parser.feed(data[start : start + _PARSED_AT_A_TIME])
    return events


def _batches(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    batch: list[Event] = []
    size = 0
    for event in events:
        size += len(event.data)
        if batch and (len(batch) == BATCH_MAX_ITEMS or size > BATCH_MAX_BYTES):
            yield batch
            batch, size = [], len(event.data)
        batch.append(event)
    if batch:
        yield batch


def _describe(error: aiohttp.ClientError | OSError) -> str:
    """What happened, without the words of an error that may quote the URL or what was received."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {why_unreachable(error)}"
    if isinstance(error, TimeoutError):
        return "timed out"
    return type(error).__name__
