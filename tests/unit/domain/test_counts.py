"""What connected users are told of their inboxes, and how seldom the inbox itself is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from adapters.transport.memory.client import MemoryClient
from domain.errors import StoreUnavailable
from domain.model import Audience, UserId
from domain.services.counts import NEWS_MAX, TOLD_AT_ONCE
from tests.doubles import START, ManualClock
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, first, identity, names, publication, run

EVERYONE = Audience.everyone()
MANY = 1_000_000


class Counting(World):
    """Knows how often the inbox was asked to count since ``asked`` was called the last time."""

    def __init__(self) -> None:
        self.points = Points()
        super().__init__(seen_as=self.points.around)

    def asked(self) -> int:
        passed, self.points.passed = self.points.passed, []
        return passed.count("before count")

    async def second(self) -> None:
        """Everything is delivered, a second passes, and everybody is told what has changed."""
        await self.settle()
        self.clock.advance(1)
        assert await self.counts.announce(MANY) is False

    async def truth(self, token: str = "ann") -> dict[str, object]:
        answer = await (await self.connect(token)).request("inbox.count")
        assert isinstance(answer, dict)
        return dict(answer["counts"])


@asynccontextmanager
async def counting() -> AsyncIterator[Counting]:
    world = Counting()
    async with world.running():
        yield world


def told(client: MemoryClient) -> list[int]:
    """How many unread there were, by each ``inbox.counts``."""
    return [arguments[0]["unread"] for name, arguments in client.events if name == "inbox.counts"]  # type: ignore[index]


def known(client: MemoryClient) -> object:
    """What a client was told last, be it in its welcome."""
    counts: object = first(client, "session.ready")["counts"]
    for name, (argument, *_) in client.events:
        if name == "inbox.counts":
            counts = argument
    return counts


def test_the_first_change_of_a_second_is_told_with_its_entry_and_the_last_of_it_later() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            world.asked()
            await world.publish("1")
            await world.settle()
            assert names(client)[-2:] == ["notification.new", "inbox.counts"]
            await world.publish("2", "3")
            await world.settle()
            assert told(client) == [1]
            await world.second()
            assert told(client) == [1, 3]
            world.clock.advance(1)
            await world.publish("4")
            await world.settle()
            assert told(client) == [1, 3, 4]
            assert world.asked() == 0

    run(story())


def test_in_a_room_of_many_nobody_is_told_at_once() -> None:
    async def story() -> None:
        async with counting() as world:
            clients = []
            for number in range(TOLD_AT_ONCE + 1):
                world.verifier.identities[str(number)] = identity(f"user-{number}")
                clients.append(await world.connect(str(number)))
            await world.publish("1", to=Audience.everyone())
            await world.settle()
            assert [names(client)[-1] for client in clients] == ["notification.new"] * len(clients)
            await world.second()
            assert [told(client) for client in clients] == [[1]] * len(clients)

    run(story())


def test_of_one_entry_for_many_users_nobody_is_told_at_once() -> None:
    async def story() -> None:
        async with counting() as world:
            users = [f"user-{number}" for number in range(TOLD_AT_ONCE + 1)]
            for user in users:
                world.verifier.identities[user] = identity(user)
            clients = [await world.connect(user) for user in users]
            await world.publish("1", to=Audience.users(users))
            await world.settle()
            assert [names(client)[-1] for client in clients] == ["notification.new"] * len(clients)
            await world.second()
            assert [told(client) for client in clients] == [[1]] * len(clients)

    run(story())


def test_new_notifications_are_added_up_without_asking_the_inbox() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publish("0", to=EVERYONE)
            await world.second()
            world.asked()
            await world.publish("1", "2")
            await world.publish("3", to=EVERYONE)
            await world.publish("4", to=Audience.role("freelance"))
            await world.publish("5", to=Audience.users(["ann", "bob"]))
            await world.publish("of-bob", to=Audience.users(["bob"]))
            await world.publish("of-company", to=Audience.role("company"))
            await world.second()
            assert world.asked() == 0
            assert known(client) == {"unread": 6, "unseen": 6, "total": 6}
            assert await world.truth() == {"unread": 6, "unseen": 6, "total": 6}

    run(story())


def test_nobody_is_told_what_they_know() -> None:
    async def story() -> None:
        async with counting() as world:
            await world.publish("1")
            client = await world.connect("ann")
            for _ in range(3):
                await world.second()
            # The welcome said so.
            assert told(client) == []
            await world.publish("of-bob", to=Audience.users(["bob"]))
            await world.second()
            assert told(client) == []
            await world.publish("2")
            await world.second()
            await world.second()
            assert told(client) == [2]

    run(story())


def test_a_user_is_told_once_a_second_at_most_and_the_last_one_always() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.second()
            for number in range(1, 6):
                await world.publish(str(number))
                await world.settle()
                await world.counts.announce(MANY)
                world.clock.advance(0.25)
            assert told(client) == [1, 5]
            await world.publish("6")
            await world.settle()
            await world.counts.announce(MANY)
            world.clock.advance(0.75)
            await world.counts.announce(MANY)
            assert told(client) == [1, 5, 6]

    run(story())


@pytest.mark.parametrize(
    ("event", "unread"),
    [("notification.read", 1), ("notification.delete", 1), ("notification.archive", 1), ("notification.seen", 2)],
)
def test_after_a_change_the_inbox_is_asked_and_every_device_is_told(event: str, unread: int) -> None:
    async def story() -> None:
        async with counting() as world:
            ann, other, bob = await world.connect("ann"), await world.connect("ann"), await world.connect("bob")
            await world.publish("1", "2")
            await world.second()
            await ann.request(event, {"ids": ["1"]})
            world.asked()
            await world.second()
            assert world.asked() == 1
            for client in (ann, other):
                assert known(client) == await world.truth()
                assert told(client)[-1] == unread
            assert told(bob) == []
            # From then on it can be added to again.
            world.asked()
            await world.publish("3")
            await world.second()
            assert world.asked() == 0
            assert told(other)[-1] == unread + 1

    run(story())


def test_what_expires_is_counted_by_the_inbox() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            soon = START + timedelta(seconds=30)
            await world.publishing.publish([publication(id="1", expires_at=soon)])
            await world.second()
            assert told(client) == [1]
            world.asked()
            await world.publish("2")
            await world.second()
            assert (world.asked(), told(client)) == (0, [1, 2])
            world.clock.advance(30)
            await world.publish("3")
            await world.second()
            # One is gone and one has come: the same two, which are no news.
            assert (world.asked(), told(client)) == (1, [1, 2])
            assert (await world.truth())["total"] == 2

    run(story())


def test_who_is_connected_is_told_once_when_something_expires() -> None:
    async def story() -> None:
        async with counting() as world:
            ann, other, bob = await world.connect("ann"), await world.connect("ann"), await world.connect("bob")
            await world.publishing.publish(
                [
                    publication(id="1", expires_at=START + timedelta(seconds=10)),
                    publication(id="2", expires_at=START + timedelta(seconds=10)),
                    publication(id="3", expires_at=START + timedelta(seconds=20)),
                ]
            )
            await world.second()
            world.asked()
            for _ in range(8):
                await world.second()
            assert (world.asked(), told(ann)) == (0, [3])
            await world.second()
            assert (world.asked(), told(ann)) == (1, [3, 1])
            for _ in range(15):
                await world.second()
            assert world.asked() == 1
            assert [told(ann), told(other), told(bob)] == [[3, 1, 0], [3, 1, 0], []]
            assert known(ann) == await world.truth()

    run(story())


@pytest.mark.parametrize("before", [0, 1])
def test_who_is_connected_is_told_once_when_something_grows_too_old(before: int) -> None:
    """What came before the connection, and what was only added up since, to an empty inbox too."""

    async def story() -> None:
        world = Counting()
        world.inbox._retention = 60.0
        async with world.running():
            await world.publish(*(f"old-{number}" for number in range(before)))
            world.clock.advance(30)
            client = await world.connect("ann")
            await world.publish("1", "2")
            for _ in range(29):
                await world.second()
            assert told(client) == [before + 2]
            for _ in range(2):
                await world.second()
            assert told(client) == [before + 2, *[2] * before]
            for _ in range(40):
                await world.second()
            assert told(client) == [before + 2, *[2] * before, 0]
            assert known(client) == await world.truth()

    run(story())


@pytest.mark.parametrize("limit", [{"_max_entries": 4}, {"_max_bytes": 4 * 1700}], ids=str)
def test_who_is_connected_is_told_when_the_news_of_others_push_something_out_of_the_log(limit: dict[str, int]) -> None:
    async def story() -> None:
        world = Counting()
        for name, value in limit.items():
            setattr(world.inbox, name, value)
        async with world.running():
            client = await world.connect("ann")
            await world.publish("1", "2")
            await world.second()
            world.asked()
            for number in range(6):
                await world.publish(f"of-bob-{number}", to=Audience.users(["bob"]))
                await world.second()
            assert (world.asked(), told(client)) == (2, [2, 1, 0])

    run(story())


def test_what_expires_for_many_at_once_is_counted_a_few_at_a_time_and_nobody_is_left_out() -> None:
    async def story() -> None:
        async with counting() as world:
            users = [f"user-{number}" for number in range(25)]
            world.verifier.identities.update({user: identity(user) for user in users})
            clients = [await world.connect(user) for user in users]
            gone = [await world.connect("ann")]
            soon = START + timedelta(seconds=10)
            await world.publishing.publish([publication(EVERYONE, id="1", expires_at=soon)])
            await world.second()
            for client in gone:
                client.disconnect()
                await client.wait_closed()
            world.clock.advance(10)
            world.asked()
            asked = []
            more = True
            while more:
                more = await world.counts.announce(10)
                asked.append(world.asked())
            assert asked == [10, 10, 5]
            assert all(told(client) == [1, 0] for client in clients)
            world.clock.advance(1)
            assert await world.counts.announce(10) is False
            assert world.asked() == 0

    run(story())


def test_what_is_over_as_it_is_counted_is_asked_for_again_but_not_at_once() -> None:
    """The clock of a store may lag behind."""

    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publishing.publish([publication(id="1", expires_at=START + timedelta(seconds=10))])
            await world.second()
            lagging = world.inbox._clock = ManualClock(START)
            world.clock.advance(10)
            world.asked()
            assert [await world.counts.announce(MANY) for _ in range(3)] == [False] * 3
            assert (world.asked(), told(client)) == (1, [1])
            lagging.advance(10)
            await world.second()
            assert (world.asked(), told(client)) == (1, [1, 0])

    run(story())


def test_what_is_there_again_because_the_clock_was_set_back_is_counted() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publishing.publish([publication(id="1", expires_at=START + timedelta(seconds=10))])
            await world.second()
            world.clock.advance(10)
            await world.second()
            world.clock.jump(timedelta(hours=-1))
            await world.second()
            world.clock.jump(timedelta(hours=1))
            await world.second()
            assert told(client) == [1, 0, 1, 0]
            world.asked()
            await world.second()
            assert world.asked() == 0

    run(story())


def test_what_is_there_again_is_counted_though_the_store_fails_at_first() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publishing.publish([publication(id="1", expires_at=START + timedelta(seconds=10))])
            await world.second()
            world.clock.advance(10)
            await world.second()
            world.clock.jump(timedelta(hours=-1))

            async def fail() -> None:
                raise StoreUnavailable

            world.points.at_nth("before count", 1, fail)
            with pytest.raises(StoreUnavailable):
                await world.second()
            await world.second()
            assert told(client) == [1, 0, 1]

    run(story())


@pytest.mark.parametrize("action", ["notification.delete", "notification.archive"])
def test_what_is_not_counted_any_more_expires_unnoticed(action: str) -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publishing.publish([publication(id="1", expires_at=START + timedelta(seconds=10))])
            await world.second()
            await client.request(action, {"ids": ["1"]})
            await world.second()
            world.asked()
            for _ in range(20):
                await world.second()
            assert (world.asked(), told(client)) == (0, [1, 0])

    run(story())


def test_what_pushes_others_out_is_counted_by_the_inbox() -> None:
    async def story() -> None:
        world = Counting()
        world.inbox._inbox_per_user = 3
        async with world.running():
            client = await world.connect("ann")
            await world.publish("1", "2")
            await world.second()
            world.asked()
            await world.publish("3")
            await world.second()
            assert (world.asked(), told(client)) == (0, [2, 3])
            await world.publish("4")
            await world.second()
            assert (world.asked(), told(client)) == (1, [2, 3])

    run(story())


def test_what_others_news_push_out_is_counted_by_the_inbox() -> None:
    async def story() -> None:
        async with World(max_entries=5).running() as world:
            client = await world.connect("ann")
            await world.publish("1", "2", "3")
            await world.settle()
            await world.counts.announce(MANY)
            for number in range(3):
                await world.publish(f"of-bob-{number}", to=Audience.users(["bob"]))
                await world.settle()
            await world.publish("4")
            await world.settle()
            world.clock.advance(1)
            await world.counts.announce(MANY)
            # The first two are gone.
            assert told(client) == [3, 2]

    run(story())


def test_more_news_than_are_remembered_are_counted_by_the_inbox() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publish(*(f"a{number}" for number in range(NEWS_MAX)))
            await world.second()
            assert told(client)[-1] == NEWS_MAX
            world.asked()
            await world.publish(*(f"b{number}" for number in range(NEWS_MAX + 1)))
            await world.second()
            assert (world.asked(), told(client)[-1]) == (1, 2 * NEWS_MAX + 1)

    run(story())


def test_a_device_that_comes_later_is_told_what_is_new_to_it_alone() -> None:
    async def story() -> None:
        async with counting() as world:
            early = await world.connect("ann")
            await world.publish("1")
            await world.second()
            late = await world.connect("ann")
            await world.second()
            assert (told(early), told(late)) == ([1], [])
            await world.publish("2")
            await world.second()
            assert (told(early), told(late)) == ([1, 2], [2])

    run(story())


@pytest.mark.parametrize("point", ["after arrive", "before has_room", "after has_room"])
def test_what_comes_while_a_device_connects_is_told_to_it(point: str) -> None:
    async def story() -> None:
        async with counting() as world:

            async def publish() -> None:
                await world.publish("new")
                await world.settle()

            await world.publish("old")
            await world.settle()
            world.points.at_nth(point, 1, publish)
            client = await world.connect("ann")
            await world.second()
            assert told(client) == [2]

    run(story())


def test_a_user_in_two_roles_has_two_counts() -> None:
    async def story() -> None:
        async with counting() as world:
            world.verifier.identities["as-company"] = identity("ann", "company")
            freelance, company = await world.connect("ann"), await world.connect("as-company")
            await world.publish("1", to=Audience.role("company"))
            await world.second()
            await world.publish("2")
            await world.second()
            assert (told(freelance), told(company)) == ([1], [1, 2])

    run(story())


def test_who_has_gone_is_not_counted_for() -> None:
    async def story() -> None:
        async with counting() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            for number in range(2):
                await world.publish(str(number), to=EVERYONE)
                await world.settle()
            ann.disconnect()
            world.asked()
            await ann.wait_closed()
            world.clock.advance(1)
            assert await world.counts.announce(1) is False
            assert (told(ann), told(bob)) == ([1], [1, 2])
            bob.disconnect()
            await world.publish("2", to=EVERYONE)
            world.asked()
            await world.second()
            assert world.asked() == 0
            # Back again, nothing of before is added to.
            again = await world.connect("ann")
            await world.publish("3")
            await world.second()
            assert told(again) == [4]

    run(story())


def test_who_leaves_while_their_inbox_is_asked_is_no_error() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publish("1")
            await client.request("notification.read", {"ids": ["1"]})
            await world.publish("2")

            async def leave() -> None:
                client.disconnect()

            world.points.at_nth("before count", 1, leave)
            await world.second()
            assert client.closed
            assert told(await world.connect("ann")) == []

    run(story())


def test_what_changes_while_an_inbox_is_asked_is_told() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publish("1", "2", "3")
            await client.request("notification.read", {"ids": ["1"]})

            async def read() -> None:
                await client.request("notification.read", {"ids": ["2"]})
                await world.settle()

            world.points.at_nth("after count", 1, read)
            await world.second()
            await world.second()
            assert known(client) == await world.truth()

    run(story())


def test_many_are_told_a_few_at_a_time_and_nobody_is_left_out() -> None:
    async def story() -> None:
        async with counting() as world:
            users = [f"user-{number}" for number in range(5)]
            world.verifier.identities.update({user: identity(user) for user in users})
            clients = [await world.connect(user) for user in users]
            for number in range(2):
                await world.publish(str(number), to=EVERYONE)
                await world.settle()
            world.clock.advance(1)
            progress = []
            for _ in range(3):
                more = await world.counts.announce(2)
                progress.append((more, sum(len(told(client)) for client in clients)))
            assert progress == [(True, 5 + 2), (True, 5 + 4), (False, 5 + 5)]

    run(story())


def test_a_store_that_fails_makes_nobody_miss_their_counts() -> None:
    async def story() -> None:
        async with counting() as world:
            client = await world.connect("ann")
            await world.publish("1", "2")
            await client.request("notification.read", {"ids": ["1"]})

            async def fail() -> None:
                raise StoreUnavailable

            world.points.at_nth("before count", 1, fail)
            with pytest.raises(StoreUnavailable):
                await world.second()
            assert told(client) == [2]
            await world.second()
            assert told(client) == [2, 1]

    run(story())


def test_the_counts_are_the_truth_whatever_happens_between_two_announcements() -> None:
    """Each thing that can happen, after each other one, with an announcement between them or not."""

    async def happen(world: Counting, client: MemoryClient, what: str, number: int) -> None:
        match what:
            case "own":
                await world.publish(f"own-{number}")
            case "everyone":
                await world.publish(f"all-{number}", to=EVERYONE)
            case "expiring":
                expires_at = world.clock.now() + timedelta(seconds=1.5)
                await world.publishing.publish([publication(id=f"short-{number}", expires_at=expires_at)])
            case "read all":
                await client.request("notification.read_all")
            case "delete":
                await client.request("notification.delete", {"ids": [f"own-{n}" for n in range(number)]})
            case "late":
                await world.connect("ann")

    async def story(things: tuple[str, str], *, between: bool) -> None:
        async with counting() as world:
            await world.publish("own-0")
            client = await world.connect("ann")
            for number, what in enumerate(things * 2, 1):
                await happen(world, client, what, number)
                if between:
                    await world.second()
            await world.publish("last")
            await world.second()
            assert known(client) == await world.truth()

    every = ("own", "everyone", "expiring", "read all", "delete", "late")
    for one in every:
        for other in every:
            for between in (False, True):
                run(story((one, other), between=between))


def test_the_counts_of_a_user_are_kept_only_while_they_are_connected() -> None:
    async def story() -> None:
        async with counting() as world:
            clients = [await world.connect(user) for user in ("ann", "ann", "bob")]
            await world.publish("1", to=EVERYONE)
            await world.second()
            for client in clients:
                client.disconnect()
            kept = world.counts
            assert [kept._tallies, kept._by_subscription, kept._news, kept._due] == [{}] * 4
            assert len(kept._until) == len(kept._given_up_at) == 0
            assert world.connections.connections_of(UserId("ann")) == []

    run(story())
