"""What users snooze: gone on every device, and new once more on each when it is back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from adapters.transport.memory.client import MemoryClient
from domain.model import Audience
from domain.policy import ConnectionPolicy
from tests.doubles import START
from tests.unit.domain.world import World, cursor, ids, names, run


def iso(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def ask(client: MemoryClient, event: str, argument: object = None) -> dict[str, Any]:
    answer = await client.request(event, argument)
    assert isinstance(answer, dict)
    return answer


def changes(client: MemoryClient) -> list[Any]:
    return [arguments[0] for name, arguments in client.events if name == "notification.updated"]


async def come_due(world: World, seconds: float) -> None:
    world.clock.advance(seconds)
    await world.application.due.deliver()
    await world.settle()


def test_it_is_gone_and_comes_back_on_every_device() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, other, bob = [await world.connect(user) for user in ("ann", "ann", "bob")]
            await world.publish("1", "2", to=Audience.everyone())
            await world.settle()
            told = await ask(ann, "notification.snooze", {"ids": ["1"], "until": iso(60)})
            assert (told["changed"], told["counts"]) == (1, {"unread": 1, "unseen": 1, "total": 1})
            await world.settle()
            for device in (ann, other):
                assert changes(device) == [{"ids": ["1"], "change": {"snoozed_until": iso(60)}}]
            assert [item["id"] for item in (await ask(ann, "inbox.list"))["items"]] == ["2"]
            await come_due(world, 59)
            await world.counts.announce(100)
            assert ann.events[-1] == ("inbox.counts", ({"unread": 1, "unseen": 1, "total": 1},))
            assert ids(ann) == ["1", "2"]
            await come_due(world, 1)
            for device in (ann, other):
                assert ids(device) == ["1", "2", "1"]
            assert ids(bob) == ["1", "2"]
            assert changes(bob) == []
            assert [item["id"] for item in (await ask(other, "inbox.list"))["items"]] == ["1", "2"]
            world.clock.advance(1.001)
            await world.counts.announce(100)
            assert ann.events[-1] == ("inbox.counts", ({"unread": 2, "unseen": 2, "total": 2},))

    run(story())


def test_who_was_away_is_given_it_once_from_wherever_they_come() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(replay_entries=1)).running() as world:
            ann = await world.connect("ann")
            await world.publish("1", "2")
            await world.settle()
            await ask(ann, "notification.snooze", {"ids": ["1"], "until": iso(60)})
            await come_due(world, 60)
            back = cursor(next(event for event in reversed(ann.events) if event[0] == "notification.new"))
            assert back == "e:4"
            for after, expected in ((0, ["2", "1"]), (1, ["2", "1"]), (2, ["1"]), (3, ["1"]), (4, [])):
                client = await world.connect("ann", cursor=f"e:{after}")
                assert ids(client) == expected, after
            listed = await ask(client, "inbox.list", {"limit": 1})
            assert ([item["id"] for item in listed["items"]], listed["next"]) == (["1"], "4")
            rest = await ask(client, "inbox.list", {"page": listed["next"]})
            assert [item["id"] for item in rest["items"]] == ["2"]

    run(story())


def test_what_is_taken_back_as_it_comes_back_is_sent_to_nobody() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")
            await world.publish("1")
            await world.settle()
            await ask(ann, "notification.snooze", {"ids": ["1"], "until": iso(60)})
            world.clock.advance(60)
            await world.application.due.deliver()
            await world.application.editing.recall("1")
            await world.settle()
            assert [name for name in names(ann) if name.startswith("notification.")] == [
                "notification.new",
                "notification.updated",
                "notification.deleted",
            ]

    run(story())


def test_a_wrong_time_is_refused() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(schedule_ahead=timedelta(hours=1))).running() as world:
            ann = await world.connect("ann")
            await world.publish("1")
            for until in (None, "tomorrow", 5, iso(3601)):
                answer = await ask(ann, "notification.snooze", {"ids": ["1"], "until": until})
                assert answer["error"]["code"] == "invalid_argument"
                assert answer["error"]["detail"].startswith("until: ")
            assert (
                answer["error"]["detail"] == "until: must be within 1 hour from now (operators: limits.schedule_ahead)"
            )
            assert (await ask(ann, "notification.snooze", {"ids": ["1"], "until": iso(3600)}))["ok"]
            assert (await ask(ann, "notification.snooze", {"ids": ["1"], "until": iso(-5)}))["changed"] == 1

    run(story())


def test_whoever_waits_is_woken_for_it() -> None:
    async def story() -> None:
        async with World().running() as world:
            woken: list[None] = []
            world.application.due.on_earlier(lambda: woken.append(None))
            ann = await world.connect("ann")
            await world.publish("1")
            await ask(ann, "notification.snooze", {"ids": ["1"], "until": iso(60)})
            assert woken
            assert await world.application.due.deliver() == 1.0
            world.clock.advance(59.5)
            assert await world.application.due.deliver() == 0.5

    run(story())
