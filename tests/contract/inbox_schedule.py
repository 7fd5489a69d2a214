"""What is published for a time of its own: nobody has it before, and then everybody has it once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.contract.events import notification_json
from domain.errors import NotificationRecalled, TooManyScheduled, UnknownNotification
from domain.model import (
    EVERYONE,
    AppendOutcome,
    Audience,
    Counts,
    Draft,
    Notification,
    Position,
    Room,
)
from domain.ports import Revise
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    CONFLICT,
    DUPLICATE,
    HOUR,
    STORED,
    Following,
    OpenedStore,
    OpenStore,
    at,
    draft,
    entries_of,
    ids_of,
    outcomes,
    pass_time,
    register,
)
from tests.doubles import START, ManualClock

MINUTE = timedelta(minutes=1)


def later(
    id_: str, due: datetime, *rooms: Room, key: str | None = None, title: str = "t", ends: datetime | None = None
) -> Draft:
    """One that waits, as the policy makes it."""
    one = draft(id_, *rooms, key=key, title=title, created_at=due, expires_at=ends)
    return replace(one, deliver_at=due, waits=True)


def for_time(due: datetime, title: str = "t") -> Revise:
    return lambda one: replace(one, created_at=due, title=title)


async def deliver(inbox: OpenedStore, now: datetime, most: int = 500) -> int:
    """All that is due by then."""
    number = 0
    while came := (await inbox.deliver_due(now, most)).late:
        number += len(came)
    return number


class ScheduleContract:
    async def test_what_waits_is_not_in_the_log(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        (appended,) = await inbox.append([later("a", START + HOUR)])
        assert (appended.outcome, appended.id, appended.waits) == (STORED, "a", True)
        assert await inbox.head() == start
        assert await ids_of(inbox, ann) == []
        assert (await inbox.count(ann)).counts == Counts(0, 0, 0)
        assert await inbox.waiting() == 1
        assert await deliver(inbox, START + HOUR - timedelta(microseconds=1)) == 0
        assert await inbox.head() == start

    async def test_it_comes_when_it_is_due(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        following = Following(inbox, start)
        ends = START + 3 * HOUR
        waiting = later("a", START + HOUR, ANN, COMPANY, ends=ends)
        await inbox.append([waiting])
        await inbox.append([draft("b")])
        clock.advance(3600 + 2)
        due = await inbox.deliver_due(clock.now(), 10)
        assert ([*due.late], due.next) == ([2.0], None)
        await following.until(start.offset + 2)
        entry = following.entries[-1]
        assert (entry.event, entry.expires_at) == ("notification.new", ends)
        assert entry.rooms == {ANN, COMPANY}
        assert entry.payload == notification_json(waiting.notification)
        assert json.loads(entry.payload)["created_at"] == "2030-01-31T13:00:00.000Z"
        assert await ids_of(inbox, ann) == ["a", "b"]
        assert (await inbox.count(ann)).counts == Counts(2, 2, 2)
        assert await inbox.waiting() == 0
        assert await deliver(inbox, clock.now()) == 0
        assert await inbox.head() == at(start, 2)

    async def test_the_first_that_is_due_comes_first(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        order = {"c": 3, "a": 1, "d": 3, "b": 2, "e": 9}
        await inbox.append([later(id_, START + number * MINUTE) for id_, number in order.items()])
        due = await inbox.deliver_due(START + 5 * MINUTE, 2)
        assert (len(due.late), due.next) == (2, START + 3 * MINUTE)
        assert await ids_of(inbox, ann) == ["b", "a"]
        due = await inbox.deliver_due(START + 5 * MINUTE, 10)
        assert (len(due.late), due.next) == (2, START + 9 * MINUTE)
        assert await ids_of(inbox, ann) == ["d", "c", "b", "a"]

    async def test_what_is_next_is_said_where_nothing_is_due(self, inbox: OpenedStore) -> None:
        assert (await inbox.deliver_due(START, 10)).next is None
        await inbox.append([later("a", START + 2 * HOUR), later("b", START + HOUR)])
        assert (await inbox.deliver_due(START, 10)).next == START + HOUR
        await inbox.cancel("b")
        assert (await inbox.deliver_due(START, 10)).next == START + 2 * HOUR

    async def test_a_batch_holds_some_of_both(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        appended = await inbox.append(
            [draft("a"), later("b", START + HOUR), draft("c"), later("d", START + HOUR, EVERYONE)]
        )
        assert outcomes(appended) == [STORED] * 4
        assert [one.waits for one in appended] == [False, True, False, True]
        assert [one.position for one in appended if not one.waits] == [at(start, 1), at(start, 2)]
        assert await ids_of(inbox, ann) == ["c", "a"]
        assert await deliver(inbox, START + HOUR) == 2
        assert await ids_of(inbox, ann) == ["d", "b", "c", "a"]

    async def test_ids_and_keys_are_taken_from_the_beginning(self, inbox: OpenedStore) -> None:
        due = START + HOUR
        await inbox.append([later("a", due, key="k")])
        again = [later("a", due, key="k"), later("a", due, key="k", title="other"), draft("a"), draft("b", key="k")]
        for one, outcome in zip(again, (DUPLICATE, CONFLICT, CONFLICT, CONFLICT), strict=True):
            (appended,) = await inbox.append([one])
            assert (appended.outcome, appended.id, appended.waits) == (outcome, "a", True)
        assert await inbox.waiting() == 1
        start = await inbox.head()
        assert await deliver(inbox, due) == 1
        for one, outcome in zip(again, (DUPLICATE, CONFLICT, CONFLICT, CONFLICT), strict=True):
            (appended,) = await inbox.append([one])
            assert (appended.outcome, appended.id, appended.waits) == (outcome, "a", False)
            assert appended.position == at(start, 1)
        # By then it is due at once: it is still the same.
        (late,) = await inbox.append([replace(again[0], waits=False)])
        assert (late.outcome, late.position) == (DUPLICATE, at(start, 1))

    async def test_for_another_time_it_is_another_one(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + HOUR)])
        assert outcomes(await inbox.append([later("a", START + 2 * HOUR)])) == [CONFLICT]

    async def test_all_or_nothing_is_for_both(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + HOUR), draft("b")])
        head = await inbox.head()
        batch = [
            later("c", START + HOUR),
            later("c", START + HOUR),
            later("a", START + HOUR),
            draft("d"),
            draft("b", title="other"),
        ]
        withheld = AppendOutcome.WITHHELD
        kept_out = await inbox.append(batch, all_or_nothing=True)
        assert outcomes(kept_out) == [withheld, withheld, DUPLICATE, withheld, CONFLICT]
        assert (await inbox.head(), await inbox.waiting()) == (head, 1)
        assert outcomes(await inbox.append(batch[:4], all_or_nothing=True)) == [STORED, DUPLICATE, DUPLICATE, STORED]
        assert await inbox.waiting() == 2

    async def test_no_more_wait_than_may(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(scheduled_most=3)
        await inbox.append([later("a", START + HOUR), later("b", START + HOUR), draft("c")])
        start = await inbox.head()
        for all_or_nothing in (True, False):
            with pytest.raises(TooManyScheduled):
                await inbox.append(
                    [draft("d"), later("e", START + HOUR), later("f", START + HOUR)], all_or_nothing=all_or_nothing
                )
        assert (await inbox.head(), await inbox.waiting()) == (start, 2)
        # What waits already is no more.
        assert outcomes(await inbox.append([later("a", START + HOUR), later("e", START + HOUR)])) == [DUPLICATE, STORED]
        with pytest.raises(TooManyScheduled):
            await inbox.append([later("g", START + HOUR)])
        assert outcomes(await inbox.append([later("a", START + HOUR), draft("d")])) == [DUPLICATE, STORED]

    async def test_there_is_room_again_for_each_that_waits_no_more(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(scheduled_most=2)
        await inbox.append([later("a", START + HOUR), later("b", START + 2 * HOUR)])
        await inbox.revise_scheduled("b", for_time(START + 3 * HOUR), START)
        for id_ in ("c", "d", "e"):
            with pytest.raises(TooManyScheduled):
                await inbox.append([later(id_, START + 9 * HOUR)])
            assert await inbox.waiting() == 2
            if id_ == "c":
                await inbox.cancel("b")
            elif id_ == "d":
                await inbox.deliver_due(START + HOUR, 9)
            else:
                break
            assert await inbox.waiting() == 1
            await inbox.append([later(id_, START + 9 * HOUR)])

    async def test_of_many_at_once_as_many_wait_as_may(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(scheduled_most=20)
        start = await inbox.head()
        batches = [[later(f"n-{number}-{each}", START + HOUR) for each in range(3)] for number in range(20)]
        done = await asyncio.gather(
            *(inbox.append(batch) for batch in batches),
            *(inbox.append([draft(f"m-{number}")]) for number in range(20)),
            return_exceptions=True,
        )
        refused = [one for one in done if isinstance(one, BaseException)]
        assert (len(refused), {type(one) for one in refused}) == (14, {TooManyScheduled})
        assert (await inbox.waiting(), (await inbox.head()).offset) == (18, start.offset + 20)
        await deliver(inbox, START + HOUR)
        assert await inbox.waiting() == 0

    async def test_what_waits_is_shown(self, inbox: OpenedStore) -> None:
        one = later("a", START + HOUR, ANN, BOB)
        await inbox.append([one, later("b", START + HOUR, EVERYONE)])
        shown = await inbox.scheduled("a")
        assert shown is not None
        assert (shown.id, shown.due, shown.audience) == ("a", START + HOUR, Audience.users(["ann", "bob"]))
        assert shown.payload == notification_json(one.notification)
        assert await inbox.published("a") is None
        assert await inbox.scheduled("c") is None
        await deliver(inbox, START + HOUR)
        assert await inbox.scheduled("a") is None
        assert await inbox.published("a") is not None

    async def test_it_is_cancelled(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([later("a", START + HOUR, key="k"), later("b", START + HOUR)])
        await inbox.cancel("a")
        assert await inbox.waiting() == 1
        for id_, error in (("a", NotificationRecalled), ("c", UnknownNotification)):
            with pytest.raises(error):
                await inbox.cancel(id_)
            with pytest.raises(error):
                await inbox.revise_scheduled(id_, lambda one: replace(one, title="x"), START)
        assert await deliver(inbox, START + HOUR) == 1
        assert await inbox.head() == at(start, 1)
        assert await ids_of(inbox, ann) == ["b"]
        # Whoever publishes it again as its answer was lost does not bring it back.
        assert outcomes(await inbox.append([later("a", START + HOUR, key="k")])) == [DUPLICATE]
        assert outcomes(await inbox.append([draft("a")])) == [CONFLICT]
        assert await deliver(inbox, START + HOUR) == 0

    async def test_of_what_was_cancelled_all_but_its_content_is_shown(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + HOUR, ANN, BOB), later("b", START + HOUR, COMPANY)])
        for id_ in ("a", "b"):
            await inbox.cancel(id_)
        await deliver(inbox, START + HOUR)
        for id_, rooms in (("a", {ANN, BOB}), ("b", {COMPANY})):
            shown = await inbox.scheduled(id_)
            assert shown is not None
            assert (shown.due, shown.payload) == (START + HOUR, None)
            assert shown.audience.rooms == rooms
            assert await inbox.published(id_) is None

    async def test_its_id_is_taken_as_long_as_one_in_the_log(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        await inbox.append([later("a", START + 9 * HOUR, key="k")])
        await inbox.cancel("a")
        await pass_time(inbox, clock, MINUTE * 59)
        assert outcomes(await inbox.append([later("a", START + 9 * HOUR, key="k")])) == [DUPLICATE]
        assert await inbox.scheduled("a") is not None
        await pass_time(inbox, clock, MINUTE * 2)
        assert await inbox.scheduled("a") is None
        assert outcomes(await inbox.append([later("a", START + 9 * HOUR, key="k")])) == [STORED]

    async def test_it_is_given_other_content(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        await inbox.append([later("a", START + HOUR, ends=START + 5 * HOUR)])

        def revise(one: Notification) -> Notification:
            assert (one.title, one.created_at) == ("t", START + HOUR)
            return replace(one, title="other", expires_at=START + 2 * HOUR)

        await inbox.revise_scheduled("a", revise, START)
        assert await inbox.head() == start
        shown = await inbox.scheduled("a")
        assert shown is not None
        assert shown.payload is not None
        assert json.loads(shown.payload)["title"] == "other"
        assert "revised_at" not in json.loads(shown.payload)
        await deliver(inbox, START + HOUR)
        await following.until(start.offset + 1)
        (entry,) = following.entries
        assert (entry.expires_at, json.loads(entry.payload)["title"]) == (START + 2 * HOUR, "other")
        assert outcomes(await inbox.append([later("a", START + HOUR, ends=START + 5 * HOUR)])) == [DUPLICATE]

    async def test_it_is_given_another_time(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([later(id_, START + HOUR) for id_ in ("a", "b", "c")])
        await inbox.revise_scheduled("a", for_time(START + 3 * HOUR, title="x"), START)
        await inbox.revise_scheduled("c", for_time(START + MINUTE), START)
        shown = await inbox.scheduled("a")
        assert shown is not None
        assert (shown.due, await inbox.waiting()) == (START + 3 * HOUR, 3)
        assert (await inbox.deliver_due(START + MINUTE, 10)).next == START + HOUR
        assert await ids_of(inbox, ann) == ["c"]
        assert (await inbox.deliver_due(START + 2 * HOUR, 10)).next == START + 3 * HOUR
        assert await ids_of(inbox, ann) == ["b", "c"]
        assert await deliver(inbox, START + 3 * HOUR) == 1
        told = [json.loads(entry.payload) for entry in await entries_of(inbox, ann, start)]
        assert {one["id"]: (one["title"], one["created_at"]) for one in told} == {
            "c": ("t", "2030-01-31T12:01:00.000Z"),
            "b": ("t", "2030-01-31T13:00:00.000Z"),
            "a": ("x", "2030-01-31T15:00:00.000Z"),
        }
        # It is still what was published.
        assert outcomes(await inbox.append([later("a", START + HOUR)])) == [DUPLICATE]
        assert outcomes(await inbox.append([later("a", START + 3 * HOUR, title="x")])) == [CONFLICT]

    async def test_put_off_and_back_it_comes_once(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([later("a", START + HOUR), later("b", START + HOUR)])
        for due in (2 * HOUR, HOUR, 3 * HOUR, HOUR):
            await inbox.revise_scheduled("a", for_time(START + due), START)
        assert await deliver(inbox, START + 9 * HOUR) == 2
        assert await inbox.head() == at(start, 2)
        assert (await inbox.waiting(), (await inbox.deliver_due(START + 9 * HOUR, 10)).next) == (0, None)

    async def test_due_and_put_off_at_once(self, inbox: OpenedStore) -> None:
        """Whichever comes first, it comes once, and at the time that was promised."""
        start = await inbox.head()
        following = Following(inbox, start)
        promised: dict[str, datetime] = {}
        for number in range(30):
            id_ = f"n-{number}"
            await inbox.append([later(id_, START + HOUR)])
            _, put_off = await asyncio.gather(
                inbox.deliver_due(START + HOUR, 10),
                inbox.revise_scheduled(id_, for_time(START + 2 * HOUR), START),
                return_exceptions=True,
            )
            assert put_off is None or isinstance(put_off, UnknownNotification)
            promised[id_] = START + HOUR if put_off is not None else START + 2 * HOUR
        await deliver(inbox, START + HOUR)
        assert (await inbox.head()).offset - start.offset == sum(due == START + HOUR for due in promised.values())
        await deliver(inbox, START + 2 * HOUR)
        await following.until(start.offset + 30)
        told = [json.loads(entry.payload) for entry in following.entries]
        assert len(told) == 30
        assert {one["id"]: datetime.fromisoformat(one["created_at"]) for one in told} == promised

    async def test_what_revise_raises_keeps_it_as_it_is(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + HOUR)])

        def revise(one: Notification) -> Notification:
            raise NotificationRecalled

        with pytest.raises(NotificationRecalled):
            await inbox.revise_scheduled("a", revise, START)
        assert await deliver(inbox, START + HOUR) == 1

    async def test_what_has_come_is_revised_and_recalled_as_any_other(self, inbox: OpenedStore) -> None:
        await inbox.append([later("a", START + HOUR)])
        await deliver(inbox, START + HOUR)
        with pytest.raises(UnknownNotification):
            await inbox.cancel("a")
        with pytest.raises(UnknownNotification):
            await inbox.revise_scheduled("a", lambda one: one, START)
        await inbox.revise("a", lambda one: replace(one, title="x"), START)
        await inbox.recall("a")

    async def test_due_and_cancelled_at_once(self, inbox: OpenedStore) -> None:
        """Whichever comes first, it is one of both."""
        start = await inbox.head()
        cancelled = 0
        for number in range(30):
            id_ = f"n-{number}"
            await inbox.append([later(id_, START + HOUR)])
            done = await asyncio.gather(inbox.deliver_due(START + HOUR, 10), inbox.cancel(id_), return_exceptions=True)
            cancelled += done[1] is None
        await deliver(inbox, START + HOUR)
        assert (await inbox.head()).offset == start.offset + 30 - cancelled

    async def test_of_many_who_deliver_at_once_each_is_brought_by_one(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        following = Following(inbox, start)
        ids = [f"n-{number}" for number in range(300)]
        await inbox.append([later(id_, START + HOUR, ANN if number % 2 else BOB) for number, id_ in enumerate(ids)])
        came = await asyncio.gather(*(inbox.deliver_due(START + HOUR, 20) for _ in range(20)))
        assert sum(len(one.late) for one in came) == 300
        assert (await inbox.head()).offset == start.offset + 300
        await following.until(start.offset + 300)
        assert [json.loads(entry.payload)["id"] for entry in following.entries] == ids

    async def test_one_for_thousands_comes_alone(self, inbox: OpenedStore) -> None:
        rooms = [Room.of_user(f"user-with-a-rather-long-name-of-many-characters-{number}") for number in range(10_000)]
        await inbox.append([later(f"n-{number}", START + HOUR, *rooms) for number in range(6)])
        first = await inbox.deliver_due(START + HOUR, 500)
        assert 1 <= len(first.late) < 6
        assert await deliver(inbox, START + HOUR) == 6 - len(first.late)

    async def test_a_cursor_of_before_reaches_what_came_since(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        start = await inbox.head()
        await inbox.append([later("a", START + HOUR), draft("b")])
        seen = Position(start.epoch, start.offset + 1)
        await deliver(inbox, START + HOUR)
        page = await inbox.read(ann, seen, max_entries=10, max_bytes=1 << 20)
        assert [json.loads(entry.payload)["id"] for entry in page.entries] == ["a"]
