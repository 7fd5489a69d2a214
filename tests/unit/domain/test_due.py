"""What is published for a time of its own, from the publisher to the connections."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.errors import InvalidPublication, NotificationRecalled, NotificationSent, UnknownNotification
from domain.model import (
    Amended,
    AmendedSchedule,
    Appended,
    Audience,
    Notification,
    Publication,
    PublishedNotification,
    ScheduledNotification,
)
from domain.policy import ConnectionPolicy
from domain.services.due import TOGETHER_SECONDS
from tests.doubles import START
from tests.in_time import in_time
from tests.unit.domain.world import World, ids, run

MINUTE = timedelta(minutes=1)


def shift(id_: str, due: datetime | None, ends: datetime | None = None) -> Publication:
    return Publication(Audience.user("ann"), "shift.begins", title="t", id=id_, expires_at=ends, deliver_at=due)


async def publish(world: World, *publications: Publication) -> list[Appended]:
    return list(await world.application.publishing.publish(publications))


def test_it_is_delivered_when_it_is_due() -> None:
    async def story() -> None:
        async with World().running() as world:
            due = world.application.due
            ann = await world.connect("ann")
            (appended,) = await publish(world, shift("a", START + MINUTE))
            assert appended.waits
            assert await due.deliver() == 1.0
            world.clock.advance(59.75)
            assert await due.deliver() == 0.25
            await world.settle()
            assert ids(ann) == []
            world.clock.advance(0.25)
            assert await due.deliver() == 1.0
            await world.settle()
            assert ids(ann) == ["a"]

    run(story())


def test_what_is_due_already_is_delivered_at_once() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")
            appended = await publish(world, shift("a", START), shift("b", START - MINUTE), shift("c", None))
            assert not any(one.waits for one in appended)
            await world.settle()
            assert ids(ann) == ["a", "b", "c"]

    run(story())


def test_whoever_waits_is_woken_for_what_is_due_earlier() -> None:
    async def story() -> None:
        async with World().running() as world:
            due = world.application.due
            woken: list[None] = []
            due.on_earlier(lambda: woken.append(None))
            for minutes, times in ((5, 1), (9, 1), (3, 2), (4, 2)):
                await publish(world, shift(f"n-{minutes}", START + minutes * MINUTE))
                assert len(woken) == times
                await due.deliver()
            # Of what was scheduled before nobody need be told again.
            await publish(world, shift("n-3", START + 3 * MINUTE))
            assert len(woken) == 2

    run(story())


def test_much_that_is_due_at_once_comes_in_turns() -> None:
    async def story() -> None:
        async with World().running() as world:
            due = world.application.due
            await publish(world, *(shift(f"n-{number}", START + MINUTE) for number in range(1200)))
            world.clock.advance(61)
            assert [await due.deliver() for _ in range(4)] == [0.0, 0.0, 1.0, 1.0]
            assert (await world.inbox.head()).offset == 1200

    run(story())


def test_what_is_due_right_after_waits_for_more() -> None:
    async def story() -> None:
        async with World().running() as world:
            due = world.application.due
            ann = await world.connect("ann")
            times = [START + MINUTE + number * timedelta(milliseconds=1) for number in range(8)]
            await publish(world, *(shift(f"n-{number}", time) for number, time in enumerate(times)))
            world.clock.advance(60.004)
            assert await due.deliver() == TOGETHER_SECONDS
            world.clock.advance(TOGETHER_SECONDS)
            assert await due.deliver() == 1.0
            await world.settle()
            assert ids(ann) == [f"n-{number}" for number in range(8)]

    run(story())


def test_nothing_is_late_while_it_is_counted_how_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with World().running() as world:
            due, counts = world.application.due, asyncio.Event()

            async def count() -> int:
                await counts.wait()
                return 1

            monkeypatch.setattr(world.inbox, "waiting", count)
            ann = await world.connect("ann")
            await publish(world, shift("a", START + MINUTE))
            counting = asyncio.create_task(due.count())
            world.clock.advance(60)
            await in_time(due.deliver(), 1)
            await world.settle()
            assert (ids(ann), counting.done()) == (["a"], False)
            counts.set()
            assert not await counting

    run(story())


def test_it_is_changed_and_cancelled_as_what_is_sent() -> None:
    async def story() -> None:
        async with World().running() as world:
            editing, reports = world.application.editing, world.application.reports
            ann = await world.connect("ann")
            await publish(world, shift("a", START + MINUTE), shift("b", START + MINUTE))
            report = await reports.report_of("a")
            assert isinstance(report.notification, ScheduledNotification)
            assert (report.notification.due, report.recipients) == (START + MINUTE, 1)
            assert await editing.revise("a", lambda one: replace(one, title="x")) == AmendedSchedule("a")
            assert await editing.recall("b") == AmendedSchedule("b")
            with pytest.raises(NotificationRecalled):
                await editing.recall("b")
            with pytest.raises(UnknownNotification):
                await editing.recall("c")
            world.clock.advance(60)
            await world.application.due.deliver()
            await world.settle()
            new: list[Any] = [arguments[0] for name, arguments in ann.events if name == "notification.new"]
            assert [(told["id"], told["title"]) for told in new] == [("a", "x")]
            assert isinstance((await reports.report_of("a")).notification, PublishedNotification)
            assert isinstance(await editing.revise("a", lambda one: replace(one, title="y")), Amended)
            assert isinstance(await editing.recall("a"), Amended)

    run(story())


def test_it_is_given_another_time_until_it_is_sent() -> None:
    async def story() -> None:
        async with World().running() as world:
            editing, due = world.application.editing, world.application.due
            ann = await world.connect("ann")
            woken: list[None] = []
            due.on_earlier(lambda: woken.append(None))
            await publish(world, shift("a", START + 5 * MINUTE), shift("b", START + 5 * MINUTE))
            await due.deliver()
            woken.clear()
            assert await editing.revise("b", lambda one: one, START + 9 * MINUTE) == AmendedSchedule("b")
            assert not woken
            await editing.revise("a", lambda one: replace(one, title="x"), START + MINUTE)
            assert len(woken) == 1
            world.clock.advance(60)
            await due.deliver()
            await world.settle()
            new: list[Any] = [arguments[0] for name, arguments in ann.events if name == "notification.new"]
            assert [(told["id"], told["title"], told["created_at"]) for told in new] == [
                ("a", "x", "2030-01-31T12:01:00.000Z")
            ]
            with pytest.raises(NotificationSent):
                await editing.revise("a", lambda one: replace(one, title="y"), START + 9 * MINUTE)
            # A time that has passed is now.
            await editing.revise("b", lambda one: one, START - MINUTE)
            await due.deliver()
            await world.settle()
            new = [arguments[0] for name, arguments in ann.events if name == "notification.new"]
            assert [(told["id"], told["created_at"]) for told in new[1:]] == [("b", "2030-01-31T12:01:00.000Z")]
            for id_, error in (("b", NotificationSent), ("c", UnknownNotification)):
                with pytest.raises(error):
                    await editing.revise(id_, lambda one: one, START)

    run(story())


def test_another_time_is_checked_as_the_first_one() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(schedule_ahead=9 * MINUTE)).running() as world:
            editing = world.application.editing
            await publish(world, shift("a", START + MINUTE, START + 5 * MINUTE))
            with pytest.raises(InvalidPublication, match="expires_at: must be after deliver_at"):
                await editing.revise("a", lambda one: one, START + 5 * MINUTE)
            with pytest.raises(
                InvalidPublication,
                match="deliver_at: must be within 9 minutes from now ",
            ):
                await editing.revise("a", lambda one: replace(one, expires_at=None), START + 10 * MINUTE)
            world.clock.advance(60)
            assert len((await world.inbox.deliver_due(world.clock.now(), 9)).late) == 1

    run(story())


@pytest.mark.parametrize("minutes", [0.5, 1])
def test_what_would_be_over_before_it_is_sent_is_refused(minutes: float) -> None:
    async def story() -> None:
        async with World().running() as world:
            ends = START + minutes * MINUTE
            with pytest.raises(InvalidPublication, match="expires_at: must be after deliver_at"):
                await publish(world, shift("a", START + MINUTE, ends))
            await publish(world, shift("a", START + MINUTE))

            def revise(one: Notification) -> Notification:
                return replace(one, expires_at=ends)

            with pytest.raises(InvalidPublication, match="expires_at: must be after deliver_at"):
                await world.application.editing.revise("a", revise)

    run(story())


def test_nothing_is_scheduled_for_too_far_ahead() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(schedule_ahead=2 * MINUTE)).running() as world:
            await publish(world, shift("a", START + 2 * MINUTE))
            with pytest.raises(
                InvalidPublication,
                match="deliver_at: must be within 2 minutes from now ",
            ):
                await publish(world, shift("b", START + 2 * MINUTE + timedelta(microseconds=1)))

    run(story())


def test_what_waits_beyond_a_limit_that_was_lowered_can_be_changed() -> None:
    async def story() -> None:
        policy = ConnectionPolicy(schedule_ahead=60 * MINUTE)
        async with World(policy=policy).running() as world:
            editing, due = world.application.editing, START + 30 * MINUTE
            await publish(world, shift("a", due))
            policy.become(ConnectionPolicy(schedule_ahead=10 * MINUTE))

            def revise(one: Notification) -> Notification:
                return replace(one, title="other")

            await editing.revise("a", revise)
            waiting = await world.inbox.scheduled("a")
            assert waiting is not None
            assert waiting.due == due
            assert waiting.payload is not None
            assert waiting.payload.count(b"other") == 1
            # Another time keeps to the limit, even the one that it has.
            for time in (due, START + 11 * MINUTE):
                with pytest.raises(InvalidPublication, match="deliver_at: must be within 10 minutes from now "):
                    await editing.revise("a", revise, time)
            with pytest.raises(InvalidPublication, match="expires_at: must be after deliver_at"):
                await editing.revise("a", lambda one: replace(one, expires_at=START + 20 * MINUTE))
            await editing.revise("a", revise, START + 10 * MINUTE)

    run(story())


def test_times_need_a_zone() -> None:
    with pytest.raises(InvalidPublication, match="deliver_at: must have a time zone"):
        ConnectionPolicy().check(shift("a", datetime(2030, 1, 1)))  # noqa: DTZ001 (that it has none is the point)


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(days=366), "366 days"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(days=366, seconds=1), "31622401 seconds"),
        (timedelta(milliseconds=1500), "1.5 seconds"),
    ],
)
def test_how_far_ahead_is_said_in_the_largest_unit(ahead: timedelta, words: str) -> None:
    assert ConnectionPolicy(schedule_ahead=ahead).ahead_rule == (
        f"must be within {words} from now (operators: limits.schedule_ahead)"
    )
