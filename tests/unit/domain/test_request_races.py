"""What happens in the middle of a client's request, tried at every point where something else can run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from itertools import count

import pytest

from adapters.transport.memory.client import MemoryClient
from domain.model import Answer, Failed, Listing, Refreshed
from domain.policy import ConnectionPolicy
from tests.unit.domain.interleaving import Gate, Points
from tests.unit.domain.world import World, closed, cursor, ids, is_empty, publication, run, until

BEFORE = ["1", "2", "3"]
REQUESTS: list[tuple[str, object]] = [
    ("inbox.list", None),
    ("inbox.count", None),
    ("notification.read", {"ids": ["1", "2"]}),
    ("notification.read", {"ids": ["of-nobody"]}),
    ("notification.read_all", None),
    ("notification.read_all", {"up_to": "e:99"}),
    ("auth.refresh", {"token": "ann"}),
]


async def asked(world: World, points: Points, request: tuple[str, object]) -> MemoryClient:
    """A live client that has asked and has its answer; the points are those of the request."""
    client = await world.connect("ann")
    await world.settle()
    points.passed.clear()
    await client.request(*request)
    return client


def points_of_request(request: tuple[str, object]) -> list[str]:
    async def story() -> list[str]:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            await world.publish(*BEFORE)
            await asked(world, points, request)
            await world.settle()
        return points.passed

    return run(story())


ASKING = [
    pytest.param(request, at, id=f"{request[0]} {request[1]}, {at} {point}")
    for request in REQUESTS
    for at, point in enumerate(points_of_request(request))
]


def test_the_points_cover_asking_from_the_hold_to_going_live_again() -> None:
    def calls(*names: str) -> list[str]:
        return [f"{when} {name}" for name in names for when in ("before", "after")]

    assert points_of_request(("inbox.list", None)) == calls("list_items")
    # The tail has not come so far: whether the user may still be sent it is looked up.
    reading = calls("change", "read", "restriction", "has_room")
    assert points_of_request(("notification.read", {"ids": ["1"]})) == reading


@pytest.mark.parametrize("lag", ["prompt tail", "late tail", "tail after the answer"])
@pytest.mark.parametrize(("request_", "at"), ASKING)
def test_the_answer_stands_between_what_is_at_or_before_it_and_what_is_after(
    request_: tuple[str, object], at: int, lag: str
) -> None:
    async def story() -> None:
        points = Points()
        world = World(seen_as=points.around, policy=ConnectionPolicy(replay_entries=1))
        gate = Gate.of(world.inbox)
        async with world.running():
            await world.publish(*BEFORE)
            before_the_answer: list[str] = []
            answers: list[Answer] = []

            async def publish() -> None:
                if lag == "tail after the answer":
                    gate.clear()
                await world.publish("new")
                if lag == "prompt tail":
                    await world.settle()

            def look(answer: Answer) -> None:
                answers.append(answer)
                before_the_answer.extend(cursors(client))

            points.when_answered = look
            client = await world.connect("ann")
            await world.settle()
            points.passed.clear()
            points.at, points.action = at, publish
            await client.request(*request_)
            # What follows the answer may still be on its way.
            await until_idle(points)
            if points.action is not None:
                await points.action()
            gate.set()
            await world.publish("last")
            await world.settle()
            assert ids(client) == [*BEFORE, "new", "last"]
            (answer,) = answers
            every = cursors(client)
            assert every == [f"e:{offset}" for offset in range(1, len(every) + 1)]
            if isinstance(answer, Failed | Refreshed):
                assert every[: len(before_the_answer)] == before_the_answer
            else:
                assert before_the_answer == every[: answer.as_of.offset]

    run(story())


def cursors(client: MemoryClient) -> list[str]:
    return [cursor(event) for event in client.events if event[0].startswith("notification.")]


def heard(client: MemoryClient) -> list[tuple[str, str]]:
    """Ids and titles."""
    return [
        (argument["id"], argument["title"])
        for name, arguments in client.events
        if name in {"notification.new", "notification.revised"} and isinstance(argument := arguments[0], dict)
    ]


async def until_idle(points: Points) -> None:
    """Until no further points are passed."""
    seen = -1

    async def idle() -> bool:
        nonlocal seen
        before, seen = seen, len(points.passed)
        return before == seen

    for _ in range(3):
        await until(idle)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("request_", "at"), ASKING)
def test_a_client_that_leaves_while_asking_leaves_nothing(request_: tuple[str, object], at: int) -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            await world.publish(*BEFORE)
            client = await world.connect("ann")
            await world.settle()

            async def leave() -> None:
                client.disconnect()

            points.passed.clear()
            points.at, points.action = at, leave
            client.send(*request_)
            await closed(client)
            await world.settle()
            assert is_empty(world)
            assert (await world.connect("ann")).connected

    run(story())


@pytest.mark.parametrize("page", [1, 500])
def test_nothing_older_comes_behind_what_was_revised_while_it_was_listed(page: int) -> None:
    versions = ["0", "1", "2"]

    async def asking(published_at: int, revised_after: int) -> int:
        """How many points there were."""
        points = Points()
        policy = ConnectionPolicy(replay_entries=page)
        async with World(policy=policy, seen_as=points.around).running() as world:
            gate = Gate.of(world.inbox)
            ann = await world.connect("ann")
            seen: dict[str, list[str]] = {"a": [], "b": []}

            def look(answer: Answer) -> None:
                assert isinstance(answer, Listing)
                hear()
                for item in answer.items:
                    one = json.loads(item.payload)
                    seen[one["id"]].append(one["title"])

            def hear() -> None:
                for id_, title in heard(ann):
                    seen[id_].append(title)
                ann.events.clear()

            async def revise(version: str) -> None:
                await world.application.editing.revise("a", lambda one: replace(one, title=version))

            async def publish() -> None:
                # As with a log that others write to: the tail has not come so far.
                gate.clear()
                await world.publishing.publish([publication(id=id_, title="0") for id_ in seen])
                points.at, points.action = len(points.passed) - 1 + revised_after, revise_once

            async def revise_once() -> None:
                await revise("1")
                points.at, points.action = len(points.passed) + 1, partial(revise, "2")

            points.when_answered = look
            points.passed.clear()
            points.at, points.action = published_at, publish
            await ann.request("inbox.list", None)
            await until_idle(points)
            gate.set()
            await world.settle()
            hear()
            assert all(titles == sorted(titles, key=versions.index) for titles in seen.values()), seen
            if points.action is None:
                assert seen["a"][-1] == "2"
            return len(points.passed)

    for published_at in range(run(asking(0, 10_000))):
        for revised_after in range(1, 12):
            run(asking(published_at, revised_after))


def test_what_is_revised_whenever_it_is_listed_is_not_listed_for_ever() -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:
            gate = Gate.of(world.inbox)
            ann = await world.connect("ann")
            answers: list[Answer] = []
            versions = count(1)

            async def revise() -> None:
                points.at_nth("after list_items", 1, revise)
                title = str(next(versions))
                await world.application.editing.revise("a", lambda one: replace(one, title=title))

            async def publish() -> None:
                gate.clear()
                await world.publishing.publish([publication(id="a", title="0")])
                points.at_nth("after list_items", 1, revise)

            points.when_answered = answers.append
            points.at_nth("before list_items", 1, publish)
            await ann.request("inbox.list", None)
            await until_idle(points)
            gate.set()
            await world.settle()
            (answer,) = answers
            assert isinstance(answer, Failed)
            assert answer.problem.retryable
            assert set(heard(ann)) == {("a", str(next(versions) - 1))}

    run(story())
