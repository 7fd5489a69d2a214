"""What only some transports can do, each as a suite of its own on top of the contract of all."""

from __future__ import annotations

import time

import pytest

from domain.errors import KeysUnavailable, RateLimited, ShuttingDown
from domain.model import AckId, Changed, ConnectionId, Counts, Failed, Position
from tests.contract.transport import CLOSED_WITHIN, TransportContract
from tests.contract.transport_harness import (
    AskingClient,
    AskingHarness,
    Gate,
    Harness,
    Request,
    ScriptedEvents,
    entry,
    eventually,
    received,
)
from tests.contract.transport_holding import ANN, BOB, refusal

COUNTED_ON_THE_WIRE = {"ok": True, "counts": {"unread": 1, "unseen": 2, "total": 3}, "as_of": "e:0"}


class AnyAuthContract(TransportContract):
    """For transports whose clients send a JSON value when they connect."""

    @pytest.mark.parametrize(
        "auth", [None, [], ["token"], "token", True, {}, {"token": None}, {"token": {"deep": [1, None]}, "x": "é"}]
    )
    async def test_what_the_client_sends_reaches_the_domain_whatever_it_is(
        self, harness: Harness, events: ScriptedEvents, auth: object
    ) -> None:
        client = await harness.connect(auth)
        event, _ = await client.next_event()
        assert event == "session.ready"
        (request,) = events.connect_requests
        # An empty value is none, to some protocols.
        assert request.auth == (auth or None) or request.auth == auth
        assert request.remote_address
        assert request.transport


