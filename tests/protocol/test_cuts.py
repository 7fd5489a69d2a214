"""Clients cut at every step of their exchange, byte by byte.

Nothing is lost while a session lives, nothing comes twice, nothing counts as received that was not, and nothing stays
behind.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from adapters.http.exchange import Exchange, Route
from adapters.http.listening import Listener
from adapters.http.peer import PeerPolicy
from adapters.system.clock import SystemClock
from adapters.transport.arrivals import Arrivals
from adapters.transport.socketio.engineio.served import ServedSession
from adapters.transport.socketio.transport import SocketIoLimits, SocketIoTransport
from domain.errors import UnknownEvent
from domain.model import (
    EVERYONE,
    AckId,
    ConnectReply,
    Entry,
    Failed,
    Json,
    Outgoing,
    Position,
    Reply,
)
from domain.ports import Outlet, Transport
from domain.requests import Asked, ConnectRequest
from tests.contract.transport_harness import reply
from tests.listening import Port
from tests.protocol.detour import detour, is_taken
from tests.protocol.scripted_peer import (
    PLACES_OF_GET,
    PLACES_OF_POST,
    Cut,
    Gone,
    Place,
    PollingScript,
    WebSocketScript,
    Wire,
)
from tests.serving import eventually

pytestmark = [pytest.mark.campaign, pytest.mark.check]
IS_FULL = os.environ.get("CAMPAIGN") == "full"
BOTH_WAYS = pytest.mark.parametrize("how", list(Cut))
ROOMS = frozenset((EVERYONE,))
LIMITS = SocketIoLimits(connect_timeout=1.0, upgrade_timeout=0.5, ping_interval=1.0, ping_timeout=1.0)
ALL_GONE_WITHIN = 6.0
ANSWER = Failed(UnknownEvent().problem)
LARGE = 6_000_000
"""Bytes, more than the kernel takes for a client that does not read."""


class Served:
    """The transport with a domain that lets everybody in, and notes up to where they are said to have received."""

    def __init__(self) -> None:
        self.transport = SocketIoTransport(clock=SystemClock(), peers=PeerPolicy(), arrivals=Arrivals(), limits=LIMITS)
        self.transport.bind(self)
        self.receipts: list[int] = []
        self.live = 0
        self.went_live = 0
        self.port = 0
        self.http: Listener
        self.close_links: Callable[[], None] = lambda: None
        self._offset = 0
        self._outlets: dict[Outlet, None] = {}

    async def connect(self, _by: Transport[Any, Any], _outlet: Outlet, _request: ConnectRequest) -> ConnectReply:
        return reply("ann", offset=self._offset)

    async def opened(self, outlet: Outlet) -> None:
        self._outlets[outlet] = None
        self.live += 1
        self.went_live += 1

    def requested(self, outlet: Outlet, ack: AckId | None, _asked: Asked) -> Coroutine[Any, Any, None] | None:
        if ack is not None:
            self._send([outlet], Reply(ack, ANSWER))
        return None

    def received(self, _outlet: Outlet, upto: Position) -> None:
        self.receipts.append(upto.offset)

    def disconnected(self, outlet: Outlet, _reason: str) -> None:
        self._outlets.pop(outlet, None)
        self.live -= 1

    def reconnect_delay(self) -> float:
        return 0.0

    def publish(self, size: int = 0) -> int:
        self._offset += 1
        payload = Json(b'{"n":%d,"x":"%s"}' % (self._offset, b"x" * size))
        self._send(list(self._outlets), Entry(Position("e", self._offset), ROOMS, "notification.new", payload))
        return self._offset

    def _send(self, outlets: Sequence[Any], event: Outgoing) -> None:
        self.transport.send(outlets, self.transport.encode(event))

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
        await eventually(lambda: not self.http.connections)

    async def all_gone(self) -> None:
        await eventually(lambda: not any(self.leftovers) and self.live == 0, within=ALL_GONE_WITHIN)

    async def stalled_poll(self, peer: PollingScript) -> Wire:
        """A poll of which the answer is too large for the kernel, and is not read."""
        wire = await Wire.open(self.port)
        await wire.send(peer.head_of(peer.poll_path()))
        await wire.read_until(1000)
        assert self.unwritten == 1
        return wire

    @property
    def unwritten(self) -> int:
        """Connections with something that the kernel has not taken."""
        return sum(connection.unsent_bytes > 0 for connection in self.http.connections)

    @property
    def leftovers(self) -> tuple[int, ...]:
        transport = self.transport
        return (
            len(transport._engine.sessions),
            transport.open_sockets,
            len(self._outlets),
            len(transport._connections),
            len(transport._waiting),
            len(transport._connections._working._running),
            len(transport._intake._handling._running),
            len(transport._connections.library.manager.rooms),
            len(transport._connections.library.environ),
        )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def sessions_in_memory() -> int:
    gc.collect()
    return sum(isinstance(thing, ServedSession) for thing in gc.get_objects())


def requests_in_memory() -> int:
    gc.collect()
    return sum(isinstance(thing, Exchange) for thing in gc.get_objects())


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        it = Served()
        routes: Mapping[str, Route] = it.transport.routes
        if is_taken():
            transport = it.transport
            max_body_bytes = LIMITS.message_bytes
            route = await stack.enter_async_context(
                detour(transport.sessions, transport, transport.name_sessions, max_body_bytes=max_body_bytes)
            )
            routes = dict.fromkeys(routes, route)
            it.close_links = route.links.close
        async with _served_at(it, routes):
            yield it


@asynccontextmanager
async def _served_at(it: Served, routes: Mapping[str, Route]) -> AsyncIterator[None]:
    port = Port(routes, request_timeout=1.0, keepalive_timeout=1.0)
    it.http, it.port = port.listener, port.number
    port.listener.start()
    before = descriptors()
    tasks = len(asyncio.all_tasks())
    sessions = sessions_in_memory()

    async def sweep() -> None:
        while True:
            await asyncio.sleep(it.transport.sweep_seconds)
            it.transport.sweep()
            port.listener.sweep()

    sweeping = asyncio.create_task(sweep())
    try:
        yield
        await it.all_gone()
        it.close_links()
        await eventually(lambda: descriptors() <= before, within=ALL_GONE_WITHIN)
        # One more is the one that sweeps.
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 1, within=ALL_GONE_WITHIN)
        await eventually(lambda: sessions_in_memory() <= sessions, within=ALL_GONE_WITHIN)
    finally:
        for wire in Wire.every:
            wire.cut(Cut.FIN)
        sweeping.cancel()
        await port.listener.close()
        await it.transport.close()


async def polling_live(it: Served, headers: str = "") -> PollingScript:
    peer = PollingScript(it.port, headers)
    before = it.went_live
    await peer.open()
    await peer.post("40{}")
    while not any(packet.startswith('42["session.ready"') for packet in peer.others):
        await peer.poll()
    await eventually(lambda: it.went_live > before)
    return peer


async def settled(peer: PollingScript, it: Served) -> None:
    """Have one entry come, so that the last answer is one that has arrived."""
    expected = [it.publish()]
    await poll_until(peer, it, expected, again=False)
    peer.entries.clear()


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
@pytest.mark.gen_test(timeout=120)
async def test_a_polling_client_cut_at_any_step_of_a_poll_gets_everything_once(how: Cut) -> None:
    """Entries come before the poll, in the moment of the cut, and once the server has noticed."""
    cuts = 0
    async with served() as it:
        for place, before, at_cut, with_another_t in product(PLACES_OF_GET, (0, 2), (False, True), (False, True)):
            if place > Place.SENT and not before:
                continue
            may_be_answered = place.is_sent and bool(before or at_cut)
            if with_another_t and may_be_answered and place is not Place.WHOLE:
                # Another `t` says that the answer came. Nobody who says so falsely can be helped.
                continue
            peer = await polling_live(it)
            expected = [it.publish() for _ in range(before)]
            was_read = await peer.poll(place, how)
            assert was_read == (place is Place.WHOLE)
            if at_cut:
                expected.append(it.publish())
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
async def test_a_polling_client_cut_again_and_again_in_one_session_gets_everything_once(how: Cut) -> None:
    cuts = 0
    async with served() as it:
        peer = await polling_live(it)
        expected: list[int] = []
        for place, repeats in product(PLACES_OF_GET[:-1], range(1, 4 if IS_FULL else 3)):
            expected.append(it.publish())
            for repeat in range(repeats):
                assert not await peer.poll(place, how, again=repeat > 0)
                expected.append(it.publish())
                cuts += 1
            await poll_until(peer, it, expected, again=True)
        await peer.post("1")
    print(f"polling: {cuts} cuts in one session, {how.value}")


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_a_polling_client_cut_at_any_step_before_it_is_connected_leaves_nothing(how: Cut) -> None:
    cuts = 0
    async with served() as it:
        for place in PLACES_OF_GET:
            await PollingScript(it.port).open(place, how)
            cuts += 1
        for place in PLACES_OF_POST:
            peer = PollingScript(it.port)
            await peer.open()
            await peer.post("40{}", place, how)
            it.publish()
            if place.is_sent:
                # Its CONNECT has arrived, whatever became of the answer.
                await peer.poll()
                assert peer.others[0].startswith("40{")
            cuts += 1
        for place in PLACES_OF_GET:
            peer = PollingScript(it.port)
            await peer.open()
            await peer.post("40{}")
            await peer.poll(place, how)
            cuts += 1
    print(f"polling: {cuts} cuts before it is connected, {how.value}")


@BOTH_WAYS
@pytest.mark.gen_test(timeout=60)
async def test_a_post_cut_at_any_step_counts_once_or_not_at_all(how: Cut) -> None:
    cuts = 0
    async with served() as it:
        for place in PLACES_OF_POST:
            peer = await polling_live(it)
            expected = [it.publish()]
            await peer.post('427["x"]', place, how)
            expected.append(it.publish())
            await it.has_noticed()
            if not place.is_sent:
                await peer.post('427["x"]')
            await peer.post('428["y"]')
            answers: list[str] = []
            while not answers or not answers[-1].startswith("438"):
                peer.others.clear()
                await peer.poll()
                answers += [packet for packet in peer.others if packet.startswith("43")]
            assert [answer[:3] for answer in answers] == ["437", "438"]
            assert peer.entries == expected
            await peer.post("1")
            cuts += 1
    print(f"polling: {cuts} cuts of a post, {how.value}")


@pytest.mark.gen_test(timeout=30)
async def test_an_answer_that_the_socket_did_not_take_whole_is_given_to_whatever_poll_comes_next() -> None:
    async with served() as it:
        peer = await polling_live(it)
        expected = [it.publish(LARGE)]
        assert not await peer.poll(Place.HALF_ANSWER_BODY, Cut.RESET, share=0.01)
        await it.until(peer, lambda session: session._polls.answer is not None and session._polls.answer.is_lost)
        await poll_until(peer, it, expected, again=False)
        await peer.post("1")


@pytest.mark.parametrize("has_polled_on", [False, True])
@BOTH_WAYS
@pytest.mark.gen_test(timeout=30)
async def test_an_answer_given_again_stays_given_when_the_first_connection_ends_late(
    how: Cut, *, has_polled_on: bool
) -> None:
    """A client that lost its network returns over another connection, long before the server knows of the loss."""
    async with served() as it:
        peer = await polling_live(it)
        expected = [it.publish(LARGE)]
        stalled = await it.stalled_poll(peer)
        assert await peer.poll(again=True)
        if has_polled_on:
            expected.append(it.publish())
            assert await peer.poll()
        stalled.cut(how)
        await eventually(lambda: it.unwritten == 0)
        expected.append(it.publish())
        await poll_until(peer, it, expected, again=False)
        await peer.post("1")


@pytest.mark.parametrize("is_answered_before", [False, True])
@pytest.mark.parametrize("moment", ["at_once", "before_the_next_poll", "behind_the_next_poll"])
@BOTH_WAYS
@pytest.mark.gen_test(timeout=30)
async def test_a_poll_that_is_overtaken_by_the_one_sent_again_takes_nothing_back(
    how: Cut, moment: str, *, is_answered_before: bool
) -> None:
    """A browser's, which ends the connection of the first one sooner or later."""
    async with served() as it:
        peer = await polling_live(it, "Sec-Fetch-Mode: cors\r\n")
        await settled(peer, it)
        expected = [it.publish(LARGE)]
        head = peer.head_of(peer.poll_path())
        late = await Wire.open(it.port)
        await late.send(head[:-1])
        if is_answered_before:
            assert await peer.poll(again=True)
            assert peer.entries == expected
        await late.send(head[-1:])
        if moment == "at_once":
            late.cut(how)
        else:
            await late.read_until(100)
        if not is_answered_before:
            assert await peer.poll(again=True)
        if moment == "before_the_next_poll":
            late.cut(how)
            await eventually(lambda: it.unwritten == 0)
        expected.append(it.publish())
        await poll_until(peer, it, expected, again=False)
        if moment == "behind_the_next_poll":
            late.cut(how)
            await eventually(lambda: it.unwritten == 0)
        expected.append(it.publish())
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
@pytest.mark.gen_test(timeout=120)
async def test_a_websocket_client_cut_at_any_step_counts_as_having_what_it_read_and_leaves_nothing(how: Cut) -> None:
    cuts = 0
    for steps in [[step] for step in WEBSOCKET_STEPS] if IS_FULL else [WEBSOCKET_STEPS[:7], WEBSOCKET_STEPS[7:]]:
        async with served() as it:
            for step in steps:
                peer = PollingScript(it.port)
                script = await websocket_up_to(it, step, peer)
                it.publish()
                script.wire.cut(how)
                it.publish()
                await eventually(lambda: it.live == 0, within=ALL_GONE_WITHIN)
                it.expect_receipts_within(peer.entries)
                assert peer.entries == sorted(set(peer.entries))
                it.receipts.clear()
                cuts += 1
    print(f"websocket: {cuts} cuts, {how.value}")


