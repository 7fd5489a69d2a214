"""What is fuzzed, each as a function of bytes that raises where a promise is broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from hypothesis import settings
from hypothesis.stateful import get_state_machine_test

from adapters.contract.answers import answer_object
from adapters.contract.commands import IDS_MAX, LIST_MAX, read_command
from adapters.contract.events import notification_json
from adapters.contract.json_text import InvalidJson
from adapters.contract.publications import parse_publication
from adapters.http.chunked_body import MAX_CHUNK_LINE, MAX_TRAILER_BYTES, ChunkedBody
from adapters.http.messages import BadRequest, parse_head
from adapters.transport.socketio.engineio.batch import Batch
from adapters.transport.socketio.engineio.errors import ProtocolError
from adapters.transport.socketio.engineio.packet import EncodedPacket, decode_payload
from adapters.transport.socketio.engineio.session import POLLING, WEBSOCKET, Session, SessionLimits
from adapters.transport.socketio.engineio.session_events import Closed, Received
from adapters.transport.socketio.engineio.websocket import FrameReader
from adapters.transport.socketio.engineio.websocket import Received as Frame
from adapters.transport.socketio.packet import StrictPacket, ack_packet
from domain.errors import ERRORS_MAX, InvalidArgument, InvalidPublication, PublicationTooLarge, UnknownEvent
from domain.model import AckId, Failed
from domain.policy import ConnectionPolicy
from domain.requests import ListInbox, Mark
from tests.fuzz.http_peer import HttpPeer
from tests.unit.adapters.engineio.test_session_on_the_wire import WireMachine

MAX_BYTES = 512
LIMITS = SessionLimits(queue_bytes=2000, cut_bytes=4000)
MOST_PACKETS = 200


class Broken(AssertionError):
    """A promise was broken."""


def frames(data: bytes) -> None:
    """Nothing but ProtocolError, in bounded memory, and the same in however many pieces it comes."""
    outcomes = []
    for size in (len(data) or 1, 1 + len(data) % 7):
        reader = FrameReader(MAX_BYTES)
        received: list[Frame] = []
        outcome = "read"
        try:
            for start in range(0, len(data), size):
                received += reader.feed(data[start : start + size])
                if len(reader._buffer) > MAX_BYTES + 14 + size or len(reader._message or b"") > MAX_BYTES:
                    raise Broken("the reader keeps too much")
        except ProtocolError as error:
            outcome = error.code
        outcomes.append((received, outcome))
    if outcomes[0] != outcomes[1]:
        raise Broken("pieces are read otherwise than the whole")


def payloads(data: bytes) -> None:
    try:
        packets = decode_payload(data)
    except ProtocolError:
        return
    if not packets:
        raise Broken("a payload of no packets")


def socketio_packets(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    if text:
        try:
            StrictPacket(encoded_packet=text)
        except ProtocolError:
            return


def sessions(data: bytes) -> None:
    """A program for one session: each byte is a step, and the bytes behind it what the client sends."""
    session = Session(
        "sid", transport=WEBSOCKET if data[:1] > b"\x7f" else POLLING, limits=LIMITS, nothing=Batch(), now=0
    )
    steps, now, sent, had, receipts, ended = iter(data[1:]), 0.0, 0, 0, 0, False
    for step in steps:
        text = bytes(next(steps, 0x34) for _ in range(step >> 5)).decode("latin-1")
        now += (step >> 4) / 10
        try:
            match step & 0x0F:
                case 0 | 1 | 2:
                    sent += 1
                    session.send(EncodedPacket.message(str(sent), sent))
                case 3:
                    session.poll(text, now, is_proxied=text[:1] == "p")
                case 4:
                    session.poll_aborted()
                case 5:
                    session.answer_lost()
                case 6:
                    session.post_began()
                case 7:
                    session.post(text.encode(), now)
                case 8:
                    session.begin_upgrade(now)
                case 9:
                    session.probe("2probe" if step & 0x10 else text, now)
                case 10:
                    session.probe("5", now)
                case 11:
                    session.receive(text, now)
                case 12:
                    session.tick(now)
                case 13:
                    session.lose_upgrade()
                case 14:
                    had = max([had, *_numbers(session.take_frames(now) or b"")])
                case 15:
                    session.close("closed", now, for_good=bool(step & 0x10), at_once=bool(step & 0x20))
        except ProtocolError:
            pass
        body = session.answer(now)
        if body is not None:
            if b"1" in body.split(b"\x1e") and body != b"1":
                raise Broken("CLOSE shares its answer")
            had = max([had, *(int(part[1:]) for part in body.split(b"\x1e") if part[:1] == b"4")])
        for event in session.take_events():
            if ended:
                raise Broken("something happens after the end")
            ended = isinstance(event, Closed)
            if isinstance(event, Received):
                if not isinstance(event.mark, int) or not receipts < event.mark <= had:
                    raise Broken("a receipt for what was not given out")
                receipts = event.mark
        if session.untaken_bytes != sum(packet.size for packet in session.pending):
            raise Broken("what waits is not what is accounted")
        session.check_size()
        if session.waiting_bytes > LIMITS.cut_bytes:
            raise Broken("more waits than may wait")


def _numbers(frames: bytes) -> list[int]:
    numbers = []
    while frames:
        length = frames[1]
        if frames[2:3] == b"4":
            numbers.append(int(frames[3 : 2 + length]))
        frames = frames[2 + length :]
    return numbers


EVENTS = (
    "notification.read",
    "notification.delete",
    "notification.read_all",
    "inbox.list",
    "inbox.count",
    "auth.refresh",
    "nonsense",
)
NAMES = ("ids", "up_to", "limit", "page", "state", "type", "token", "x", "", "\ud800", "y" * 5000)
TEXTS = ("n-1", "e:1", "1", "0", "read", "all", "x" * 128, "x" * 129, "", "\0", "\ud800", "\u0661", "\U0001f600")
PLAIN = (None, True, False, 1, 0, -1, 100, 101, 10**40, 1.0, 1e400)
MOST_ANSWERED_BYTES = 2000
TOKEN_BYTES = 16_384


def requests(data: bytes) -> None:
    """An event and its argument, each made of what the bytes stand for: it is read, or can be told what is wrong."""
    steps = iter(data)
    event = EVENTS[next(steps, 0) % len(EVENTS)]
    asked = read_command(event, _argument(steps, depth=4))
    try:
        command = ConnectionPolicy(token_bytes=TOKEN_BYTES).command(asked)
    except (UnknownEvent, InvalidArgument) as error:
        if ack_packet(AckId(1), answer_object(Failed(error.problem))).size > MOST_ANSWERED_BYTES:
            raise Broken("the answer grows with what was sent") from None
        return
    if event == "nonsense":
        raise Broken("an event that nobody knows is one")
    if isinstance(command, Mark) and not 0 < len(set(command.ids)) == len(command.ids) <= IDS_MAX:
        raise Broken("ids that are too many, or not distinct")
    if isinstance(command, ListInbox) and not 0 < command.query.limit <= LIST_MAX:
        raise Broken("a page without a bound")


def _argument(steps: Iterator[int], depth: int) -> object:
    """A value as JSON has them. Where the bytes end it is a short one."""
    kind, size = divmod(next(steps, 0), 64)
    if kind == 0 or not depth:
        return PLAIN[size % len(PLAIN)]
    if kind == 1:
        return TEXTS[size % len(TEXTS)]
    if kind == 2:
        # Every so often more than there may be.
        items = [_argument(steps, depth - 1) for _ in range(size % 4)]
        return items * (IDS_MAX if size > 60 else 1)
    return {NAMES[next(steps, 0) % len(NAMES)]: _argument(steps, depth - 1) for _ in range(size % 4)}


PUBLICATION_PARTS = (
    b'{"to":{"user":"a"},"type":"t"',
    b"{",
    b"}",
    b'"to":',
    b'{"user":"a"}',
    b'{"users":["a","b"]}',
    b'{"role":"r"}',
    b'{"everyone":true}',
    b'"type":"t"',
    b",",
    b'"title":',
    b'"body":',
    b'"data":',
    b'{"k":1,"k":2}',
    b'{"k":{"a":[1]}}',
    b'"id":',
    b'"n-1"',
    b'"expires_at":',
    b'"2030-01-31T12:00:00Z"',
    b'"2030-02-30T12:00:00Z"',
    b"null",
    b'"x"',
    b'"\\ud800"',
    b'"\\u003a:"',
    b"1e400",
    b"[",
    b"]",
    b'"unknown":1',
    b'"data":{}',
    b"\n",
    b'"a\\u0000b"',
    b'"' + b"y" * 200 + b'"',
)
_POLICY = ConnectionPolicy()
_NOW = datetime(2030, 1, 1, tzinfo=UTC)


def publications(data: bytes) -> None:
    """A body of parts that publications have, and of anything: it is read as it stands, or told to be bad in bounds."""
    body = b"".join(
        PUBLICATION_PARTS[byte - 128] if 128 <= byte < 128 + len(PUBLICATION_PARTS) else b"%c" % byte for byte in data
    )
    try:
        publication = parse_publication(body)
        _POLICY.check(publication)
    except (InvalidJson, InvalidPublication, PublicationTooLarge) as error:
        if len(error.errors) > ERRORS_MAX:
            raise Broken("more is said to be wrong than there is space for") from None
        return
    said = json.loads(body, object_pairs_hook=_once)
    told = json.loads(notification_json(_POLICY.draft(publication, "given", _NOW, None).notification))
    for name in ("type", "title", "body", "data"):
        if told[name] != said.get(name):
            raise Broken(f"recipients are told another {name}")
    if told["id"] != (said.get("id") or "given") or (told["expires_at"] is None) != (said.get("expires_at") is None):
        raise Broken("another id, or another end")


def _once(members: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(members)
    if len(values) < len(members):
        raise Broken("a member that is given twice is taken")
    return values


def conversations(data: bytes) -> None:
    """A session and a client that keeps to the protocol: the bytes choose what happens next, and when."""
    _story.hypothesis.fuzz_one_input(data)


HEAD_BYTES = 400
BODY_BYTES = 100
HTTP_PARTS = (
    b"GET / HTTP/1.1\r\nHost: h\r\n", b"POST /a?b HTTP/1.1\r\nHost: h\r\n", b"HEAD http://h/x HTTP/1.0\r\n", b"\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"hello",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"1;a=b\r\nx\r\n", b"ffff\r\n", b"\n", b"\r", b" ", b"\t",
    b":", b"GET ", b" HTTP/1.1\r\n", b" HTTP/1.2\r\n", b"Host: h\r\n", b"A: " + b"x" * 50 + b"\r\n", b"a:\r\n" * 40,
    b"x" * 120, b"OPTIONS * HTTP/1.1\r\n", b"0" * 30, b"10\r\n0123456789abcdef\r\n",
)  # fmt: skip


def http_heads(data: bytes) -> None:
    octets = _http_octets(data) + b"\r\n\r\n"
    try:
        head = parse_head(octets[: octets.index(b"\r\n\r\n") + 4])
    except BadRequest as error:
        if not 400 <= error.status <= 505:
            raise Broken("a refusal without a status") from None
        return
    if not (head.target.startswith("/") or head.target == "*") or "\r" in str(list(head.headers.get_all())):
        raise Broken("a head that is none")


def chunked_bodies(data: bytes) -> None:
    """Nothing but BadRequest, in bounded memory, and the same in however many pieces it comes."""
    octets = _http_octets(data)
    outcomes = []
    for size in (len(octets) or 1, 1 + len(octets) % 7, 1):
        body, content, outcome = ChunkedBody(), b"", "reads on"
        for start in range(0, len(octets), size):
            try:
                piece, rest = body.feed(octets[start : start + size])
            except BadRequest as error:
                outcome, content = f"refused {error.status}", b""
                break
            content += piece
            if len(body._pending) > max(MAX_CHUNK_LINE, MAX_TRAILER_BYTES) + 2:
                raise Broken("a body's reader keeps too much")
            if body.is_complete:
                outcome = f"read {(rest + octets[start + size :])!r}"
                break
        outcomes.append((content, outcome))
    if len(set(outcomes)) != 1:
        raise Broken("pieces are read otherwise than the whole")


def http_connections(data: bytes) -> None:
    """Each input ends in an answer, a close, or waiting for more; each request ends once; pieces are as the whole."""
    octets = _http_octets(data)
    outcomes = []
    for size in (len(octets) or 1, 1 + len(octets) % 7, 1):
        peer = HttpPeer(head_bytes=HEAD_BYTES, body_bytes=BODY_BYTES)
        for start in range(0, len(octets), size):
            peer.stream.feed(octets[start : start + size])
            if len(peer.connection._buffer) > HEAD_BYTES + size:
                raise Broken("a connection keeps too much")
        is_done = peer.stream.is_closed or peer.stream.is_lingering
        if not is_done and (peer.stream.has_unread or not peer.stream.is_reading):
            raise Broken("a connection waits for nothing")
        peer.stream.end()
        if peer.stream.is_lingering:
            peer.stream.close()
            peer.line.run()
        if not (peer.stream.is_closed and peer.has_ended):
            raise Broken("a connection stays")
        if any(told.endings != 1 for told in peer.requests):
            raise Broken("a request without its one end")
        answers = bytes(peer.stream.written).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        seen = [(told.head.method, told.head.target, told.body) for told in peer.requests if told.is_complete]
        outcomes.append((is_done, len(peer.requests), seen, answers))
    if outcomes[1:] != outcomes[:-1]:
        raise Broken("pieces are read otherwise than the whole")


def _http_octets(data: bytes) -> bytes:
    """Each byte stands for a part of a message, or for itself."""
    return b"".join(HTTP_PARTS[byte - 128] if 128 <= byte < 128 + len(HTTP_PARTS) else b"%c" % byte for byte in data)


_story: Any = get_state_machine_test(WireMachine, settings=settings(database=None))

TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "payloads": payloads,
    "socketio_packets": socketio_packets,
    "sessions": sessions,
    "requests": requests,
    "publications": publications,
    "conversations": conversations,
    "http_heads": http_heads,
    "chunked_bodies": chunked_bodies,
    "http_connections": http_connections,
}