class ReceiptContract(TransportContract):
    """For transports that have evidence of what a client got."""

    async def test_what_a_client_has_taken_is_received_as_far_as_it_has_taken_it(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        for offset in (1, 2, 3):
            harness.transport.broadcast(frozenset((ANN,)), entry(offset, ANN))
            assert await client.next_event() == received(offset)
            await events.until_received(connection, offset)

    async def test_what_is_replayed_is_received_as_what_is_live(self, harness: Harness, events: ScriptedEvents) -> None:
        client, connection = await self.held(harness, events)
        await harness.transport.replay(connection, [entry(1, ANN), entry(2, ANN)])
        for offset in (1, 2):
            assert await client.next_event() == received(offset)
        await events.until_received(connection, 2)

    async def test_nothing_is_received_by_a_client_that_takes_nothing(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        stopped, connection = await self.live(harness, events, "ann")
        client, other = await self.live(harness, events, "bob")
        stopped.stop_reading()
        for offset, room in ((1, ANN), (2, BOB)):
            harness.transport.broadcast(frozenset((room,)), entry(offset, room))
        assert await client.next_event() == received(2)
        await events.until_received(other, 2)
        assert connection not in events.receipts


class DelayedFaultContract(TransportContract):
    """For transports whose clients return by themselves: a fault must not make them return at once."""

    async def test_a_passing_fault_closes_after_the_delay_of_the_domain(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        events.delay = 0.5
        events.script("ann", error=KeysUnavailable())
        client = await harness.connect({"token": "ann"})
        await client.expect_closed(events.delay + CLOSED_WITHIN)
        assert time.monotonic() - events.raised_at >= events.delay


class RequestContract(TransportContract):
    """For transports over which a client can ask for something."""

    async def asking(
        self, harness: AskingHarness, events: ScriptedEvents, name: str = "ann"
    ) -> tuple[AskingClient, ConnectionId]:
        """A client that has taken its welcome and is live."""
        client = await harness.connect({"token": name})
        assert (await client.next_event())[0] == "session.ready"
        connection = events.connections[name]
        await eventually(lambda: events.count("live", connection) == 1)
        return client, connection

    @pytest.mark.parametrize(
        "argument", [{}, None, [], "x", 1.5, False, {"ids": ["a", "b"], "deep": [{"é": None}]}, {"_placeholder": 1}]
    )
    async def test_what_a_client_asks_for_reaches_the_domain_and_is_answered(
        self, harness: AskingHarness, events: ScriptedEvents, argument: object
    ) -> None:
        client, connection = await self.asking(harness, events)
        assert await client.request("inbox.count", argument) == COUNTED_ON_THE_WIRE
        (request,) = events.requests[connection]
        assert (request.event, request.argument) == ("inbox.count", argument)
        assert request.ack is not None

    async def test_every_answer_goes_to_its_own_request(self, harness: AskingHarness, events: ScriptedEvents) -> None:
        async def answer_with_the_number(connection: ConnectionId, ack: AckId | None) -> None:
            assert ack is not None
            number = len(events.requests[connection])
            harness.transport.answer(connection, ack, Changed(number, Counts(0, 0, 0), Position("e", number)))

        events.script("ann", on_request=answer_with_the_number)
        client, _ = await self.asking(harness, events)
        for number in (1, 2, 3):
            assert await client.request("notification.read", {"ids": ["a"]}) == {
                "ok": True,
                "changed": number,
                "counts": {"unread": 0, "unseen": 0, "total": 0},
                "as_of": f"e:{number}",
            }

    async def test_a_failure_is_an_answer_too(self, harness: AskingHarness, events: ScriptedEvents) -> None:
        async def fail(connection: ConnectionId, ack: AckId | None) -> None:
            assert ack is not None
            harness.transport.answer(connection, ack, Failed(RateLimited().problem))

        events.script("ann", on_request=fail)
        client, _ = await self.asking(harness, events)
        assert await client.request("no.such.event", {}) == {
            "ok": False,
            "error": {"code": "rate_limited", "title": RateLimited().title, "retryable": True},
        }

    async def test_who_wants_no_answer_gets_none(self, harness: AskingHarness, events: ScriptedEvents) -> None:
        client, connection = await self.asking(harness, events)
        await client.send("notification.seen", {"ids": ["a"]})
        await eventually(lambda: events.count("handled", connection) == 1)
        assert events.requests[connection] == [Request("notification.seen", {"ids": ["a"]}, None)]
        await self.expect_silence(harness, client, connection)

    async def test_nothing_is_asked_before_the_opening_is_over(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", in_opened=gate)
        client = await harness.connect({"token": "ann"})
        assert (await client.next_event())[0] == "session.ready"
        connection = events.connections["ann"]
        await gate.reached()
        await client.send("notification.seen", {"ids": ["a"]})
        # What came after it from another client has long been handled.
        other, _ = await self.asking(harness, events, "bob")
        await other.request("inbox.count", {})
        assert events.count("request", connection) == 0
        gate.open()
        await eventually(lambda: events.count("handled", connection) == 1)
        assert events.calls_for(connection) == ["connect", "opened", "live", "request", "handled"]

    async def test_one_request_is_handled_at_a_time_in_their_order(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        gate = Gate()

        async def wait(_connection: ConnectionId, _ack: AckId | None) -> None:
            await gate.wait()

        events.script("ann", on_request=wait)
        client, connection = await self.asking(harness, events)
        for number in (1, 2, 3):
            await client.send("notification.seen", {"ids": [str(number)]})
        await gate.reached()
        other, _ = await self.asking(harness, events, "bob")
        await other.request("inbox.count", {})
        assert events.count("request", connection) == 1
        gate.open()
        await eventually(lambda: events.count("handled", connection) == 3)
        assert events.calls_for(connection)[3:] == ["request", "handled"] * 3
        assert [request.argument for request in events.requests[connection]] == [
            {"ids": ["1"]},
            {"ids": ["2"]},
            {"ids": ["3"]},
        ]

    async def test_what_was_sent_before_an_answer_comes_before_it(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        answered = Gate()

        async def replay_and_answer(connection: ConnectionId, ack: AckId | None) -> None:
            assert ack is not None
            position = await harness.transport.pause(connection)
            harness.transport.broadcast(frozenset((ANN,)), entry(2, ANN))
            await harness.transport.replay(connection, [entry(2, ANN), entry(3, ANN)])
            harness.transport.answer(connection, ack, Changed(1, Counts(1, 2, 3), Position("e", 3)))
            await answered.wait()
            assert position == Position("e", 1)
            assert await harness.transport.resume(connection, Position("e", 3))

        events.script("ann", on_request=replay_and_answer)
        client, connection = await self.asking(harness, events)
        harness.transport.broadcast(frozenset((ANN,)), entry(1, ANN))
        answer = await client.request("notification.read", {"ids": ["a"]})
        assert isinstance(answer, dict)
        assert answer["as_of"] == "e:3"
        assert client.events_waiting() == 3
        answered.open()
        harness.transport.broadcast(frozenset((ANN,)), entry(4, ANN))
        await eventually(lambda: events.count("handled", connection) == 1)
        await self.expect_silence_after(harness, client, connection, 1, 2, 3, 4)

    @pytest.mark.parametrize("how", ["client leaves", "server closes", "server sends away"])
    async def test_what_was_asked_before_the_end_is_handled_after_it_in_order(
        self, harness: AskingHarness, events: ScriptedEvents, how: str
    ) -> None:
        gate = Gate()

        async def wait(_connection: ConnectionId, _ack: AckId | None) -> None:
            await gate.wait()

        events.script("ann", on_request=wait)
        client, connection = await self.asking(harness, events)
        for number in (1, 2, 3):
            await client.send("notification.seen", {"ids": [str(number)]})
        await gate.reached()
        other, _ = await self.asking(harness, events, "bob")
        # What came after them from another client has long been taken.
        await other.request("inbox.count", {})
        if how == "client leaves":
            await client.close()
        else:
            harness.transport.disconnect(connection, refusal(ShuttingDown(), reconnect=how == "server closes"))
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await eventually(lambda: events.count("handled", connection) == 3)
        asked = [request.argument for request in events.requests[connection]]
        assert asked == [{"ids": ["1"]}, {"ids": ["2"]}, {"ids": ["3"]}]

    async def test_a_client_that_leaves_is_not_answered_and_the_others_are(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        gate = Gate()

        async def answer_late(connection: ConnectionId, ack: AckId | None) -> None:
            await gate.wait()
            harness.transport.answer(connection, AckId(0), Failed(RateLimited().problem))

        events.script("ann", on_request=answer_late)
        client, connection = await self.asking(harness, events)
        await client.send("notification.seen", {"ids": ["a"]})
        await gate.reached()
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await eventually(lambda: events.count("handled", connection) == 1)
        other, _ = await self.asking(harness, events, "bob")
        assert await other.request("inbox.count", {}) == COUNTED_ON_THE_WIRE
        harness.transport.broadcast(frozenset((ANN, BOB)), entry(1, ANN, BOB))
        assert await other.next_event() == received(1)
