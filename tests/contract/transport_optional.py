"""What only some transports can do, each as a suite of its own on top of the contract of all."""

from __future__ import annotations

import time

import pytest

from adapters.contract.commands import read_command
from adapters.contract.connect_requests import connect_request
from domain.errors import KeysUnavailable, RateLimited, ShuttingDown
from domain.model import AckId, Action, Changed, ConnectionId, Counts, Failed, Position, Reply
from domain.requests import Mark
from tests.contract.transport import CLOSED_WITHIN, TransportContract
from tests.contract.transport_harness import (
    COUNTED,
    SLACK,
    AskingClient,
    AskingHarness,
    Gate,
    Harness,
    Request,
    ScriptedEvents,
    entry,
    eventually,
    received,
    refusal,
)

COUNTED_ON_THE_WIRE = {"ok": True, "counts": {"unread": 1, "unseen": 2, "total": 3}, "as_of": "e:0"}


class AnyAuthContract(TransportContract):
    """For transports whose clients send a JSON value when they connect."""

    @pytest.mark.parametrize(
        "auth",
        [
            *(None, [], ["token"], "token", True, {}, {"token": None}, {"token": {"deep": [1, None]}, "x": "é"}),
            {"token": "é", "device": "d", "cursor": "e:1", "pid": [1, None], "offset": {"é": 1.5}},
        ],
    )
    async def test_what_the_client_sends_reaches_the_domain_whatever_it_is(
        self, harness: Harness, events: ScriptedEvents, auth: object
    ) -> None:
        client = await harness.connect(auth)
        event, _ = await client.next_event()
        assert event == "session.ready"
        (request,) = events.connect_requests
        # An empty value is none, to some protocols.
        expected = [connect_request(sent, remote_address="", transport="").credentials for sent in (auth, auth or None)]
        assert request.credentials in expected
        assert request.remote_address
        assert request.transport


class ReceiptContract(TransportContract):
    """For transports that have evidence of what a client got."""

    async def test_what_a_client_has_taken_is_received_as_far_as_it_has_taken_it(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        client, connection = await self.live(harness, events)
        for offset in (1, 2, 3):
            events.send(entry(offset), connection)
            assert await client.next_event() == received(offset)
            await events.until_received(connection, offset)

    async def test_nothing_is_received_by_a_client_that_takes_nothing(
        self, harness: Harness, events: ScriptedEvents
    ) -> None:
        stopped, connection = await self.live(harness, events, "ann")
        client, other = await self.live(harness, events, "bob")
        stopped.stop_reading()
        for offset, to in ((1, connection), (2, other)):
            events.send(entry(offset), to)
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
        assert request.asked == read_command("inbox.count", argument)
        assert request.ack is not None

    async def test_every_answer_goes_to_its_own_request(self, harness: AskingHarness, events: ScriptedEvents) -> None:
        async def answer_with_the_number(connection: ConnectionId, ack: AckId | None) -> None:
            assert ack is not None
            number = len(events.requests[connection])
            events.send(Reply(ack, Changed(number, Counts(0, 0, 0), Position("e", number))), connection)

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
            events.send(Reply(ack, Failed(RateLimited().problem)), connection)

        events.script("ann", on_request=fail)
        client, _ = await self.asking(harness, events)
        assert await client.request("no.such.event", {}) == {
            "ok": False,
            "error": {"code": "rate_limited", "title": RateLimited().title, "retryable": True},
        }

    async def test_who_wants_no_answer_gets_none(self, harness: AskingHarness, events: ScriptedEvents) -> None:
        client, connection = await self.asking(harness, events)
        await client.send("notification.seen", {"ids": ["a"]})
        await eventually(lambda: connection in events.requests)
        assert events.requests[connection] == [Request(Mark(Action.SEEN, ("a",)), None)]
        await self.expect_silence(events, client, connection)

    async def test_what_is_asked_while_the_opening_lasts_reaches_the_domain_in_its_order(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        gate = Gate()
        events.script("ann", in_opened=gate)
        client = await harness.connect({"token": "ann"})
        assert (await client.next_event())[0] == "session.ready"
        connection = events.connections["ann"]
        await gate.reached()
        for number in range(3):
            await client.send("notification.seen", {"ids": [str(number)]})
        await eventually(lambda: events.count("request", connection) == 3)
        asked = [request.asked for request in events.requests[connection]]
        assert asked == [Mark(Action.SEEN, (str(number),)) for number in range(3)]
        gate.open()
        await eventually(lambda: events.count("live", connection) == 1)

    async def test_an_answer_lies_between_what_was_sent_before_and_after_it(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        async def answer_in_between(connection: ConnectionId, ack: AckId | None) -> None:
            assert ack is not None
            events.send(entry(1), connection)
            events.send(Reply(ack, COUNTED), connection)
            await answered.wait()
            events.send(entry(2), connection)

        answered = Gate()
        events.script("ann", on_request=answer_in_between)
        client, _ = await self.asking(harness, events)
        assert await client.request("inbox.count", {}) == COUNTED_ON_THE_WIRE
        assert client.events_waiting() == 1
        answered.open()
        assert [await client.next_event() for _ in range(2)] == [received(1), received(2)]

    @pytest.mark.parametrize("how", ["client leaves", "server closes", "server sends away"])
    async def test_what_is_being_done_for_a_client_is_done_though_it_ends(
        self, harness: AskingHarness, events: ScriptedEvents, how: str
    ) -> None:
        gate = Gate()

        async def wait(_connection: ConnectionId, _ack: AckId | None) -> None:
            await gate.wait()

        events.script("ann", on_request=wait)
        client, connection = await self.asking(harness, events)
        await client.send("notification.seen", {"ids": ["a"]})
        await gate.reached()
        if how == "client leaves":
            await client.close()
        else:
            events.disconnect(connection, refusal(ShuttingDown(), reconnect=how == "server closes"))
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await eventually(lambda: events.count("handled", connection) == 1)

    async def test_a_defect_in_what_is_done_for_a_client_ends_its_connection_so_that_it_returns(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        async def fail(_connection: ConnectionId, _ack: AckId | None) -> None:
            raise ZeroDivisionError

        events.script("ann", on_request=fail)
        client, connection = await self.asking(harness, events)
        await client.send("notification.seen", {"ids": ["a"]})
        assert (await client.expect_closed(CLOSED_WITHIN + SLACK)).reconnect
        assert events.reasons == {connection: "defect"}
        other, _ = await self.asking(harness, events, "bob")
        assert await other.request("inbox.count", {}) == COUNTED_ON_THE_WIRE

    async def test_a_client_that_leaves_is_not_answered_and_the_others_are(
        self, harness: AskingHarness, events: ScriptedEvents
    ) -> None:
        gate = Gate()

        async def answer_late(connection: ConnectionId, ack: AckId | None) -> None:
            await gate.wait()
            events.send(Reply(AckId(0), Failed(RateLimited().problem)), connection)

        events.script("ann", on_request=answer_late)
        client, connection = await self.asking(harness, events)
        await client.send("notification.seen", {"ids": ["a"]})
        await gate.reached()
        await client.close()
        await eventually(lambda: events.count("disconnected", connection) == 1)
        gate.open()
        await eventually(lambda: events.count("handled", connection) == 1)
        other, to_other = await self.asking(harness, events, "bob")
        assert await other.request("inbox.count", {}) == COUNTED_ON_THE_WIRE
        events.send(entry(1), connection, to_other)
        assert await other.next_event() == received(1)
