from __future__ import annotations

from datetime import timedelta
from weakref import ref

import pytest

from domain.errors import KeysUnavailable, StoreUnavailable, TokenExpired
from domain.model import Audience, Identity, UserId
from domain.policy import ConnectionPolicy
from tests.doubles import START
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, closed, first, identity, ids, names, publication, run


def test_a_client_is_welcomed_into_its_rooms_and_hears_what_is_for_them() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await world.publish("for-ann", to=Audience.users(["ann"]))
            await world.publish("for-both", to=Audience.users(["ann", "bob"]))
            await world.publish("for-role", to=Audience.role("freelance"))
            await world.publish("for-other-role", to=Audience.role("company"))
            await world.publish("for-everyone", to=Audience.everyone())
            await world.settle()
            assert ids(ann) == ["for-ann", "for-both", "for-role", "for-everyone"]
            assert ids(bob) == ["for-both", "for-role", "for-everyone"]
            assert names(ann)[0] == "session.ready"
            assert first(ann, "session.ready")["user"] == {"id": "ann", "role": "freelance"}

    run(story())


def test_a_connection_is_registered_before_the_log_is_read_and_replayed_once_it_is_counted() -> None:
    async def story() -> list[str]:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            await world.publish("a", "b")
            await world.connect("ann", cursor="e:1")
        return [point.removeprefix("before ") for point in points.passed if point.startswith("before ")]

    # ``secret`` is the key of the pids; the rooms are entered, and so is their head fixed, before the log is read.
    calls = ["verify", "arrive", "secret", "has_room"]
    assert run(story()) == calls


def test_nothing_of_what_a_client_said_to_connect_is_kept() -> None:
    class Said(str):
        """What can be watched."""

        __slots__ = ("__weakref__",)

    async def story() -> None:
        async with World().running() as world:
            auth = {"token": Said("ann"), "cursor": Said("x" * 60_000), "pid": Said("y"), "offset": Said("z")}
            kept = {name: ref(said) for name, said in auth.items()}
            client = await world.transport.connect(auth)
            await client.opened()
            auth.clear()
            assert client.connected
            assert [name for name, said in kept.items() if said() is not None] == []

    run(story())


def test_the_welcome_counts_what_lies_in_the_inbox() -> None:
    async def story() -> None:
        async with World().running() as world:
            earlier = await world.connect("ann")
            await world.publish("1", "2")
            await world.publish("3", to=Audience.everyone())
            await world.publish("of-bob", to=Audience.users(["bob"]))
            await earlier.request("notification.read", {"ids": ["1"]})
            client = await world.connect("ann")
            assert first(client, "session.ready")["counts"] == {"unread": 2, "unseen": 2, "total": 3}

    run(story())


def test_a_good_cursor_continues_where_it_stands() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1")
            await world.publish("2", to=Audience.users(["bob"]))
            await world.publish("3", "4")
            client = await world.connect("ann", cursor="e:1")
            # Just before the first entry that is still to come, and not at the head.
            assert client.events[0][1][-1] == "e:2"
            ready = first(client, "session.ready")
            assert (ready["recovered"], ready["reason"]) == (True, None)
            assert ids(client) == ["3", "4"]
            await world.publish("5")
            await world.settle()
            assert ids(client) == ["3", "4", "5"]

    run(story())


def test_whatever_cursor_a_client_is_given_leads_on_without_a_gap() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(replay_entries=2)).running() as world:
            await world.publish(*(str(n) for n in range(1, 8)))
            full = await world.connect("ann", cursor="e:0")
            assert ids(full) == [str(n) for n in range(1, 8)]
            for index, (_, arguments) in enumerate(full.events):
                again = await world.connect("ann", cursor=arguments[-1])
                assert ids(again) == [str(n) for n in range(index + 1, 8)]

    run(story())


@pytest.mark.parametrize(
    "auth", [None, [], "t", 7, {}, {"token": None}, {"token": ["t"]}, {"token": "unknown"}, {"token": "\ud800"}]
)
def test_a_client_without_a_good_token_is_refused(auth: object) -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.transport.connect(auth)
            assert client.closed
            assert client.refusal is not None
            assert client.refusal.code == "invalid_token"
            assert client.events == []
            assert world.connections.open_connections == 0
            assert [call[0] for call in world.telemetry.named("refused")] == ["invalid_token"]

    run(story())


def test_an_expired_token_and_a_bad_device_say_so() -> None:
    class Expired:
        async def verify(self, token: str) -> Identity:
            raise TokenExpired("exp")

    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann", device="x" * 65)
            assert client.refusal is not None
            assert client.refusal.code == "invalid_argument"
        async with World(seen_as=lambda _, inbox, transport: (Expired(), inbox, transport)).running() as world:
            client = await world.connect("ann")
            assert client.refusal is not None
            assert (client.refusal.code, client.refusal.retryable) == ("token_expired", True)

    run(story())


CALLS = ("verify", "arrive", "secret")


