"""What a node takes from whoever connects to its internal listener as another node, and what it does not."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import socket
import sys
import termios
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.cluster import connecting, served
from adapters.cluster.frames import NONCE_BYTES, FrameReader, FrameWriter, LinkKeys, link_keys, secret_name
from adapters.cluster.messages import Answer, ClientLeft, Request, ToOwner, decode_from_owner, encode, encode_spliced
from adapters.cluster.served import LINK_PATH, NODE_FIELD, NONCE_FIELD, PROTOCOL, SECRETS_FIELD
from entrypoints.server import Server
from tests.accepting import Acceptor
from tests.engine_io import http_session
from tests.requirements import require
from tests.serving import eventually
from tests.two_nodes import PATH, FixedMembers, WanderingPeer, forwarding_of, member, node

pytestmark = pytest.mark.gen_test

SECRET = b"s" * 32
FORMER = b"f" * 32
NONCE = b"n" * NONCE_BYTES
_TCP_REPAIR = 19


class OtherNode:
    """Speaks to a node as another one does, or not quite."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._heard: deque[bytes] = deque()
        self.status = 0
        self.nonce = b""

    async def begin(self, boot: str, **changed: str) -> None:
        fields = {
            "Host": "x",
            "Connection": "Upgrade",
            "Upgrade": PROTOCOL,
            NODE_FIELD: boot,
            NONCE_FIELD: base64.b64encode(NONCE).decode(),
        }
        lines = [f"{name}: {value}\r\n" for name, value in (fields | changed).items()]
        self._writer.write(f"GET {LINK_PATH} HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        self.status = int(head.split()[1])
        for line in head.splitlines():
            name, _, value = line.partition(": ")
            if name == NONCE_FIELD:
                self.nonce = base64.b64decode(value)

    def keys(self, secret: bytes, boot: str) -> LinkKeys:
        self._keys = link_keys(secret, boot, NONCE, self.nonce)
        self._frames = FrameWriter(self._keys.to_owner)
        self._answers = FrameReader((self._keys.from_owner,), 1_000_000)
        return self._keys

    def say(self, message: ToOwner | bytes) -> bytes:
        content = encode_spliced(message) if isinstance(message, bytes) else encode(message)
        frame = self._frames.frame(content)
        self.send(frame)
        return frame

    def send(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def hear(self) -> Any:
        """The next message; None at the end."""
        while not self._heard:
            octets = await self._reader.read(65_536)
            if not octets:
                return None
            self._heard.extend(self._answers.feed(octets))
        return decode_from_owner(self._heard.popleft())

    def unacknowledged_bytes(self) -> int:
        octets = fcntl.ioctl(self._writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(octets, sys.byteorder)

    def vanish(self) -> None:
        """As with its machine: whoever is at the other end is told nothing."""
        try:
            self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except PermissionError:
            require(None, "a connection is let go of without a word by root only")
        self._writer.transport.abort()

    async def is_cut(self) -> bool:
        try:
            return not await self._reader.read(1)
        except ConnectionResetError:
            return True


@asynccontextmanager
async def other_node(server: Server) -> AsyncIterator[OtherNode]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.internal_url).port)
    try:
        async with asyncio.timeout(5):
            yield OtherNode(reader, writer)
    finally:
        writer.close()


def request(sid: str = "x", **changed: Any) -> Request:
    members: dict[str, Any] = {
        "method": "GET",
        "target": f"{PATH}&sid={sid}",
        "version": "HTTP/1.1",
        "fields": [("host", "x")],
        "host": "x",
        "content_length": 0,
        "remote_ip": "192.0.2.1",
        "protocol": "http",
        "address": "192.0.2.1",
        "may_talk": True,
        "body": b"",
        "seen": [],
    }
    return Request(**(members | changed))


async def test_a_node_that_knows_the_secret_is_answered_under_a_former_one_too() -> None:
    members = FixedMembers({}, [SECRET, FORMER])
    async with node(members) as server:
        for secret in (SECRET, FORMER):
            async with other_node(server) as other:
                await other.begin(members.boot)
                assert other.status == 101
                other.keys(secret, members.boot)
                other.say(request())
                answer = await other.hear()
                assert isinstance(answer, Answer)
                assert (answer.status, answer.body) == (400, b'{"code":1,"message":"Session ID unknown"}')


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({NODE_FIELD: "another0"}, 421),
        ({NODE_FIELD: ""}, 421),
        ({"Upgrade": "websocket"}, 400),
        ({"Upgrade": "synkrone-link/2"}, 400),
        ({NONCE_FIELD: ""}, 400),
        ({NONCE_FIELD: "AAAA"}, 400),
        ({NONCE_FIELD: "no base64"}, 400),
    ],
    ids=str,
)
async def test_what_is_no_link_is_refused(changed: dict[str, str], status: int) -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot, **changed)
        assert other.status == status
        assert forwarding_of(server).open_links == 0


async def test_who_does_not_know_the_secret_is_not_heard() -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot)
        other.keys(b"a guess" * 5, members.boot)
        other.say(request())
        assert await other.is_cut()
        assert forwarding_of(server).open_links == 0


