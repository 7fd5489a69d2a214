"""At the owner: links that other nodes have set up, and the requests that come over them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol

from adapters.cluster.delivery import Deliveries, ForwardedDelivery
from adapters.cluster.frames import NONCE_BYTES, BrokenLink, FrameReader, FrameWriter, LinkKeys, link_keys, secret_name
from adapters.cluster.members import Members
from adapters.cluster.messages import (
    Answer,
    AnswerNumber,
    ClientLeft,
    End,
    NoAnswer,
    Release,
    Request,
    Spliced,
    Told,
    decode_to_owner,
)
from adapters.cluster.wire import Wire
from adapters.http.exchange import DateField, Exchange, Fields, MessageHandler, WayBack
from adapters.http.messages import Headers, RequestHead
from adapters.http.notices import Notice
from adapters.http.peer import VouchedPeer
from adapters.http.streams import Stream, StreamEvents
from domain.ports import Clock

_log = logging.getLogger("synkrone.cluster")

LINK_PATH: Final = "/cluster/link"
PROTOCOL: Final = "synkrone-link/1"
NODE_FIELD: Final = "Synkrone-Node"
NONCE_FIELD: Final = "Synkrone-Nonce"
SECRETS_FIELD: Final = "Synkrone-Secrets"

MANY_NUMBERS: Final = 64

SILENT_SECONDS: Final = 5.0
"""That a new link has for its first frame."""

IDLE_SECONDS: Final = 150.0
"""Behind the last frame: the other node closes a link before that, where it is there at all."""


class ForwardedRequest(MessageHandler, Protocol):
    def release(self) -> None:
        """If it waits for its answer, answer it, so that its client asks again, by another way."""


class Owner(Protocol):
    """Who serves requests that came to other nodes."""

    def open_forwarded(self, head: RequestHead, exchange: WayBack, peer: VouchedPeer) -> ForwardedRequest: ...


class LinkRoute:
    """The route of the internal listener on which other nodes set up links. ``max_request_bytes`` bounds what a
    request that is passed on may have, its head and its body together."""

    def __init__(self, members: Members, owner: Owner, clock: Clock, *, max_request_bytes: int) -> None:
        self.owner = owner
        self._members = members
        self.clock = clock
        self.date = DateField(clock)
        self._broken = Notice(_log, "what came as another node is none", clock, logging.WARNING)
        self.max_request_bytes = max_request_bytes
        self._links: set[ServedLink] = set()
        self.deliveries = Deliveries()

    @property
    def open_links(self) -> int:
        return len(self._links)

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler:
        nonce = _nonce(head.headers.get(NONCE_FIELD, ""))
        is_link = head.method == "GET" and head.headers.get("upgrade", "") == PROTOCOL and head.content_length == 0
        if not is_link or nonce is None or exchange.is_closed:
            exchange.respond(HTTPStatus.BAD_REQUEST, ())
        elif head.headers.get(NODE_FIELD, "") != self._members.boot:
            # The address of a node that is gone may be another's by now.
            exchange.respond(HTTPStatus.MISDIRECTED_REQUEST, ())
        else:
            self._set_up(exchange, nonce)
        return _NOTHING_TO_COME

    def _set_up(self, exchange: Exchange, nonce: bytes) -> None:
        own_nonce = secrets.token_bytes(NONCE_BYTES)
        keys = [link_keys(secret, self._members.boot, nonce, own_nonce) for secret in self._members.secrets]
        stream, early = exchange.hand_over()
        handshake = (
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {PROTOCOL}\r\nConnection: Upgrade\r\n"
            f"{NONCE_FIELD}: {base64.b64encode(own_nonce).decode()}\r\n"
            f"{SECRETS_FIELD}: {' '.join(map(secret_name, self._members.secrets))}\r\n\r\n"
        )
        stream.write(handshake.encode())
        link = ServedLink(self, stream, keys, exchange.head.remote_ip)
        self._links.add(link)
        link.open(early)

    def sweep(self) -> None:
        """Close links of nodes that have gone without a word."""
        due = self.clock.monotonic() - IDLE_SECONDS
        for link in list(self._links):
            if link.is_idle and link.heard_at <= due:
                link.close()

    # for the links

    def broken(self, address: str, error: BrokenLink) -> None:
        self._broken.give(address=address, reason=str(error))

    def ended(self, link: ServedLink) -> None:
        self._links.discard(link)

    async def close(self) -> None:
        """End every link, and what is spliced over it."""
        for link in list(self._links):
            link.close()
        # They are told in the next turn of the loop.
        await asyncio.sleep(0)


class ServedLink:
    """One link that another node has set up. It brings one request at a time, or the bytes of one connection."""

    def __init__(self, route: LinkRoute, stream: Stream, keys: list[LinkKeys], address: str) -> None:
        self.date = route.date
        self.heard_at = route.clock.monotonic()
        self._route = route
        self._address = address
        self._keys = keys
        self._reader = FrameReader([each.to_owner for each in keys], route.max_request_bytes)
        self.wire = Wire(stream, self, FrameWriter(keys[0].from_owner), self._reader)
        self._deliveries = route.deliveries
        self._exchange: LinkExchange | None = None
        self._handler: ForwardedRequest | None = None
        self._spliced: LinkStream | None = None
        # Of the answers that went over this link; those that are done with go when there are many.
        self._numbers: list[AnswerNumber] = []
        self._sort_numbers_at = MANY_NUMBERS
        self._is_silent: asyncio.TimerHandle | None = None

    def open(self, early: bytes) -> None:
        self._is_silent = asyncio.get_running_loop().call_later(SILENT_SECONDS, self.close)
        self.wire.open(early)

    @property
    def is_idle(self) -> bool:
        """It carries nothing."""
        return self._exchange is None and self._spliced is None

    def close(self) -> None:
        self.wire.close()

    # WireEvents

    def frame_received(self, content: bytes) -> None:
        self.heard_at = self._route.clock.monotonic()
        if self._is_silent is not None:
            self._is_silent.cancel()
            self._is_silent = None
            self.wire.use(FrameWriter(self._keys[self._reader.key_number].from_owner))
        message = decode_to_owner(content)
        if isinstance(message, bytes):
            if self._spliced is None:
                raise BrokenLink("bytes of a connection that is not spliced")
            self._spliced.received(message)
        elif isinstance(message, Told):
            self._deliveries.tell(message.seen)
        elif isinstance(message, Request):
            self._serve(message)
        elif isinstance(message, ClientLeft):
            if self._exchange is not None:
                self._exchange.client_left()
        elif isinstance(message, Release) and self._handler is not None:
            self._handler.release()

    def wire_drained(self) -> None:
        if self._spliced is not None:
            self._spliced.drained(self.wire.unsent)

    def wire_broken(self, error: BrokenLink) -> None:
        self._route.broken(self._address, error)

    def wire_closed(self) -> None:
        if self._is_silent is not None:
            self._is_silent.cancel()
        exchange, spliced = self._exchange, self._spliced
        self._route.ended(self)
        if exchange is not None:
            exchange.client_left()
        if spliced is not None:
            spliced.closed()
        self._deliveries.lose_sight(self._numbers)

    # requests

    def _serve(self, request: Request) -> None:
        if self._exchange is not None or self._spliced is not None:
            raise BrokenLink("a request before the end of another")
        for seen in request.seen:
            self._deliveries.tell(seen)
        head = RequestHead(
            request.method,
            request.target,
            request.version,
            Headers(request.fields),
            host=request.host,
            content_length=request.content_length,
            keep_alive=True,
        )
        head.remote_ip, head.protocol = request.remote_ip, request.protocol
        exchange = self._exchange = LinkExchange(self)
        handler = self._route.owner.open_forwarded(head, exchange, VouchedPeer(request.address, request.may_talk))
        if exchange.is_over:
            handler.on_connection_close()
        else:
            self._handler = handler
            if request.body:
                handler.data_received(request.body)
            handler.finish()

    # for the exchange

    def new_delivery(self) -> ForwardedDelivery:
        delivery = self._deliveries.new()
        if self.wire.is_closed:
            delivery.never_sent()
            return delivery
        if len(self._numbers) >= self._sort_numbers_at:
            self._numbers = [number for number in self._numbers if self._deliveries.is_open(number)]
            self._sort_numbers_at = 2 * len(self._numbers) + MANY_NUMBERS
        self._numbers.append(delivery.number)
        return delivery

    def answered(self) -> None:
        self._exchange = self._handler = None

    def splice(self) -> LinkStream:
        self.answered()
        self.wire.say(Spliced())
        self._spliced = LinkStream(self.wire)
        return self._spliced


class LinkExchange:
    """The way back of a request that came over a link. Its client is at the other node."""

    is_remote = True

    def __init__(self, link: ServedLink) -> None:
        self._link = link
        self._close_callback: Callable[[], None] | None = None
        self._delivery: ForwardedDelivery | None = None
        self._has_left = False
        self.is_over = False

    @property
    def is_closed(self) -> bool:
        return self.is_over or self._link.wire.is_closed

    @property
    def date_line(self) -> str:
        return self._link.date.line()

    def has_left(self) -> bool:
        return self._has_left or self._link.wire.is_closed

    def client_left(self) -> None:
        self._has_left = True
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            callback()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        self._close_callback = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        """The other node has kept to it."""

    def delivery(self) -> ForwardedDelivery:
        self._delivery = self._link.new_delivery()
        return self._delivery

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        if self.is_over:
            return
        self._finish()
        number = self._delivery.number if self._delivery is not None else None
        self._link.wire.say(Answer(status, list(fields), body, number))

    def close(self) -> None:
        if not self.is_over:
            self._finish()
            self._link.wire.say(NoAnswer())

    def hand_over(self) -> tuple[Stream, bytes]:
        self._finish()
        return self._link.splice(), b""

    def _finish(self) -> None:
        self.is_over = True
        self._close_callback = None
        self._link.answered()


class LinkStream:
    """The connection of a client that is at another node, as a stream: its bytes come and go over a link."""

    was_cut = was_cut_short = was_reset = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._events: StreamEvents | None = None
        self._lingering: asyncio.TimerHandle | None = None

    @property
    def is_closed(self) -> bool:
        return self._wire.is_closed

    def open(self, events: StreamEvents, early: bytes = b"") -> None:
        self._events = events
        self._wire.resume()
        if early:
            asyncio.get_running_loop().call_soon(events.stream_received, early)

    def pause(self) -> None:
        self._wire.pause()

    def resume(self) -> None:
        self._wire.resume()

    def write(self, data: bytes) -> int:
        return self._wire.pass_on(data)

    def unacknowledged_bytes(self) -> int:
        return 0

    def has_ended(self) -> bool:
        return self._wire.is_closed

    def linger(self, seconds: float) -> None:
        if self._lingering is None and not self.is_closed:
            self._wire.say(End())
            self._lingering = asyncio.get_running_loop().call_later(seconds, self.close)

    def close(self) -> None:
        self._wire.close()

    # for the link

    def received(self, octets: bytes) -> None:
        if self._events is not None and self._lingering is None:
            self._events.stream_received(octets)

    def drained(self, unsent: int) -> None:
        if self._events is not None and self._lingering is None:
            self._events.stream_drained(unsent)

    def closed(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        events, self._events = self._events, None
        if events is not None:
            events.stream_closed()


class _NothingToCome:
    """The handler of a request that was answered by its head."""

    def data_received(self, chunk: bytes) -> None:
        """Of no request that sets up a link."""

    def body_too_large(self) -> None:
        """The same."""

    def finish(self) -> None:
        """Nothing is left to do."""

    def on_connection_close(self) -> None:
        """Nothing is left to do."""


_NOTHING_TO_COME: Final = _NothingToCome()


def _nonce(text: str) -> bytes | None:
    try:
        nonce = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return nonce if len(nonce) == NONCE_BYTES else None
