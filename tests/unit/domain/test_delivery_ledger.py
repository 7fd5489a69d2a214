"""What the ledger says of clients that come and go, beside what these got."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from adapters.store.memory import MemoryStore
from adapters.transport.memory.client import Event, MemoryClient
from domain.errors import ConnectionGone, StoreUnavailable
from domain.model import (
    Audience,
    AwaitedReceipt,
    ConnectionId,
    DeliveriesQuery,
    DeliveryReport,
    Notes,
    Outcome,
    UserId,
)
from domain.policy import ConnectionPolicy
from tests.doubles import START
from tests.unit.domain.world import World, cursor, identity, ids, publication, run

IS_FULL = os.environ.get("CAMPAIGN") == "full"
STORIES = 200 if IS_FULL else 8
STEPS = 400


async def reports(world: World, user: str = "ann") -> dict[str, DeliveryReport]:
    page = await world.ledger.deliveries_of(UserId(user), DeliveriesQuery(since=START, limit=1000))
    assert page.next is None
    return {report.notification.id: report for report in page.reports}


async def outcomes(world: World, user: str = "ann") -> dict[str, Outcome]:
    return {id_: report.outcome for id_, report in (await reports(world, user)).items()}


async def take_all(client: MemoryClient) -> None:
    while client.events:
        await client.next_event()


def test_live_then_confirmed_then_waiting() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect(device="phone")
            await world.publish("a")
            await world.settle()
            assert await outcomes(world) == {"a": Outcome.SENT}
            await take_all(ann)
            world.clock.advance(1)
            await world.ledger.store()
            found = (await reports(world))["a"]
            assert found.outcome is Outcome.RECEIVED
            (attempt,) = found.attempts
            assert (attempt.connection.device, attempt.connection.until) == ("phone", None)
            assert (attempt.sent_at, attempt.received_at) == (START, START + timedelta(seconds=1))
            ann.disconnect()
            await world.publish("b")
            await world.settle()
            expected = {"a": Outcome.RECEIVED, "b": Outcome.WAITING}
            assert await outcomes(world) == expected
            await world.ledger.store()
            assert await outcomes(world) == expected

    run(story())


def test_each_user_has_their_own_answer() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect()
            await world.publish("both", to=Audience.users(["ann", "bob"]))
            await world.publish("bob", to=Audience.users(["bob"]))
            await world.settle()
            await take_all(ann)
            assert await outcomes(world) == {"both": Outcome.RECEIVED}
            assert await outcomes(world, "bob") == {"both": Outcome.WAITING, "bob": Outcome.WAITING}
            of_ann = await world.ledger.deliveries_of(UserId("ann"), DeliveriesQuery(id="bob"))
            assert [report.outcome for report in of_ann.reports] == [Outcome.NOT_ADDRESSED]

    run(story())


def test_what_a_connection_had_expired_before_it_was_sent_says_so() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect()
            world.clock.advance(1)
            await world.publishing.publish([publication(id="a", expires_at=START + timedelta(seconds=5))])
            world.clock.advance(10)
            await world.settle()
            assert ids(ann) == []
            found = (await reports(world))["a"]
            assert (found.outcome, [attempt.sent_at for attempt in found.attempts]) == (Outcome.EXPIRED, [None])
            await world.ledger.store()
            assert (await outcomes(world)) == {"a": Outcome.EXPIRED}

    run(story())


def test_what_expired_while_a_connection_was_paused_was_not_sent_to_it() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect()
            (connection,) = world.connections.all
            paused_at = connection.subscription.pause()
            await world.publishing.publish([publication(id="a", expires_at=START + timedelta(seconds=5))])
            await world.publish("b")
            await world.settle()
            world.clock.advance(10)
            assert connection.subscription.resume(paused_at)
            assert ids(ann) == ["b"]
            found = await reports(world)
            sent = {id_: [attempt.sent_at for attempt in report.attempts] for id_, report in found.items()}
            assert sent == {"a": [None], "b": [START]}
            assert found["a"].outcome is Outcome.EXPIRED

    run(story())


def test_a_client_that_comes_back_in_another_role_has_no_more_than_its_cursor() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities |= {"ann as company": identity("ann", "company")}
            ann = await world.connect()
            place = cursor(await ann.next_event())
            await world.publish("a", to=Audience.role("freelance"))
            await world.settle()
            ann.disconnect()
            again = await world.connect("ann as company", pid=ann.pid, offset=place)
            assert again.pid == ann.pid
            assert await outcomes(world) == {"a": Outcome.SENT}

    run(story())


class Failing(MemoryStore):
    fails = False

    async def record(self, notes: Notes) -> None:
        if self.fails:
            raise StoreUnavailable
        await super().record(notes)


def test_what_could_not_be_stored_is_stored_later_and_nothing_twice() -> None:
    async def story() -> None:
        world = World()
        store = Failing(clock=world.clock, epoch="e")
        world = World(seen_as=lambda verifier, _inbox, transport: (verifier, store, transport))
        async with world.running():
            store.fails = True
            ann = await world.connect()
            await world.publish("a")
            await world.settle()
            await take_all(ann)
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await world.ledger.store()
            ann.disconnect()
            again = await world.connect()
            with pytest.raises(StoreUnavailable):
                await world.ledger.store()
            assert await outcomes(world) == {"a": Outcome.RECEIVED}
            store.fails = False
            await world.ledger.store()
            known = await store.history(
                UserId("ann"), (await store.addressed(UserId("ann"), DeliveriesQuery())).notifications
            )
            assert [(one.id, one.ended) for one in known.connections] == [
                (ann.connection, "client_close"), (again.connection, None),
            ]  # fmt: skip
            awaited = [AwaitedReceipt(ann.connection, 1, START)]
            assert await store.received_at(UserId("ann"), awaited) == [START]

    run(story())


def test_nothing_is_said_to_have_arrived_before_it_was_sent() -> None:
    """The ledger keeps the seconds of receipts alone."""

    async def story() -> None:
        world = World()
        async with world.running():
            ann = await world.connect()
            world.clock.advance(0.7)
            await world.publish("a")
            await world.settle()
            await take_all(ann)
            await world.ledger.store()
            (report,) = (await world.ledger.deliveries_of(UserId("ann"), DeliveriesQuery())).reports
            (attempt,) = report.attempts
            assert attempt.sent_at == START + timedelta(seconds=0.7)
            assert attempt.received_at == START + timedelta(seconds=1)

    run(story())


def test_that_connections_began_is_stored_before_the_rest_and_once() -> None:
    """So that next to all is known of a server that is killed."""

    async def story() -> None:
        world = World()
        noted: list[list[ConnectionId]] = []

        class Noting(MemoryStore):
            async def record(self, notes: Notes) -> None:
                noted.append([one.id for one in notes.connections])
                await super().record(notes)

        store = Noting(clock=world.clock, epoch="e")
        world = World(seen_as=lambda verifier, _inbox, transport: (verifier, store, transport))
        async with world.running():
            await world.ledger.store_beginnings()
            assert noted == []
            begun = [await world.connect(name) for name in ("ann", "bob", "ann")]
            for _ in range(2):
                await world.ledger.store_beginnings()
            assert noted == [[one.connection for one in begun]]

    run(story())


def test_a_beginning_that_could_not_be_stored_is_stored_with_the_rest() -> None:
    async def story() -> None:
        world = World()

        class Failing(MemoryStore):
            fails = True

            async def record(self, notes: Notes) -> None:
                if self.fails:
                    raise StoreUnavailable
                await super().record(notes)

        store = Failing(clock=world.clock, epoch="e")
        world = World(seen_as=lambda verifier, _inbox, transport: (verifier, store, transport))
        async with world.running():
            ann = await world.connect()
            await world.ledger.store_beginnings()
            store.fails = False
            await world.publish("a")
            await world.settle()
            await world.ledger.store()
            addressed = (await store.addressed(UserId("ann"), DeliveriesQuery())).notifications
            known = await store.history(UserId("ann"), addressed)
            assert [one.id for one in known.connections] == [ann.connection]

    run(story())


def test_a_server_with_nothing_to_tell_writes_now_and_then_and_without_connections_never() -> None:
    async def story() -> None:
        world = World()
        noted: list[Notes] = []

        class Noting(MemoryStore):
            async def record(self, notes: Notes) -> None:
                noted.append(notes)

        store = Noting(clock=world.clock, epoch="e")
        world = World(seen_as=lambda verifier, _inbox, transport: (verifier, store, transport))
        async with world.running():
            for _ in range(61):
                await world.ledger.store()
                world.clock.advance(1)
            assert noted == []
            await world.connect()
            for _ in range(61):
                await world.ledger.store()
                world.clock.advance(1)
        assert len(noted) == 3

    run(story())


@dataclass
class Device:
    """A stock client: it brings its pid and the last cursor that it took, and may go without taking everything."""

    token: str
    name: str
    client: MemoryClient | None = None
    pid: str | None = None
    offset: str | None = None
    sent: dict[ConnectionId, set[str]] = field(default_factory=dict)
    saw: dict[ConnectionId, set[str]] = field(default_factory=dict)

    async def connect(self, world: World) -> None:
        given = {"pid": self.pid, "offset": self.offset} if self.pid is not None and self.offset is not None else {}
        client = await world.transport.connect({"token": self.token, "device": self.name, **given})
        if not client.connected:
            return
        self.client, self.pid = client, client.pid
        self.saw[client.connection] = set()

    async def take(self, most: int) -> None:
        if self.client is None:
            return
        for _ in range(most):
            if not self.client.events:
                return
            event = await self.client.next_event()
            if isinstance(event[1][-1], str):
                self.offset = cursor(event)
            self.saw[self.client.connection] |= _ids([event])

    def look(self) -> None:
        """What it was sent by now, taken or not."""
        if self.client is not None:
            id_ = self.client.connection
            self.sent[id_] = self.saw[id_] | _ids(self.client.events) | self.sent.get(id_, set())

    def cut(self) -> None:
        if self.client is not None:
            self.look()
            self.client.disconnect()

    def forget(self) -> None:
        self.client = None


def _ids(events: Sequence[Event]) -> set[str]:
    return {
        str(arguments[0]["id"])
        for name, arguments in events
        if name == "notification.new" and isinstance(arguments[0], dict)
    }


@pytest.mark.parametrize("seed", range(STORIES))
def test_what_it_says_is_what_the_clients_saw(seed: int) -> None:
    """Cut at any moment, with some of what they were sent taken or nothing; what expires, and what leaves the log."""

    async def story() -> None:
        chance = random.Random(seed)
        policy = ConnectionPolicy(replay_entries=chance.choice((1, 3, 50)), connections_per_user=3)
        world = World(
            policy=policy, max_entries=chance.choice((60, 10_000)), window_bytes=chance.choice((400, 100_000))
        )
        world.verifier.identities |= {"ann as company": identity("ann", "company")}
        tokens = ("ann", "ann", "ann as company", "bob")
        devices = [Device(token, f"device-{number}") for number, token in enumerate(tokens)]
        number = 0
        async with world.running():
            for _ in range(STEPS):
                match chance.choice("pppcccttttxxsawr"):
                    case "p":
                        number += 1
                        ends = chance.choice((None, None, None, 2, 8))
                        to = chance.choice(
                            (Audience.users(["ann"]), Audience.users(["ann", "bob"]), Audience.users(["bob"]),
                             Audience.role("company"), Audience.everyone())
                        )  # fmt: skip
                        expires_at = world.clock.now() + timedelta(seconds=ends) if ends is not None else None
                        draft = publication(to, id=f"n-{number}", expires_at=expires_at)
                        await world.publishing.publish([draft])
                    case "c":
                        device = chance.choice(devices)
                        if device.client is None or device.client.closed:
                            await device.connect(world)
                    case "t":
                        await chance.choice(devices).take(chance.randrange(5))
                    case "x":
                        # Of what it was sent by then it may take some more: nobody hears of that but by its return.
                        device = chance.choice(devices)
                        device.cut()
                        await device.take(chance.randrange(4))
                    case "s":
                        await world.ledger.store()
                    case "a":
                        world.clock.advance(chance.choice((0.2, 1, 5)))
                    case "w":
                        await world.settle()
                    case "r":
                        device = chance.choice(devices)
                        if device.client is not None and device.client.connected and number:
                            seen = f"n-{chance.randrange(number) + 1}"
                            await _read(device.client, seen)
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                for device in devices:
                    device.look()
            # Who comes back says what they have; who is there takes all.
            await world.settle()
            for device in devices:
                if device.client is None or device.client.closed:
                    await device.connect(world)
            await world.settle()
            for device in devices:
                if device.client is not None:
                    await device.client.opened()
                device.look()
                await device.take(10_000)
            await _compare(world, devices)
            await world.ledger.store()
            await _compare(world, devices)

    run(story())


async def _read(client: MemoryClient, id_: str) -> None:
    try:
        await client.request("notification.read", {"ids": [id_]})
    except ConnectionGone:
        return


async def _compare(world: World, devices: Sequence[Device]) -> None:
    compared = 0
    for user in ("ann", "bob"):
        theirs = [device for device in devices if device.token.startswith(user)]
        sent = {id_: some for device in theirs for id_, some in device.sent.items()}
        saw = {id_: some for device in theirs for id_, some in device.saw.items()}
        for id_, report in (await reports(world, user)).items():
            said_sent = {attempt.connection.id for attempt in report.attempts if attempt.sent_at is not None}
            said_seen = {attempt.connection.id for attempt in report.attempts if attempt.received_at is not None}
            was_sent = {connection for connection, some in sent.items() if id_ in some}
            was_seen = {connection for connection, some in saw.items() if id_ in some}
            assert said_sent == was_sent, (user, id_, report.sentence)
            assert said_seen == was_seen, (user, id_, report.sentence)
            assert (report.outcome is Outcome.RECEIVED) is bool(was_seen), (user, id_, report.sentence)
            compared += 1
    assert compared > 20