async def test_what_was_heard_on_one_link_is_of_no_use_on_another() -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server:
        async with other_node(server) as other:
            await other.begin(members.boot)
            other.keys(SECRET, members.boot)
            heard = other.say(request())
            assert isinstance(await other.hear(), Answer)
            other.send(heard)
            assert await other.is_cut()
        async with other_node(server) as replaying:
            await replaying.begin(members.boot)
            replaying.send(heard)
            assert await replaying.is_cut()


async def test_what_makes_no_sense_ends_the_link() -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, http_session() as session:
        peer = await WanderingPeer.open(session, [server.url])
        # A poll that waits, and another before its answer; bytes of nothing; and what is no message at all.
        for said in ([request(peer.sid), request(peer.sid)], [b"bytes"]):
            async with other_node(server) as other:
                await other.begin(members.boot)
                other.keys(SECRET, members.boot)
                for message in said:
                    other.say(message)
                assert await other.is_cut()
        async with other_node(server) as other:
            await other.begin(members.boot)
            keys = other.keys(SECRET, members.boot)
            other.send(FrameWriter(keys.to_owner).frame(b"\x01nonsense"))
            assert await other.is_cut()


async def test_that_a_client_has_left_may_come_behind_its_answer() -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot)
        other.keys(SECRET, members.boot)
        for _ in range(2):
            other.say(request())
            assert isinstance(await other.hear(), Answer)
            other.say(ClientLeft())


async def test_a_frame_longer_than_any_request_ends_the_link_by_its_length() -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot)
        other.send((200_000).to_bytes(4, "big") + bytes(16))
        assert await other.is_cut()


async def test_a_link_that_stays_silent_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "SILENT_SECONDS", 0.1)
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot)
        assert await other.is_cut()
        await eventually(lambda: forwarding_of(server).open_links == 0)


async def test_a_node_that_is_gone_without_a_word_leaves_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "SILENCE_SECONDS", 1)
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot)
        other.keys(SECRET, members.boot)
        # Where something is still to be acknowledged, its end is noticed by that.
        other.say(ClientLeft())
        await eventually(lambda: other.unacknowledged_bytes() == 0)
        other.vanish()
        assert forwarding_of(server).open_links == 1
        await eventually(lambda: forwarding_of(server).open_links == 0, within=served.SILENT_SECONDS - 1)


async def test_a_node_that_does_not_answer_costs_a_client_two_seconds() -> None:
    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    mute = Acceptor(say_nothing)
    known: dict[str, Any] = {}
    gone = FixedMembers(known, [SECRET])
    async with http_session() as session, node(FixedMembers(known, [SECRET])) as server:
        async with node(gone) as owner:
            peer = await WanderingPeer.open(session, [owner.url])
        known[gone.boot] = member(gone.boot, f"http://127.0.0.1:{mute.port}")
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            session.get(server.url + peer.target),
            session.get(
                server.url + peer.target.replace("polling", "websocket"),
                headers={
                    "Connection": "Upgrade",
                    "Upgrade": "websocket",
                    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
                    "Sec-WebSocket-Version": "13",
                },
            ),
        )
        assert [answer.status for answer in answers] == [400, 400]
        assert 1.9 < asyncio.get_running_loop().time() - began < 4
        for answer in answers:
            answer.release()
    await mute.close()


@pytest.mark.parametrize(
    "answers",
    [
        (f"{NONCE_FIELD}: no nonce", f"{SECRETS_FIELD}: {secret_name(SECRET)}"),
        (f"{NONCE_FIELD}: {base64.b64encode(NONCE).decode()}", f"{SECRETS_FIELD}: {secret_name(FORMER)}"),
        (f"{NONCE_FIELD}: {base64.b64encode(NONCE).decode()}",),
    ],
    ids=["no nonce", "another secret", "no secret"],
)
async def test_what_is_no_node_at_the_address_of_one_costs_a_client_its_session_and_no_time(
    answers: tuple[str, ...],
) -> None:
    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = "".join(f"{line}\r\n" for line in ("HTTP/1.1 101 Switching Protocols", *answers))
        writer.write(f"{lines}\r\n".encode())
        await reader.read()

    stranger = Acceptor(pretend)
    known: dict[str, Any] = {}
    gone = FixedMembers(known, [SECRET])
    async with http_session() as session, node(FixedMembers(known, [SECRET])) as server:
        async with node(gone) as owner:
            peer = await WanderingPeer.open(session, [owner.url])
        known[gone.boot] = member(gone.boot, f"http://127.0.0.1:{stranger.port}")
        async with asyncio.timeout(5), session.get(server.url + peer.target) as answer:
            assert answer.status == 400
    await stranger.close()


async def test_links_of_a_node_that_is_gone_without_a_word_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    members = FixedMembers({}, [SECRET])
    async with node(members) as server, other_node(server) as other:
        await other.begin(members.boot)
        other.keys(SECRET, members.boot)
        other.say(request())
        assert isinstance(await other.hear(), Answer)
        forwarding_of(server).sweep()
        assert forwarding_of(server).open_links == 1
        monkeypatch.setattr(served, "IDLE_SECONDS", 0.0)
        forwarding_of(server).sweep()
        assert await other.is_cut()
        assert forwarding_of(server).open_links == 0