@pytest.mark.parametrize("at", [f"before {call}" for call in CALLS])
def test_a_passing_fault_closes_without_a_word_and_leaves_nothing(at: str) -> None:
    async def story() -> None:
        points = Points()

        async def fail() -> None:
            raise (KeysUnavailable if "verify" in at else StoreUnavailable)

        async with World(seen_as=points.around).running() as world:
            await world.connect("ann", cursor="e:0")
            points.at = points.passed.index(at) + len(points.passed)
            points.action = fail
            client = await world.transport.connect({"token": "ann", "cursor": "e:0"})
            assert (client.closed, client.refusal, client.events) == (True, None, [])
            assert client.reconnect
            assert world.connections.open_connections == 1
            assert len(world.connections.connections_of(UserId("ann"))) == 1

    run(story())


def test_a_store_that_fails_during_the_replay_makes_the_client_return() -> None:
    async def story() -> None:
        points = Points()
        policy = ConnectionPolicy(replay_entries=1)

        async def fail() -> None:
            raise StoreUnavailable

        async with World(seen_as=points.around, policy=policy).running() as world:
            await world.publish("1", "2", "3")
            points.at_nth("before read", 1, fail)
            client = await world.connect("ann", cursor="e:0")
            await closed(client)
            assert ids(client) == ["1"]
            closing = first(client, "session.closing")
            assert (closing["code"], closing["reconnect"], client.reconnect) == ("store_unavailable", True, True)
            again = await world.connect("ann", cursor="e:1")
            assert ids(again) == ["2", "3"]

    run(story())


@pytest.mark.parametrize("how", ["client leaves", "server drains"])
def test_a_store_that_fails_after_the_end_ends_nothing_again(how: str) -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:

            async def end_and_fail() -> None:
                if how == "client leaves":
                    client.disconnect()
                else:
                    world.expiry.drain()
                    world.expiry.tick()
                raise StoreUnavailable

            await world.publish("1")
            points.at_nth("before has_room", 1, end_and_fail)
            client = world.transport.start({"token": "ann", "cursor": "e:0"})
            await client.opened()
            await closed(client)
            told = [call[-1] for call in world.telemetry.named("closing")]
            assert told == ([] if how == "client leaves" else ["shutting_down"])
            assert len(world.telemetry.named("disconnected")) == 1

    run(story())


def test_trimming_that_overtakes_a_replay_closes_the_connection() -> None:
    async def story() -> None:
        points = Points()
        policy = ConnectionPolicy(replay_entries=1)
        async with World(seen_as=points.around, policy=policy, max_entries=3).running() as world:

            async def overtake() -> None:
                for number in range(4, 10):
                    await world.publish(str(number))
                    await world.settle()

            await world.publish("1", "2", "3")
            await world.settle()
            points.at_nth("before read", 1, overtake)
            client = await world.connect("ann", cursor="e:0")
            await closed(client)
            closing = first(client, "session.closing")
            assert (closing["code"], closing["reconnect"], client.reconnect) == ("cursor_refused", True, True)
            # Nothing that came after the gap was sent.
            assert ids(client) == ["1"]
            assert world.connections.open_connections == 0

    run(story())


def test_expired_entries_are_not_replayed() -> None:
    async def story() -> None:
        async with World().running() as world:
            short, long = START + timedelta(seconds=10), START + timedelta(seconds=11)
            await world.publishing.publish(
                [
                    publication(id="short", expires_at=short),
                    publication(id="long", expires_at=long),
                    publication(id="for-ever"),
                ]
            )
            await world.settle()
            world.clock.advance(10)
            client = await world.connect("ann", cursor="e:0")
            assert ids(client) == ["long", "for-ever"]

    run(story())


def test_the_oldest_connection_of_a_user_goes_when_there_are_too_many() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(connections_per_user=2)).running() as world:
            clients = [await world.connect("ann") for _ in range(3)]
            bob = await world.connect("bob")
            await closed(clients[0])
            closing = first(clients[0], "session.closing")
            assert (closing["code"], closing["reconnect"]) == ("too_many_connections", False)
            assert clients[0].reconnect is False
            assert [client.connected for client in [*clients[1:], bob]] == [True, True, True]
            # The one that was closed is not counted any more.
            clients[1].disconnect()
            await world.connect("ann")
            assert clients[2].connected
            assert world.connections.open_connections == 3

    run(story())


def test_a_full_server_admits_again_when_somebody_left() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(connections=2)).running() as world:
            ann, _ = await world.connect("ann"), await world.connect("bob")
            late = await world.connect("ann")
            assert (late.closed, late.refusal, late.reconnect, late.events) == (True, None, True, [])
            assert world.telemetry.named("refused")[0][0] == "at_capacity"
            ann.disconnect()
            assert (await world.connect("ann")).connected

    run(story())


def test_a_hostile_client_takes_no_place() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(connections=1)).running() as world:
            for _ in range(3):
                assert (await world.connect("unknown")).refusal is not None
            assert (await world.connect("ann")).connected

    run(story())


def test_operators_hear_of_every_connection_but_never_of_a_token() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["secret-token"] = identity("ann")
            client = await world.connect("secret-token", device="phone")
            client.disconnect()
            await world.connect("wrong-secret")
            assert world.telemetry.named("connected") == [(client.connection, "ann", "phone")]
            assert world.telemetry.named("disconnected") == [(client.connection, "ann", "client_close")]
            assert "secret" not in str(world.telemetry.calls)

    run(story())