@BOTH_WAYS
@pytest.mark.gen_test(timeout=30)
async def test_a_handshake_cut_right_behind_it_is_nobody_s_error(how: Cut, caplog: pytest.LogCaptureFixture) -> None:
    async with served() as it:
        peer = await polling_live(it)
        for sid in (None, peer.sid):
            wire = await Wire.open(it.port)
            await wire.send(WebSocketScript.handshake(sid))
            wire.cut(how)
            await it.has_noticed()
        # It is as if it had never been, at once.
        script = await upgrade_up_to(it, "the upgrade", peer)
        await script.wire.send(script.frame("1"))
        await eventually(lambda: it.live == 0)
        script.wire.cut(how)
        errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        caplog.clear()
    assert errors == []


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


POLLS_MEANWHILE = ["none", "waits", "was cut in its answer", "is cut at once", "is cut in its noop"]


@BOTH_WAYS
@pytest.mark.gen_test(timeout=120)
async def test_an_upgrade_cut_at_any_step_falls_back_or_ends_and_loses_nothing(how: Cut) -> None:
    """Entries come at any earlier step, just before and just after the cut; the poll beside it fares well or ill."""
    cuts = 0
    async with served() as it:
        for step, poll in product(UPGRADE_STEPS, POLLS_MEANWHILE):
            taken = UPGRADE_STEPS[: UPGRADE_STEPS.index(step) + 1]
            for moment in ["", *taken] if IS_FULL and poll != "is cut in its noop" else [""]:
                if poll == "is cut in its noop" and "the answer" not in taken:
                    continue
                await cut_upgrade(it, how, step, poll, moment)
                cuts += 1
    print(f"upgrade: {cuts} cuts, {how.value}")


