"""What every Transport must do, tried by a client at its other end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from domain.errors import (
    AtCapacity,
    ConnectionGone,
    InvalidArgument,
    InvalidToken,
    KeysUnavailable,
    ShuttingDown,
    SlowConsumer,
    StoreUnavailable,
    SynkroneError,
    TokenExpired,
    TooManyConnections,
)
from domain.model import ConnectionId, CountsChanged, Expiring, RecoveryReason
from tests.contract.transport_harness import (
    COUNTS,
    EXPIRES_AT,
    Client,
    Gate,
    Harness,
    ScriptedEvents,
    entry,
    eventually,
    received,
    refusal,
    reply,
)

CLOSED_WITHIN = 1.0 + 4.0
"""Seconds in which a transport closes a connection, and slack for a busy machine."""


@pytest.mark.gen_test
class TransportContract:
    """All that every transport must do. Subclass it, and give it a ``harness``."""

    @pytest.fixture
    def harness(self, io_loop: IOLoop) -> Iterator[Harness]:
        """The transport under test, started on the loop, with QUEUE_BYTES for each client."""
        raise NotImplementedError

    @pytest.fixture
    def events(self, harness: Harness) -> ScriptedEvents:
        events = ScriptedEvents(harness.transport)
        harness.transport.bind(events)
        return events

    async def welcomed(self, harness: Harness, name: str) -> Client:
        """A client that has taken its welcome."""
        client = await harness.connect({"token": name})
        event, _ = await client.next_event()
        assert event == "session.ready"
        return client

    async def live(self, harness: Harness, events: ScriptedEvents, name: str = "ann") -> tuple[Client, ConnectionId]:
        client = await self.welcomed(harness, name)
        connection = events.connections[name]
        await eventually(lambda: events.count("live", connection) == 1)
        return client, connection

    async def expect_silence(self, events: ScriptedEvents, client: Client, connection: ConnectionId) -> None:
        """Nothing is on its way to the client: what is sent now is the next it gets."""
        events.send(Expiring(EXPIRES_AT), connection)
        assert await client.next_event() == ("session.expiring", ({"expires_at": "2030-01-31T13:00:00.000Z"},))

    # the welcome

    async def test_the_welcome_says_who_the_client_is_and_where_it_continues(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        events.script("ann", reply=reply("ann", offset=7, recovered=True))
        client = await harness.connect({"token": "ann"})
        assert await client.next_event() == (
            "session.ready",
            (
                {
                    "user": {"id": "ann", "role": "freelance"},
                    "recovered": True,
                    "reason": None,
                    "counts": {"unread": 1, "unseen": 2, "total": 3},
                    "expires_at": "2030-01-31T13:00:00.000Z",
                    "server_time": "2030-01-31T12:00:00.000Z",
                },
                "e:7",
            ),
        )

    @pytest.mark.parametrize("reason", list(RecoveryReason))
    async def test_the_welcome_says_why_a_client_starts_anew(
        self, harness: Harness, events: ScriptedEvents, reason: RecoveryReason
    ) -> None:
        events.script("ann", reply=reply("ann", reason=reason))
        client = await harness.connect({"token": "ann"})
        _, arguments = await client.next_event()
        assert isinstance(arguments[0], dict)
        assert (arguments[0]["recovered"], arguments[0]["reason"]) == (False, reason.value)

    async def test_nothing_is_sent_before_the_welcome(self, harness: Harness, events: ScriptedEvents) -> None:
        gate = Gate()
        events.script("ann", before_reply=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        gate.open()
        connection = events.connections["ann"]
        await eventually(lambda: events.count("opened", connection) == 1)
        events.send(entry(1), connection)
        assert (await client.next_event())[0] == "session.ready"
        assert await client.next_event() == received(1)

    async def test_operators_learn_what_carries_a_connection(self, harness: Harness, events: ScriptedEvents) -> None:
        client = await self.welcomed(harness, "ann")
        (request,), (outlet,) = events.connect_requests, events.outlets.values()
        assert outlet.technology == request.transport
        await client.close()

    async def test_two_clients_with_the_same_token_are_two_connections(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        await self.welcomed(harness, "ann")
        await self.welcomed(harness, "ann")
        assert len({connection for call, connection in events.calls if call == "connect"}) == 2

    async def test_opened_follows_the_welcome_and_keeps_no_message_waiting(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", in_opened=gate)
        client = await self.welcomed(harness, "ann")
        connection = events.connections["ann"]
        await gate.reached()
        await client.close()
        # With the opening still under way, the end of the client is noticed.
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await eventually(lambda: events.count("live", connection) == 1)
        assert [call for call, _ in events.calls] == ["connect", "opened", "disconnected", "live"]

    # what is sent

    async def test_a_client_is_told_what_is_in_its_inbox(self, harness: Harness, events: ScriptedEvents) -> None:
        client, connection = await self.live(harness, events)
        events.send(CountsChanged(COUNTS), connection)
        assert await client.next_event() == ("inbox.counts", ({"unread": 1, "unseen": 2, "total": 3},))

    async def test_an_entry_arrives_as_it_was_stored(self, harness: Harness, events: ScriptedEvents) -> None:
        client, connection = await self.live(harness, events)
        payload = '{"text":"é \\u2028 \\"quoted\\"","list":[1,2.5,true,null,{}],"long":"' + "y" * 20_000 + '"}'
        events.send(entry(1, payload=payload, event="notification.updated"), connection)
        value: object = {"text": 'é \u2028 "quoted"', "list": [1, 2.5, True, None, {}], "long": "y" * 20_000}
        assert await client.next_event() == ("notification.updated", (value, "e:1"))

    async def test_what_is_sent_arrives_in_its_order_at_whom_it_is_sent_to(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        (ann, to_ann), (bob, to_bob) = await self.live(harness, events, "ann"), await self.live(harness, events, "bob")
        for offset, to in ((1, (to_ann,)), (2, (to_ann, to_bob)), (3, (to_bob,)), (4, (to_bob, to_ann))):
            events.send(entry(offset), *to)
        for client, connection, offsets in ((ann, to_ann, (1, 2, 4)), (bob, to_bob, (2, 3, 4))):
            for offset in offsets:
                assert await client.next_event() == received(offset)
            await self.expect_silence(events, client, connection)

    async def test_a_frame_has_a_size_and_can_be_sent_more_than_once(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        frame = harness.transport.encode(entry(1))
        assert frame.size >= len('{"n":1}')
        for _ in range(2):
            harness.transport.send([events.outlets[connection]], frame)
            assert await client.next_event() == received(1)

    @pytest.mark.gen_test(timeout=60)
    async def test_sending_waits_for_no_client(self, harness: Harness, events: ScriptedEvents) -> None:
        stopped, to_stopped = await self.live(harness, events, "ann")
        client, connection = await self.live(harness, events, "bob")
        stopped.stop_reading()
        payload = '{"n":"' + "x" * 60_000 + '"}'
        for offset in range(1, 101):
            events.send(entry(offset, payload=payload), to_stopped, connection)
            assert await client.next_event() == received(offset, {"n": "x" * 60_000})

    # a replay

    @pytest.mark.gen_test(timeout=60)
    async def test_there_is_room_for_page_after_page_for_a_client_that_reads(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        payload = '{"n":"' + "x" * 10_000 + '"}'
        pages = [range(first, first + 9) for first in range(1, 200, 9)]

        async def replay() -> None:
            for page in pages:
                await events.has_room(connection)
                for offset in page:
                    events.send(entry(offset, payload=payload), connection)

        replaying = asyncio.create_task(replay())
        for page in pages:
            for offset in page:
                assert await client.next_event() == received(offset, {"n": "x" * 10_000})
        await replaying

    @pytest.mark.gen_test(timeout=60)
    async def test_there_is_none_for_a_client_that_takes_nothing(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        client.stop_reading()
        payload = '{"n":"' + "x" * 9_000 + '"}'
        pages: list[int] = []

        async def replay_for_ever() -> None:
            while True:
                await events.has_room(connection)
                pages.append(len(pages))
                for offset in range(10):
                    events.send(entry(offset, payload=payload), connection)

        with pytest.raises((SlowConsumer, ConnectionGone)):
            await replay_for_ever()
        assert pages

    # not let in

    @pytest.mark.parametrize(
        ("error", "problem"),
        [
            (
                InvalidToken("the log's business"),
                {"code": "invalid_token", "title": "The token is not valid.", "retryable": False},
            ),
            (
                TokenExpired("the log's business"),
                {"code": "token_expired", "title": "The token has expired.", "retryable": True},
            ),
            (
                InvalidArgument("auth.device", "is too long"),
                {
                    "code": "invalid_argument",
                    "title": "An argument is not valid.",
                    "detail": "auth.device: is too long",
                    "retryable": False,
                },
            ),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_a_refused_client_learns_the_problem_and_is_closed(
        self, harness: Harness, events: ScriptedEvents, error: SynkroneError, problem: object
    ) -> None:
        events.script("ann", error=error)
        client = await harness.connect({"token": "ann"})
        ending = await client.expect_closed(CLOSED_WITHIN)
        assert (ending.refusal, ending.reconnect) == (problem, False)
        await self.expect_nobody(events, "ann")

    @pytest.mark.parametrize("error", [KeysUnavailable(), StoreUnavailable(), AtCapacity(), ShuttingDown()], ids=repr)
    async def test_a_passing_fault_closes_without_a_word_so_that_the_client_returns(
        self, harness: Harness, events: ScriptedEvents, error: SynkroneError
    ) -> None:
        events.script("ann", error=error)
        client = await harness.connect({"token": "ann"})
        ending = await client.expect_closed(CLOSED_WITHIN)
        assert (ending.refusal, ending.reconnect) == (None, True)
        await self.expect_nobody(events, "ann")

    async def expect_nobody(self, events: ScriptedEvents, name: str) -> None:
        """The connection was never opened, and nothing is done for it."""
        connection = events.connections[name]
        events.send(entry(1), connection)
        with pytest.raises(ConnectionGone):
            await events.has_room(connection)
        assert events.count("opened", connection) == 0
        assert events.count("disconnected", connection) <= 1

    # the end

    async def test_a_client_that_leaves_is_reported_once_and_nothing_is_done_for_it(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        other, to_other = await self.live(harness, events, "bob")
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        events.disconnect(connection, refusal(TooManyConnections(), reconnect=False))
        events.send(entry(1), connection, to_other)
        events.send(CountsChanged(COUNTS), connection)
        with pytest.raises(ConnectionGone):
            await events.has_room(connection)
        assert await other.next_event() == received(1)
        assert events.count("disconnected", connection) == 1

    async def test_a_client_that_leaves_while_it_connects_is_nobody(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", before_reply=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        connection = events.connections["ann"]
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        other, to_other = await self.live(harness, events, "bob")
        await self.expect_nobody(events, "ann")
        events.send(entry(2), connection, to_other)
        assert await other.next_event() == received(2)

    @pytest.mark.parametrize(
        ("error", "reconnect"), [(ShuttingDown(), True), (TooManyConnections(), False)], ids=["returns", "stays away"]
    )
    async def test_a_client_is_told_why_it_is_closed_after_all_that_was_sent(
        self, harness: Harness, events: ScriptedEvents, error: SynkroneError, *, reconnect: bool
    ) -> None:
        client, connection = await self.live(harness, events)
        offsets = range(1, 51)
        for offset in offsets:
            events.send(entry(offset), connection)
        events.disconnect(connection, refusal(error, reconnect=reconnect))
        events.send(entry(51), connection)
        events.send(Expiring(EXPIRES_AT), connection)
        begun = time.monotonic()
        for offset in offsets:
            assert await client.next_event() == received(offset)
        assert await client.next_event() == (
            "session.closing",
            (
                {
                    "code": error.code,
                    "title": error.title,
                    "retryable": error.retryable,
                    "reconnect": reconnect,
                    "retry_after_ms": 1500,
                },
            ),
        )
        ending = await client.expect_closed(CLOSED_WITHIN - (time.monotonic() - begun))
        assert (ending.refusal, ending.reconnect) == (None, reconnect)
        await eventually(lambda: events.count("disconnected", connection) == 1)
        assert events.reasons[connection] == error.code
        events.disconnect(connection, refusal(error, reconnect=reconnect))
        with pytest.raises(ConnectionGone):
            await events.has_room(connection)
        assert events.count("disconnected", connection) == 1

    async def test_a_client_closed_before_its_welcome_is_never_opened(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", before_reply=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        connection = events.connections["ann"]
        events.disconnect(connection, refusal(ShuttingDown(), reconnect=True))
        ending = await client.expect_closed(CLOSED_WITHIN)
        assert (ending.refusal, ending.reconnect) == (None, True)
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await self.live(harness, events, "bob")
        assert events.count("opened", connection) == 0
