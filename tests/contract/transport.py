"""What every Transport must do, tried by a client at its other end."""

from __future__ import annotations

import time

import pytest

from domain.errors import (
    AtCapacity,
    ConnectionGone,
    InvalidArgument,
    InvalidToken,
    KeysUnavailable,
    ShuttingDown,
    StoreUnavailable,
    SynkroneError,
    TokenExpired,
    TooManyConnections,
)
from domain.model import EVERYONE, AckId, ConnectionId, Position, RecoveryReason, Room
from tests.contract.transport_harness import (
    COUNTED,
    COUNTS,
    EXPIRES_AT,
    Gate,
    Harness,
    ScriptedEvents,
    entry,
    eventually,
    received,
    reply,
)
from tests.contract.transport_holding import ANN, BOB, HoldingContract, refusal

CLOSED_WITHIN = 1.0 + 1.0
"""Seconds in which a transport closes a connection, and slack for a busy machine."""

FREELANCE = Room("role:freelance")


class TransportContract(HoldingContract):
    """All that every transport must do."""

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

    async def test_the_welcome_comes_before_everything_else(self, harness: Harness, events: ScriptedEvents) -> None:
        gate = Gate()
        events.script("ann", after_join=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        harness.transport.broadcast(frozenset((ANN,)), entry(1, ANN))
        harness.transport.announce_expiry(events.connections["ann"], EXPIRES_AT)
        harness.transport.announce_counts(events.connections["ann"], COUNTS)
        gate.open()
        await eventually(lambda: events.count("opened", events.connections["ann"]) == 1)
        harness.transport.broadcast(frozenset((ANN,)), entry(2, ANN))
        assert (await client.next_event())[0] == "session.ready"
        assert await client.next_event() == received(1)
        assert await client.next_event() == received(2)

    async def test_operators_learn_what_carries_a_connection(self, harness: Harness, events: ScriptedEvents) -> None:
        client = await self.welcomed(harness, "ann")
        (request,), connection = events.connect_requests, events.connections["ann"]
        assert harness.transport.technology(connection) == request.transport
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        assert harness.transport.technology(connection) == ""
        assert harness.transport.technology(ConnectionId("never")) == ""

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

    # counts

    async def test_a_client_is_told_what_is_in_its_inbox_held_or_not(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        held, connection = await self.held(harness, events, "ann")
        live, other = await self.live(harness, events, "bob")
        for client, told in ((held, connection), (live, other)):
            harness.transport.announce_counts(told, COUNTS)
            assert await client.next_event() == ("inbox.counts", ({"unread": 1, "unseen": 2, "total": 3},))

    # rooms

    async def test_an_entry_for_several_of_its_rooms_reaches_a_connection_once(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        rooms = frozenset((ANN, FREELANCE, EVERYONE))
        events.script("ann", rooms=rooms)
        client, connection = await self.live(harness, events)
        harness.transport.broadcast(rooms, entry(1, *rooms))
        harness.transport.broadcast(frozenset((EVERYONE,)), entry(2, EVERYONE))
        await self.expect_silence_after(harness, client, connection, 1, 2)

    async def test_an_entry_reaches_every_member_and_nobody_else(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        clients = []
        for name in ("ann", "bob", "eve"):
            events.script(name, rooms=frozenset((Room.of_user(name), EVERYONE)))
            clients.append(await self.live(harness, events, name))
        harness.transport.broadcast(frozenset((ANN, BOB)), entry(1, ANN, BOB))
        harness.transport.broadcast(frozenset((Room("user:nobody"),)), entry(2, Room("user:nobody")))
        harness.transport.broadcast(frozenset((BOB,)), entry(3, BOB))
        harness.transport.broadcast(frozenset((EVERYONE,)), entry(4, EVERYONE))
        for (client, connection), expected in zip(clients, ((1, 4), (1, 3, 4), (4,)), strict=True):
            await self.expect_silence_after(harness, client, connection, *expected)

    @pytest.mark.gen_test(timeout=60)
    async def test_a_broadcast_waits_for_no_client(self, harness: Harness, events: ScriptedEvents) -> None:
        for name in ("ann", "bob"):
            events.script(name, rooms=frozenset((EVERYONE,)))
        stopped, _ = await self.live(harness, events, "ann")
        client, _ = await self.live(harness, events, "bob")
        stopped.stop_reading()
        payload = '{"n":"' + "x" * 60_000 + '"}'
        for offset in range(1, 101):
            harness.transport.broadcast(frozenset((EVERYONE,)), entry(offset, EVERYONE, payload=payload))
            assert await client.next_event() == received(offset, {"n": "x" * 60_000})

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
        await self.expect_nobody(harness, events, "ann")

    @pytest.mark.parametrize("error", [KeysUnavailable(), StoreUnavailable(), AtCapacity(), ShuttingDown()], ids=repr)
    async def test_a_passing_fault_closes_without_a_word_so_that_the_client_returns(
        self, harness: Harness, events: ScriptedEvents, error: SynkroneError
    ) -> None:
        events.script("ann", error=error)
        client = await harness.connect({"token": "ann"})
        ending = await client.expect_closed(CLOSED_WITHIN)
        assert (ending.refusal, ending.reconnect) == (None, True)
        await self.expect_nobody(harness, events, "ann")

    async def expect_nobody(self, harness: Harness, events: ScriptedEvents, name: str) -> None:
        """The connection is in no room, was never opened, and cannot be brought back."""
        connection = events.connections[name]
        harness.transport.broadcast(frozenset((Room.of_user(name),)), entry(1, Room.of_user(name)))
        with pytest.raises(ConnectionGone):
            await harness.transport.join(connection, frozenset((Room.of_user(name),)))
        assert events.count("opened", connection) == 0
        assert events.count("disconnected", connection) <= 1

    # the end

    async def test_a_client_that_leaves_is_reported_once(self, harness: Harness, events: ScriptedEvents) -> None:
        client, connection = await self.live(harness, events)
        other, _ = await self.live(harness, events, "bob")
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        harness.transport.disconnect(connection, refusal(ShuttingDown(), reconnect=True))
        harness.transport.broadcast(frozenset((ANN, BOB)), entry(1, ANN, BOB))
        assert await other.next_event() == received(1)
        assert events.count("disconnected", connection) == 1

    async def test_nothing_is_done_for_a_connection_that_has_ended(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        with pytest.raises(ConnectionGone):
            await harness.transport.join(connection, frozenset((ANN,)))
        with pytest.raises(ConnectionGone):
            await harness.transport.replay(connection, [entry(1, ANN)])
        with pytest.raises(ConnectionGone):
            await harness.transport.pause(connection)
        assert await harness.transport.resume(connection, Position("e", 1))
        harness.transport.answer(connection, AckId(1), COUNTED)
        harness.transport.announce_expiry(connection, EXPIRES_AT)
        harness.transport.announce_counts(connection, COUNTS)
        harness.transport.disconnect(connection, refusal(TooManyConnections(), reconnect=False))

    async def test_a_connection_that_never_was_has_ended(self, harness: Harness, events: ScriptedEvents) -> None:
        never = ConnectionId("never")
        with pytest.raises(ConnectionGone):
            await harness.transport.join(never, frozenset((ANN,)))
        with pytest.raises(ConnectionGone):
            await harness.transport.replay(never, [entry(1, ANN)])
        with pytest.raises(ConnectionGone):
            await harness.transport.pause(never)
        assert await harness.transport.resume(never, Position("e", 1))
        harness.transport.answer(never, AckId(1), COUNTED)
        harness.transport.announce_counts(never, COUNTS)
        harness.transport.disconnect(never, refusal(ShuttingDown(), reconnect=True))

    async def test_a_client_that_leaves_before_it_joined_never_joins(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", before_join=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        connection = events.connections["ann"]
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await eventually(lambda: connection in events.gone_at_join)
        await self.expect_nobody(harness, events, "ann")

    async def test_a_client_that_leaves_after_it_joined_is_nowhere(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", after_join=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        connection = events.connections["ann"]
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        other, _ = await self.live(harness, events, "bob")
        await self.expect_nobody(harness, events, "ann")
        harness.transport.broadcast(frozenset((ANN, BOB)), entry(2, ANN, BOB))
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
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
        harness.transport.disconnect(connection, refusal(error, reconnect=reconnect))
        harness.transport.broadcast(frozenset((ANN,)), entry(51, ANN))
        harness.transport.announce_expiry(connection, EXPIRES_AT)
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
        harness.transport.disconnect(connection, refusal(error, reconnect=reconnect))
        with pytest.raises(ConnectionGone):
            await harness.transport.join(connection, frozenset((ANN,)))
        assert events.count("disconnected", connection) == 1

    async def test_what_was_held_is_not_sent_when_a_connection_is_closed(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.held(harness, events)
        harness.transport.broadcast(frozenset((ANN,)), entry(1, ANN))
        harness.transport.disconnect(connection, refusal(ShuttingDown(), reconnect=True))
        assert await harness.transport.resume(connection, Position("e", 0))
        assert (await client.next_event())[0] == "session.closing"
        await client.expect_closed(CLOSED_WITHIN)

    async def test_a_client_closed_before_its_welcome_is_never_opened(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", after_join=gate)
        client = await harness.connect({"token": "ann"})
        await gate.reached()
        connection = events.connections["ann"]
        harness.transport.disconnect(connection, refusal(ShuttingDown(), reconnect=True))
        ending = await client.expect_closed(CLOSED_WITHIN)
        assert (ending.refusal, ending.reconnect) == (None, True)
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await self.live(harness, events, "bob")
        assert events.count("opened", connection) == 0

    async def test_a_held_connection_is_told_of_its_expiry_too(self, harness: Harness, events: ScriptedEvents) -> None:
        client, connection = await self.held(harness, events)
        await self.expect_silence(harness, client, connection)