async def cut_upgrade(it: Served, how: Cut, step: str, poll: str, moment: str) -> None:
    peer = await polling_live(it)
    session = it.transport._engine.sessions[peer.sid]
    expected: list[int] = []
    waiting: asyncio.Task[bool] | None = None
    again = False
    if poll == "was cut in its answer":
        expected.append(it.publish())
        again = not await peer.poll(Place.HALF_ANSWER_BODY, how)
    elif poll == "is cut at once":
        again = not await peer.poll(Place.SENT, how)
    elif poll != "none":
        waiting = asyncio.create_task(peer.poll(Place.WHOLE if poll == "waits" else Place.HALF_ANSWER_HEAD, how))
        await it.until(peer, lambda session: session.is_polled)
    script = await upgrade_up_to(it, step, peer, expected, moment)
    expected.append(it.publish())
    script.wire.cut(how)
    expected.append(it.publish())
    if step == "the upgrade":
        await it.until(peer, lambda session: session.is_closed)
        if waiting is not None:
            await waiting
        it.expect_receipts_within(peer.entries)
        assert peer.entries == expected[: len(peer.entries)]
    else:
        if waiting is not None:
            again = not await waiting
        await poll_until(peer, it, expected, again=again)
        # What was given up does not stand in the way of the next.
        await eventually(lambda: not session.is_upgrading)
        script = await upgrade_up_to(it, "the upgrade", peer)
        expected.append(it.publish())
        while peer.entries[-1:] != expected[-1:]:
            peer.take(await script.next())
        assert peer.entries == expected
        await script.wire.send(script.frame("1"))
        await eventually(lambda: session.is_closed)
        script.wire.cut(how)
    it.receipts.clear()


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


