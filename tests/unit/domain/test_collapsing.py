"""What is sent of a notification that takes the place of others, by what a connection was given before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.delivery.reach import Reach
from domain.delivery.revisions import Revisions
from domain.model import (
    EVERYONE,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Entry,
    Json,
    Position,
    Room,
)
from domain.rules.collapsing import earlier_of, is_own, is_reached
from tests.doubles import START
from tests.unit.domain.world import World, publication, run

ANN, COMPANY = Room("user:ann"), Room("role:company")
END = 1000


def entry(offset: int, *rooms: Room, event: str = NOTIFICATION_NEW, key: str | None = "k", **members: Any) -> Entry:
    return Entry(Position("e", offset), frozenset(rooms or (ANN,)), event, Json(b"{}"), collapse_key=key, **members)


def revisions(after: int = 0, **starts: int) -> Revisions:
    reach = Reach()
    reach.starts = {ANN: 0} | {Room(room): start for room, start in starts.items()}
    of_one = Revisions(reach)
    of_one.begin(after)
    return of_one


def events(of_one: Revisions, *entries: Entry, upto: int = END) -> list[str | None]:
    sent = [of_one.sent_for(one, upto) for one in entries]
    return [one.event.removeprefix("notification.") if one is not None else None for one in sent]


@pytest.mark.parametrize(("after", "expected"), [(0, "new"), (2, "new"), (3, "revised"), (4, "revised")])
def test_in_a_replay_it_revises_what_lies_before_it(after: int, expected: str) -> None:
    assert events(revisions(after), entry(5, follows=3)) == [expected]


def test_one_with_nothing_before_it_is_new() -> None:
    assert events(revisions(4), entry(5), entry(6, key=None)) == ["new", "new"]


def test_what_was_given_in_the_replay_counts() -> None:
    assert events(revisions(0), entry(5), entry(7, follows=5), entry(8, follows=2, key="l")) == [
        "new",
        "revised",
        "new",
    ]


def test_what_was_left_to_a_revision_does_not() -> None:
    revision = entry(9, event=NOTIFICATION_REVISED, about=5)
    assert events(revisions(0), entry(5, revised=9), revision) == [None, "new"]
    assert events(revisions(3), entry(5, revised=9, follows=3), revision) == [None, "revised"]


def test_behind_a_pause_what_came_before_it_counts() -> None:
    of_one = revisions(0)
    assert events(of_one, entry(5, follows=2)) == ["new"]
    of_one.begin(6)
    assert events(of_one, entry(8, follows=5)) == ["revised"]


def test_of_the_tail_it_is_said_by_rooms() -> None:
    of_one = revisions(0, everyone=10)
    assert events(
        of_one,
        entry(20, earlier={EVERYONE: 10}),
        entry(21, earlier={EVERYONE: 11}),
        entry(22, earlier={ANN: 1}),
        entry(23, earlier={COMPANY: 15}),
        upto=0,
    ) == ["new", "revised", "revised", "new"]


def test_a_revision_of_what_has_a_later_one_is_not_sent() -> None:
    of_one = revisions(0, everyone=10)
    revised = [
        entry(30, EVERYONE, event=NOTIFICATION_REVISED, about=20, later=later) for later in ({ANN: 25}, {}, None)
    ]
    assert events(of_one, *revised) == [None, "revised", "revised"]


@pytest.mark.parametrize(("after", "is_told"), [(0, False), (2, False), (3, True), (4, True)])
def test_whoever_has_one_is_told_that_what_took_its_place_is_over(after: int, is_told: bool) -> None:  # noqa: FBT001
    one = entry(5, follows=3, over=Json(b"over"), expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    told = revisions(after).sent_for_expired(one)
    assert (told is not None) == is_told
    if told is not None:
        assert (told.event, told.payload, told.expires_at, told.position) == (
            NOTIFICATION_DELETED,
            b"over",
            None,
            one.position,
        )


def test_whoever_is_told_nothing_of_one_is_told_that_what_it_replaced_is_gone() -> None:
    async def story() -> None:
        async with World().running() as world:

            async def publish(id_: str, ends: datetime | None = None) -> None:
                await world.publishing.publish([publication(id=id_, collapse_key="k", expires_at=ends)])
                await world.settle()

            gone = ("notification.deleted", {"ids": ["b"], "by": "publisher", "collapse_key": "k"})
            ann = await world.connect("ann")
            await publish("a")
            # Over before its turn, as nobody waits for what has expired.
            await publish("b", START - timedelta(minutes=1))
            assert (ann.events[-1][0], ann.events[-1][1][0]) == gone
            for begins, events in (("e:1", [gone]), ("e:0", [])):
                back = await world.connect("ann", cursor=begins)
                assert [(name, said[0]) for name, said in back.events if name.startswith("notification.")] == events

    run(story())


def test_of_what_took_no_place_and_is_over_nobody_is_told() -> None:
    assert revisions(9).sent_for_expired(entry(5, follows=3)) is None
    assert revisions(9).sent_for_expired(entry(5)) is None


def test_what_lies_at_the_start_is_not_reached() -> None:
    assert not is_reached({EVERYONE: 5}, {EVERYONE: 5})
    assert is_reached({EVERYONE: 6, COMPANY: 1}, {EVERYONE: 5})
    assert not is_reached({COMPANY: 6}, {EVERYONE: 5})
    assert not is_reached({}, {EVERYONE: 5})


def test_where_too_many_have_one_everybody_is_taken_to() -> None:
    assert earlier_of(9, [EVERYONE], {ANN: 3}, is_all=True) == {ANN: 3}
    assert earlier_of(9, [EVERYONE], {ANN: 3}, is_all=False) == {EVERYONE: 8, ANN: 3}


def test_rooms_of_users_are_their_own() -> None:
    assert is_own(ANN)
    assert not is_own(EVERYONE)
    assert not is_own(Room.of_role("user:"))
