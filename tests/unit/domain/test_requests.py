"""What clients ask for over a connection."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.transport.memory.client import MemoryClient
from domain.errors import ConnectionGone, KeysUnavailable, StoreUnavailable
from domain.model import Counted, Listing, Position, Room, UserId
from domain.policy import ConnectionPolicy
from tests.doubles import START, FixedRandomness
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, answer_to, closed, first, identity, ids, is_empty, names, run, until

MIDDLE = ConnectionPolicy(uniform=FixedRandomness(0.5).uniform)


async def ask(client: MemoryClient, event: str, argument: object = None) -> dict[str, Any]:
    answer = await client.request(event, argument)
    assert isinstance(answer, dict)
    return answer


async def refusal(client: MemoryClient, event: str, argument: object = None) -> str:
    answer = await ask(client, event, argument)
    assert answer["ok"] is False
    return str(answer["error"]["code"])


def test_an_inbox_is_listed_counted_and_changed() -> None:
    async def story() -> None:
        async with World().running() as world:
            client, other = await world.connect("ann"), await world.connect("ann")
            await world.publish("1", "2", "3")
            listing = await ask(client, "inbox.list", {"limit": 2})
            assert [item["id"] for item in listing["items"]] == ["3", "2"]
            assert (listing["next"], listing["as_of"]) == ("2", "e:3")
            rest = await ask(client, "inbox.list", {"limit": 2, "page": listing["next"]})
            assert ([item["id"] for item in rest["items"]], rest["next"]) == (["1"], None)
            read = await ask(client, "notification.read", {"ids": ["1", "2"]})
            assert read == {
                "ok": True,
                "changed": 2,
                "counts": {"unread": 1, "unseen": 1, "total": 3},
                "as_of": "e:4",
            }
            assert (await ask(client, "notification.read_all"))["changed"] == 1
            assert (await ask(client, "inbox.count"))["counts"] == {"unread": 0, "unseen": 0, "total": 3}
            await ask(client, "notification.delete", {"ids": ["3"]})
            await world.settle()
            # Every device hears of it, this one too, in one stream with the rest.
            expected = ["notification.new"] * 3 + ["notification.updated"] * 2 + ["notification.deleted"]
            for device in (client, other):
                assert [name for name in names(device) if name.startswith("notification.")] == expected

    run(story())


def entries(client: MemoryClient) -> list[str]:
    return [name for name in names(client) if name.startswith("notification.")]


def test_what_a_client_did_is_sent_to_it_before_the_answer_and_once() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publish("1")
            await ask(client, "notification.read", {"ids": ["1"]})
            # The tail has brought none of it so far.
            assert entries(client) == ["notification.new", "notification.updated"]
            await world.settle()
            assert entries(client) == ["notification.new", "notification.updated"]

    run(story())


@pytest.mark.parametrize(
    ("event", "argument", "code"),
    [
        ("nothing", None, "unknown_event"),
        ("connect", {}, "unknown_event"),
        ("inbox.list", {"limit": 0}, "invalid_argument"),
        ("notification.read", None, "invalid_argument"),
        # What only the log can tell is found behind the hold.
        ("notification.read_all", {"up_to": "e:99"}, "invalid_argument"),
        ("notification.read_all", {"up_to": "f:1"}, "invalid_argument"),
    ],
)
def test_what_cannot_be_answered_says_why_and_the_connection_stays(event: str, argument: object, code: str) -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            await world.publish("1")
            assert await refusal(client, event, argument) == code
            await world.publish("2")
            await world.settle()
            assert client.connected
            assert ids(client) == ["1", "2"]

    run(story())


@pytest.mark.parametrize("call", ["list_items", "count", "change", "read_all"])
def test_a_store_that_fails_is_an_answer_and_nothing_that_came_meanwhile_is_lost(call: str) -> None:
    requests: dict[str, tuple[str, object]] = {
        "list_items": ("inbox.list", None),
        "count": ("inbox.count", None),
        "change": ("notification.read", {"ids": ["1"]}),
        "read_all": ("notification.read_all", None),
    }

    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            client = await world.connect("ann")
            await world.publish("1")

            async def publish_and_fail() -> None:
                await world.publish("2")
                await world.settle()
                raise StoreUnavailable

            points.at_nth(f"before {call}", 1, publish_and_fail)
            assert await refusal(client, *requests[call]) == "store_unavailable"
            await world.publish("3")
            await world.settle()
            assert client.connected
            assert ids(client) == ["1", "2", "3"]

    run(story())


def test_a_store_that_fails_between_the_answer_and_what_comes_before_it_makes_the_client_return() -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            client = await world.connect("ann")

            async def fail() -> None:
                raise StoreUnavailable

            async def publish() -> None:
                await world.publish("1")
                points.at_nth("before read", 1, fail)

            points.at_nth("before count", 1, publish)
            client.send("inbox.count")
            await closed(client)
            assert (first(client, "session.closing")["code"], client.reconnect) == ("store_unavailable", True)

    run(story())


def test_without_an_ack_nothing_is_answered_and_what_was_asked_is_done() -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            client = await world.connect("ann")
            await world.publish("1")
            for event, argument in (
                ("notification.read", {"ids": ["1"]}),
                ("inbox.list", {"limit": 0}),
                ("nothing", None),
                ("auth.refresh", {"token": "unknown"}),
            ):
                client.send(event, argument)
            # One at a time: this answer comes after them.
            assert (await ask(client, "inbox.count"))["counts"]["unread"] == 0
            assert points.answers == 1

    run(story())


def test_who_asks_during_the_replay_is_answered_behind_it() -> None:
    async def story() -> None:
        points = Points()
        policy = ConnectionPolicy(replay_entries=1)
        async with World(seen_as=points.around, policy=policy).running() as world:
            await world.publish("1", "2", "3")

            async def ask_early() -> None:
                client.send("inbox.count")
                counted.append(points.passed.count("before count"))

            counted: list[int] = []
            points.at_nth("before has_room", 2, ask_early)
            client = world.transport.start({"token": "ann"})
            await client.opened()
            # For the answer it was counted when the replay was over.
            assert counted == [0]
            assert points.passed[-2:] == ["before count", "after count"]
            assert ids(client) == ["1", "2", "3"]

    run(story())


def test_what_was_asked_is_done_where_the_transport_knows_of_the_end_before_it_says_so() -> None:
    async def story() -> None:
        points = Points()
        policy = ConnectionPolicy(replay_entries=1)
        async with World(seen_as=points.around, policy=policy).running() as world:
            await world.publish("1", "2", "3")

            async def ask_and_be_gone() -> None:
                client.send("notification.read", {"ids": ["1"]})
                raise ConnectionGone

            points.at_nth("before has_room", 2, ask_and_be_gone)
            client = world.transport.start({"token": "ann"})
            await client.opened()
            client.disconnect()
            await world.settle()
            counted = await answer_to(world.inboxes, "ann", "inbox.count", {})
            assert isinstance(counted, Counted)
            assert counted.counts.unread == 2
            assert is_empty(world)

    run(story())


def test_a_defect_in_the_replay_leaves_nothing_of_what_was_asked_meanwhile() -> None:
    async def story() -> None:
        points = Points()
        policy = ConnectionPolicy(replay_entries=1)
        async with World(seen_as=points.around, policy=policy).running() as world:
            await world.publish("1", "2")

            async def ask_and_fail() -> None:
                client.send("inbox.count")
                raise ZeroDivisionError

            points.at_nth("before has_room", 2, ask_and_fail)
            client = world.transport.start({"token": "ann"})
            with pytest.raises(ZeroDivisionError):
                await client.opened()
            await closed(client)
            # Nobody waits for it as the server is drained, and its place is free.
            assert world.connections.open_connections == 0
            assert is_empty(world)

    run(story())


@pytest.mark.parametrize("at", ["at once", "before list_items", "after list_items"])
@pytest.mark.parametrize("how", ["client leaves", "server closes"])
def test_a_connection_that_ends_while_it_asks_leaves_nothing(at: str, how: str) -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            client = await world.connect("ann")
            await world.publish("1")

            async def end() -> None:
                if how == "client leaves":
                    client.disconnect()
                else:
                    world.connections.disconnect(identity("ann").user, reconnect=True)

            points.at_nth(at, 1, end)
            client.send("inbox.list")
            if at == "at once":
                await end()
            await closed(client)
            await world.settle()
            assert world.connections.open_connections == 0
            assert is_empty(world)
            assert len(world.telemetry.named("disconnected")) == 1

    run(story())


class TestRefresh:
    def test_a_new_token_moves_the_deadline_and_is_announced_anew(self) -> None:
        async def story() -> None:
            async with World(policy=MIDDLE).running() as world:
                client = await world.connect("ann")
                world.clock.advance(3600 - 60)
                world.expiry.tick()
                assert names(client)[-1] == "session.expiring"
                expires_at = world.clock.now() + timedelta(hours=1)
                world.verifier.identities["later"] = identity("ann", expires_at=expires_at)
                answer = await ask(client, "auth.refresh", {"token": "later"})
                assert answer == {"ok": True, "expires_at": "2030-01-31T13:59:00.000Z"}
                world.clock.advance(200)
                world.expiry.tick()
                assert client.connected
                assert names(client).count("session.expiring") == 1
                world.clock.advance(3600 - 200 - 90)
                world.expiry.tick()
                assert names(client).count("session.expiring") == 2
                assert names(client)[-1] == "session.expiring"
                world.clock.advance(90 + 30)
                world.expiry.tick()
                await closed(client)

        run(story())

    def test_a_token_that_lasts_less_long_shortens_the_stay(self) -> None:
        async def story() -> None:
            async with World(policy=MIDDLE).running() as world:
                client = await world.connect("ann")
                world.verifier.identities["short"] = identity("ann", expires_at=START + timedelta(seconds=10))
                await ask(client, "auth.refresh", {"token": "short"})
                world.clock.advance(40)
                world.expiry.tick()
                await closed(client)

        run(story())

    @pytest.mark.parametrize(
        ("token", "code"),
        [
            ("bob", "identity_mismatch"),
            ("as-company", "identity_mismatch"),
            ("of-another-issuer", "identity_mismatch"),
            ("unknown", "invalid_token"),
        ],
    )
    def test_any_other_leaves_the_token_and_the_deadline_as_they_were(self, token: str, code: str) -> None:
        async def story() -> None:
            async with World(policy=MIDDLE).running() as world:
                late = START + timedelta(hours=9)
                ann = identity("ann", expires_at=late)
                world.verifier.identities |= {
                    "bob": identity("bob", expires_at=late),
                    "as-company": identity("ann", "company", expires_at=late),
                    "of-another-issuer": type(ann)(ann.user, ann.role, "other", late),
                }
                client = await world.connect("ann")
                assert await refusal(client, "auth.refresh", {"token": token}) == code
                await world.publish("1")
                await world.settle()
                assert ids(client) == ["1"]
                world.clock.advance(3600 + 29)
                world.expiry.tick()
                assert client.connected
                assert "session.expiring" in names(client)
                world.clock.advance(1)
                world.expiry.tick()
                await closed(client)

        run(story())

    def test_keys_that_cannot_be_had_are_an_answer(self) -> None:
        async def story() -> None:
            points = Points()
            async with World(seen_as=points.around).running() as world:
                client = await world.connect("ann")

                async def fail() -> None:
                    raise KeysUnavailable

                points.at_nth("before verify", 1, fail)
                answer = await ask(client, "auth.refresh", {"token": "ann"})
                assert (answer["error"]["code"], answer["error"]["retryable"]) == ("keys_unavailable", True)
                assert client.connected

        run(story())

    def test_the_reason_a_token_is_refused_for_is_not_told(self) -> None:
        async def story() -> None:
            async with World().running() as world:
                client = await world.connect("ann")
                answer = await ask(client, "auth.refresh", {"token": "unknown"})
                assert answer["error"] == {
                    "code": "invalid_token",
                    "title": "The token is not valid.",
                    "retryable": False,
                }

        run(story())

    def test_who_leaves_meanwhile_is_no_error(self) -> None:
        async def story() -> None:
            points = Points()
            async with World(seen_as=points.around).running() as world:
                client = await world.connect("ann")

                async def leave() -> None:
                    client.disconnect()

                points.at_nth("after verify", 1, leave)
                client.send("auth.refresh", {"token": "ann"})
                await closed(client)
                assert world.connections.open_connections == 0

        run(story())


def test_a_receipt_of_who_has_left_is_none() -> None:
    async def story() -> None:
        async with World().running() as world:
            client = await world.connect("ann")
            (outlet,) = world.transport.connections
            client.disconnect()
            world.connecting.received(outlet, Position("e", 0))
            assert (await world.inbox.head()).offset == 0

    run(story())


@pytest.mark.parametrize("how", ["client leaves", "server closes"])
@pytest.mark.parametrize("at", ["at once", "before change", "after change"])
def test_what_was_asked_before_the_end_is_done_in_order_and_nobody_is_answered(at: str, how: str) -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            client = await world.connect("ann")
            await world.publish("1")

            async def end() -> None:
                if how == "client leaves":
                    client.disconnect()
                else:
                    world.connections.disconnect(identity("ann").user, reconnect=True)

            points.at_nth(at, 1, end)
            asked: list[tuple[str, object]] = [
                ("notification.read", {"ids": ["1"]}),
                ("notification.unread", {"ids": ["1"]}),
                ("inbox.list", None),
                ("auth.refresh", {"token": "ann"}),
                ("no.such.event", None),
                ("notification.archive", {"ids": ["1"]}),
            ]
            for event, argument in asked:
                client.send(event, argument)
            if at == "at once":
                await end()
            await closed(client)

            async def is_archived() -> bool:
                listing = await answer_to(world.inboxes, "ann", "inbox.list", {"state": "archived"})
                assert isinstance(listing, Listing)
                return bool(listing.items)

            await until(is_archived)
            subscriber = await world.inbox.register(UserId("ann"), "freelance", frozenset((Room.of_user("ann"),)))
            page = await world.inbox.read(subscriber, Position("e", 1), max_entries=10, max_bytes=100_000)
            changes = [sorted(json.loads(entry.payload)["change"]) for entry in page.entries]
            assert changes == [["read_at", "seen_at"], ["read_at"], ["archived_at"]]
            assert points.answers <= 1

    run(story())