@pytest.mark.gen_test(timeout=30)
async def test_an_answer_that_was_lost_before_an_upgrade_comes_over_the_websocket() -> None:
    async with served() as it:
        peer = await polling_live(it)
        expected = [it.publish(LARGE)]
        assert not await peer.poll(Place.HALF_ANSWER_BODY, Cut.RESET, share=0.01)
        await it.until(peer, lambda session: session._polls.answer is not None and session._polls.answer.is_lost)
        expected.append(it.publish())
        script = await upgrade_up_to(it, "the upgrade", peer)
        while peer.entries[-1:] != expected[-1:]:
            peer.take(await script.next())
        assert peer.entries == expected
        script.wire.cut(Cut.FIN)


@BOTH_WAYS
@pytest.mark.gen_test(timeout=30)
async def test_an_answer_that_turns_out_lost_after_an_upgrade_ends_the_session(how: Cut) -> None:
    """What comes behind it may be on its way already: the client comes back, and is served from what it has."""
    async with served() as it:
        peer = await polling_live(it)
        it.publish(LARGE)
        stalled = await it.stalled_poll(peer)
        script = await upgrade_up_to(it, "the upgrade", peer)
        stalled.cut(how)
        await eventually(lambda: it.live == 0)
        assert it.receipts == []
        script.wire.cut(how)


@pytest.mark.gen_test(timeout=30)
async def test_an_upgraded_session_keeps_nothing_of_the_requests_before() -> None:
    async with served() as it:
        before = requests_in_memory()
        peer = await polling_live(it)
        expected = [it.publish()]
        await poll_until(peer, it, expected, again=False)
        script = await upgrade_up_to(it, "the upgrade", peer)
        await it.has_noticed()
        await eventually(lambda: requests_in_memory() <= before)
        script.wire.cut(Cut.FIN)
