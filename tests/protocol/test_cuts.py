"""Clients cut at every step of their exchange, byte by byte.

Nothing is lost while a session lives, nothing comes twice, nothing counts as received that was not, and nothing stays
behind.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer
from tornado.routing import RuleRouter
from tornado.testing import bind_unused_port

from adapters.clock import SystemClock
from adapters.transport.socketio.engineio.server import ServedSession
from adapters.transport.socketio.peer import PeerPolicy
from adapters.transport.socketio.transport import SocketIoLimits, SocketIoTransport
from domain.model import EVERYONE, ConnectionId, Entry, Hello, Json, Position, Welcome
from tests.contract.transport_harness import welcome
from tests.protocol.scripted_peer import PLACES, At, Cut, Gone, PollingScript, WebSocketScript, Wire
from tests.serving import eventually

BOTH_WAYS = pytest.mark.parametrize("how", list(Cut))
ROOMS = frozenset((EVERYONE,))
LIMITS = SocketIoLimits(connect_timeout=1.0, upgrade_timeout=0.5, ping_interval=1.0, ping_timeout=1.0)
ALL_GONE_WITHIN = 6.0


class Served:
    """The transport with a domain that lets everybody in, and notes up to where they are said to have received."""

    def __init__(self) -> None:
        self.transport = SocketIoTransport(clock=SystemClock(), peers=PeerPolicy(), limits=LIMITS)
        self.transport.bind(self)
        self.receipts: list[int] = []
        self.live = 0
        self.went_live = 0
        self.port = 0
        self.http: HTTPServer
        self._offset = 0

    async def connect(self, connection: ConnectionId, _hello: Hello) -> Welcome:
        await self.transport.join(connection, ROOMS)
        return welcome("ann", offset=self._offset)

    async def opened(self, connection: ConnectionId) -> None:
        await self.transport.release(connection, Position("e", self._offset))
        self.live += 1
        self.went_live += 1

    def received(self, _connection: ConnectionId, upto: Position) -> None:
        self.receipts.append(upto.offset)

    def disconnected(self, _connection: ConnectionId, _reason: str) -> None:
        self.live -= 1

    def reconnect_delay(self) -> float:
        return 0.0

    def publish(self, size: int = 0) -> int:
        self._offset += 1
        payload = Json(b'{"n":%d,"x":"%s"}' % (self._offset, b"x" * size))
        entry = Entry(Position("e", self._offset), ROOMS, "notification.new", payload)
        self.transport.broadcast(ROOMS, entry)
        return self._offset

    async def until(self, peer: PollingScript, condition: Callable[[ServedSession], bool]) -> None:
        session = self.transport._engine.sessions.get(peer.sid)
        if session is not None:
            await eventually(lambda: condition(session), within=3)

    def expect_receipts_within(self, read: list[int]) -> None:
        assert max(self.receipts, default=0) <= max(read, default=0)

    async def has_noticed(self) -> None:
        """Until the server has seen what was sent, and that the peer has no connection any more."""
        wire = await Wire.open(self.port)
        await wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await wire.read_until(1)
        wire.cut(Cut.FIN)
        await eventually(lambda: not self.http._connections)

    async def all_gone(self) -> None:
        await eventually(lambda: not any(self.leftovers) and self.live == 0, within=ALL_GONE_WITHIN)

    @property
    def leftovers(self) -> tuple[int, ...]:
        transport = self.transport
        return (
            len(transport._engine.sessions),
            transport.open_sockets,
            len(transport._members),
            len(transport._connections),
            len(transport._waiting),
            len(transport._tasks),
            len(transport._library.manager.rooms),
            len(transport._library.environ),
        )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    it = Served()
    it.http = server = HTTPServer(RuleRouter([*it.transport.routes]), body_timeout=1, idle_connection_timeout=1)
    listening, it.port = bind_unused_port()
    server.add_socket(listening)
    before = descriptors()

    async def sweep() -> None:
        while True:
            await asyncio.sleep(it.transport.sweep_seconds)
            it.transport.sweep()

    sweeping = asyncio.create_task(sweep())
    try:
        yield it
        await it.all_gone()
        await eventually(lambda: descriptors() <= before, within=ALL_GONE_WITHIN)
        gc.collect()
    finally:
        sweeping.cancel()
        server.stop()
        await server.close_all_connections()
        await it.transport.close()


async def polling_live(it: Served) -> PollingScript:
    peer = PollingScript(it.port)
    before = it.went_live
    await peer.open()
    await peer.post("40{}")
    while not any(packet.startswith('42["session.ready"') for packet in peer.others):
        await peer.poll()
    await eventually(lambda: it.went_live > before)
    return peer


async def poll_until(peer: PollingScript, it: Served, expected: list[int], *, again: bool) -> None:
    """Poll on, answering pings, until the last that is expected has come."""
    while peer.entries[-1:] != expected[-1:]:
        peer.others.clear()
        await peer.poll(again=again)
        again = False
        it.expect_receipts_within(peer.entries)
        if "2" in peer.others:
            await peer.post("3")
    assert peer.entries == expected


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_a_polling_client_cut_at_any_step_of_a_poll_gets_everything_once(how: Cut) -> None:
    cuts = 0
    async with served() as it:
        for place, is_waiting, with_another_t in product(PLACES, (False, True), (False, True)):
            if is_waiting and place.head:
                continue
            was_answered = not is_waiting and place.request == 1.0
            if with_another_t and was_answered and not place.is_whole:
                # Another `t` says that the answer came. Nobody who says so falsely can be helped.
                continue
            peer = await polling_live(it)
            expected = [] if is_waiting else [it.publish(), it.publish()]
            was_read = await peer.poll(place, how)
            assert was_read == place.is_whole
            await it.has_noticed()
            expected.append(it.publish())
            it.expect_receipts_within(peer.entries)
            await poll_until(peer, it, expected, again=not was_read and not with_another_t)
            await peer.post("1")
            it.receipts.clear()
            cuts += 1
    print(f"polling: {cuts} cuts of a poll, {how.value}")


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_a_polling_client_cut_at_any_step_before_it_is_connected_leaves_nothing(how: Cut) -> None:
    cuts = 0
    async with served() as it:
        for place in PLACES:
            await PollingScript(it.port).open(place, how)
            peer = PollingScript(it.port)
            await peer.open()
            await peer.post("40{}", place, how)
            it.publish()
            if place.request == 1.0:
                # Its CONNECT has arrived, whatever became of the answer.
                await peer.poll()
                assert peer.others[0].startswith("40{")
            cuts += 2
    print(f"polling: {cuts} cuts before it is connected, {how.value}")


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_a_post_cut_at_any_step_counts_once_or_not_at_all(how: Cut) -> None:
    async with served() as it:
        for place in PLACES:
            peer = await polling_live(it)
            await peer.post('427["x"]', place, how)
            await it.has_noticed()
            if place.request < 1.0:
                await peer.post('427["x"]')
            await peer.post('428["y"]')
            answers: list[str] = []
            while not answers or not answers[-1].startswith("438"):
                peer.others.clear()
                await peer.poll()
                answers += [packet for packet in peer.others if packet.startswith("43")]
            assert [answer[:3] for answer in answers] == ["437", "438"]
            await peer.post("1")


@pytest.mark.gen_test(timeout=30)
async def test_an_answer_that_the_socket_did_not_take_whole_is_given_to_whatever_poll_comes_next() -> None:
    async with served() as it:
        peer = await polling_live(it)
        expected = [it.publish(6_000_000)]
        assert not await peer.poll(At(1.0, 1.0, 0.01), Cut.RESET)
        session = it.transport._engine.sessions[peer.sid]
        await eventually(lambda: session._answer is not None and session._answer.is_lost)
        await poll_until(peer, it, expected, again=False)
        await peer.post("1")


WEBSOCKET_STEPS = [
    "half the handshake",
    "handshake, unread",
    "half of 101",
    "101",
    "open",
    "half of connect",
    "connect, unread",
    "connected",
    "half of ready",
    "ready",
    "half of an entry",
    "an entry",
    "half of a pong",
    "a pong",
]


async def websocket_up_to(it: Served, step: str, peer: PollingScript) -> WebSocketScript:
    """Take the steps up to and with this one; what was read completely is noted in ``peer``."""
    script = WebSocketScript(await Wire.open(it.port))
    wire, handshake, connect = script.wire, script.handshake(), script.frame("40{}")

    async def take(*, halt_at: str, half: str = "") -> bool:
        if step == half:
            await script.half_of_next()
            return True
        peer.take(await script.next())
        return step == halt_at

    await wire.send(handshake[: len(handshake) // 2])
    if step == "half the handshake":
        return script
    await wire.send(handshake[len(handshake) // 2 :])
    if step == "handshake, unread":
        return script
    await wire.read_until(20)
    if step == "half of 101":
        return script
    await script.switched()
    if step == "101" or await take(halt_at="open"):
        return script
    await wire.send(connect[:4])
    if step == "half of connect":
        return script
    await wire.send(connect[4:])
    if (
        step == "connect, unread"
        or await take(halt_at="connected")
        or await take(halt_at="ready", half="half of ready")
    ):
        return script
    await eventually(lambda: it.live == 1)
    it.publish()
    if await take(halt_at="an entry", half="half of an entry"):
        return script
    while peer.others[-1] != "2":
        peer.take(await script.next())
    pong = script.frame("3")
    await wire.send(pong[:3])
    if step == "half of a pong":
        return script
    await wire.send(pong[3:])
    await eventually(lambda: bool(it.receipts))
    return script


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_a_websocket_client_cut_at_any_step_counts_as_having_what_it_read_and_leaves_nothing(how: Cut) -> None:
    for step in WEBSOCKET_STEPS:
        async with served() as it:
            peer = PollingScript(it.port)
            script = await websocket_up_to(it, step, peer)
            it.publish()
            script.wire.cut(how)
            it.publish()
            await it.all_gone()
            it.expect_receipts_within(peer.entries)
            assert peer.entries == sorted(set(peer.entries))
    print(f"websocket: {len(WEBSOCKET_STEPS)} cuts, {how.value}")


UPGRADE_STEPS = [
    "half the handshake",
    "handshake, unread",
    "half of 101",
    "101",
    "half of the probe",
    "the probe",
    "half of the answer",
    "the answer",
    "half of the upgrade",
    "the upgrade",
]


async def upgrade_up_to(
    it: Served, step: str, peer: PollingScript, published: list[int] | None = None, moment: str = ""
) -> WebSocketScript:
    """Take the steps up to and with this one; at the ``moment`` something is published and noted."""
    script = WebSocketScript(await Wire.open(it.port))
    handshake, probe, upgrade = script.handshake(peer.sid), script.frame("2probe"), script.frame("5")
    session = it.transport._engine.sessions[peer.sid]
    sent = {
        "half the handshake": handshake[:50],
        "handshake, unread": handshake[50:],
        "half of the probe": probe[:5],
        "the probe": probe[5:],
        "half of the upgrade": upgrade[:3],
        "the upgrade": upgrade[3:],
    }
    for taken in UPGRADE_STEPS:
        if taken == moment and published is not None:
            published.append(it.publish())
        if taken in sent:
            await script.wire.send(sent[taken])
        elif taken == "half of 101":
            await script.wire.read_until(20)
        elif taken == "101":
            await script.switched()
        elif taken == "half of the answer":
            await script.half_of_next()
        elif taken == "the answer":
            assert await script.next() == "3probe"
        if taken == step:
            break
    if step == "the upgrade":
        await eventually(lambda: session.transport == "websocket")
    return script


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_an_upgrade_cut_at_any_step_falls_back_or_ends_and_loses_nothing(how: Cut) -> None:
    cuts = 0
    async with served() as it:
        for step, poll_waits, answer_lost in product(UPGRADE_STEPS, (False, True), (False, True)):
            if poll_waits and answer_lost:
                continue
            peer = await polling_live(it)
            expected: list[int] = []
            waiting: asyncio.Task[bool] | None = None
            if poll_waits:
                waiting = asyncio.create_task(peer.poll())
                await it.until(peer, lambda session: session.is_polled)
            if answer_lost:
                expected.append(it.publish())
                assert not await peer.poll(At(1.0, 1.0, 0.5), how)
            script = await upgrade_up_to(it, step, peer)
            expected.append(it.publish())
            script.wire.cut(how)
            expected.append(it.publish())
            if step == "the upgrade":
                await it.until(peer, lambda session: session.is_closed)
                it.expect_receipts_within(peer.entries)
            else:
                if waiting is not None:
                    await waiting
                await poll_until(peer, it, expected, again=answer_lost)
                await peer.post("1")
            assert peer.entries == sorted(set(peer.entries))
            it.receipts.clear()
            cuts += 1
    print(f"upgrade: {cuts} cuts, {how.value}")


@pytest.mark.gen_test(timeout=30)
async def test_an_upgrade_that_completes_hands_over_without_loss_at_every_moment_of_publishing() -> None:
    async with served() as it:
        for moment in UPGRADE_STEPS:
            peer = await polling_live(it)
            expected: list[int] = []
            script = await upgrade_up_to(it, "the upgrade", peer, expected, moment)
            expected.append(it.publish())
            try:
                while peer.entries[-1:] != expected[-1:]:
                    packet = await script.next()
                    peer.take(packet)
                    if packet == "2":
                        await script.wire.send(script.frame("3"))
            except Gone:
                pytest.fail("the server closed the session")
            assert peer.entries == expected
            script.wire.cut(Cut.FIN)
