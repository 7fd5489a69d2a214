"""For whom notifications are, in every store, and how they stand with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from adapters.contract.events import notification_json
from domain.model import (
    EVERYONE,
    Action,
    Audience,
    DeliveriesQuery,
    InboxQuery,
    NotificationState,
    Position,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    Room,
    Tally,
    UserId,
)
from domain.ports import Store
from domain.rules.recipients import NOBODY, tally_of, together
from tests.contract.inbox_harness import (
    ADMIN,
    ANN,
    BOB,
    COMPANY,
    HOUR,
    OpenedStore,
    OpenStore,
    arrival,
    draft,
    pass_time,
    register,
)
from tests.doubles import START, ManualClock

CREW = 5100
"""More than are counted at once."""


async def published(inbox: Store, id_: str) -> PublishedNotification:
    found = await inbox.published(id_)
    assert found is not None
    return found


async def recipients_of(inbox: Store, id_: str, limit: int = 100) -> list[Recipient]:
    """All of them, by page; and what is counted is what is listed."""
    notification = await published(inbox, id_)
    found: list[Recipient] = []
    place: RecipientPlace | None = None
    while True:
        page = await inbox.recipients(notification, place, limit)
        found += page.recipients
        if page.next is None:
            break
        assert len(page.recipients) == limit
        place = page.next
    assert await tally(inbox, id_) == tally_of(found)
    return found


async def tally(inbox: Store, id_: str) -> Tally:
    notification = await published(inbox, id_)
    found, part = NOBODY, await inbox.tally(notification, None)
    while part.next is not None:
        found = together(found, part.tally)
        part = await inbox.tally(notification, part.next)
    return together(found, part.tally)


async def received(inbox: Store, user: str, role: str, offset: int | None = None) -> None:
    """A device of theirs has everything, or everything up to there."""
    head = await inbox.head()
    at = head if offset is None else Position(head.epoch, offset)
    await inbox.acknowledge({(UserId(user), role): at})


def untouched(user: str, *, is_received: bool = False) -> Recipient:
    return Recipient(UserId(user), is_received, None, None, None, False, None)


@pytest.mark.gen_test
class RecipientsContract:
    async def test_what_was_published_is_found_by_its_id(self, inbox: OpenedStore) -> None:
        drafts = {
            "one": (draft("one", title="T", data=b'{"a": 1}'), Audience.user("ann")),
            "two": (draft("two", ANN, BOB), Audience.users(("bob", "ann"))),
            "role": (draft("role", COMPANY), Audience.role("company")),
            "all": (draft("all", EVERYONE), Audience.everyone()),
        }
        await inbox.append([one for one, _ in drafts.values()])
        head = await inbox.head()
        for number, (id_, (one, audience)) in enumerate(drafts.items()):
            position = Position(head.epoch, head.offset - 3 + number)
            payload = notification_json(one.notification)
            assert await inbox.published(id_) == PublishedNotification(id_, position, audience, payload)
        assert await inbox.published("other") is None

    async def test_of_what_was_taken_back_it_is_said_for_whom_it_was_and_how_it_stands_with_them(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann, bob = await register(inbox), await register(inbox, "bob", "company")
        audiences = {
            "two": Audience.users(("bob", "ann")),
            "one": Audience.user("ann"),
            "role": Audience.role("company"),
            "all": Audience.everyone(),
        }
        await inbox.append([draft(id_, *audience.rooms) for id_, audience in audiences.items()])
        await received(inbox, "bob", "company")
        await inbox.change(bob, Action.SEEN, ["two", "role"], clock.now())
        await inbox.change(ann, Action.DELETE, ["two"], clock.now())
        before = {id_: (await published(inbox, id_), await recipients_of(inbox, id_)) for id_ in audiences}
        for id_, audience in audiences.items():
            await inbox.recall(id_)
            was, stood = before[id_]
            assert (was.audience, was.state) == (audience, NotificationState.SENT)
            now = await published(inbox, id_)
            assert now == replace(was, payload=None, is_recalled=True)
            assert now.state is NotificationState.RECALLED
            assert await recipients_of(inbox, id_) == stood
        await pass_time(inbox, clock, HOUR + timedelta(seconds=1))
        for id_ in audiences:
            assert await inbox.published(id_) is None

    async def test_of_what_is_kept_no_more_nothing_is_found(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        await inbox.append([draft("old")])
        await pass_time(inbox, clock, HOUR + timedelta(seconds=1))
        assert await inbox.published("old") is None

    async def test_whom_it_names_is_a_recipient_though_they_never_came(self, inbox: OpenedStore) -> None:
        await register(inbox, "bob")
        await register(inbox, "eve")
        await inbox.append([draft("a", *(Room.of_user(user) for user in ("dan", "bob", "Zoé", "ann")))])
        for limit in (1, 2, 3, 4, 100):
            found = await recipients_of(inbox, "a", limit)
            assert found == [untouched(user) for user in ("Zoé", "ann", "bob", "dan")]

    async def test_of_a_room_those_are_recipients_who_started_before_it(self, inbox: OpenedStore) -> None:
        await register(inbox, "early", "company")
        await register(inbox, "other", "admin")
        await inbox.append([draft("between")])
        await register(inbox, "then", "company")
        await inbox.append([draft("role", COMPANY), draft("all", EVERYONE)])
        await register(inbox, "late", "company")
        for limit in (1, 2, 100):
            assert [one.user for one in await recipients_of(inbox, "role", limit)] == ["early", "then"]
            everybody = [one.user for one in await recipients_of(inbox, "all", limit)]
            assert (sorted(everybody[:2]), everybody[2:]) == (["early", "other"], ["then"])
        assert await recipients_of(inbox, "between") == [untouched("ann")]

    async def test_they_come_in_the_order_in_which_they_started_there(self, inbox: OpenedStore) -> None:
        for user in ("ann", "bob", "dan"):
            await register(inbox, user, "admin")
        for user in ("dan", "ann", "bob"):
            await inbox.append([draft(f"before-{user}")])
            await register(inbox, user, "company")
        await inbox.append([draft("role", COMPANY)])
        for limit in (1, 2, 100):
            assert [one.user for one in await recipients_of(inbox, "role", limit)] == ["dan", "ann", "bob"]

    async def test_who_comes_in_the_role_afterwards_is_none(self, inbox: OpenedStore) -> None:
        await register(inbox, "bob", "admin")
        await inbox.append([draft("role", COMPANY), draft("all", EVERYONE)])
        await register(inbox, "bob", "company")
        assert await recipients_of(inbox, "role") == []
        assert await recipients_of(inbox, "all") == [untouched("bob")]

    async def test_it_was_received_where_a_mark_lies_at_it_or_beyond(self, inbox: OpenedStore) -> None:
        for user in ("ann", "bob", "dan"):
            await register(inbox, user)
        await inbox.append([draft("a", ANN, BOB, Room("user:dan")), draft("all", EVERYONE), draft("later", EVERYONE)])
        offset = (await published(inbox, "all")).position.offset
        await received(inbox, "ann", "company", offset)
        await received(inbox, "bob", "company", offset - 1)
        assert [one.is_received for one in await recipients_of(inbox, "a")] == [True, True, False]
        assert {one.user: one.is_received for one in await recipients_of(inbox, "all")} == {
            "ann": True, "bob": False, "dan": False,
        }  # fmt: skip
        assert await tally(inbox, "later") == Tally()

    async def test_for_a_role_a_mark_in_another_says_nothing(self, inbox: OpenedStore) -> None:
        await register(inbox, "ann", "company")
        await register(inbox, "ann", "admin")
        await inbox.append([draft("role", COMPANY), draft("all", EVERYONE), draft("own", ANN)])
        await received(inbox, "ann", "admin")
        assert await recipients_of(inbox, "role") == [untouched("ann")]
        assert await recipients_of(inbox, "all") == [untouched("ann", is_received=True)]
        assert await recipients_of(inbox, "own") == [untouched("ann", is_received=True)]
        await received(inbox, "ann", "company")
        assert await recipients_of(inbox, "role") == [untouched("ann", is_received=True)]

    async def test_times_are_those_at_which_something_was_done(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann, bob = await register(inbox, "ann"), await register(inbox, "bob")
        await inbox.append([draft("all", EVERYONE), draft("both", ANN, BOB)])
        times = [START + timedelta(minutes=minute) for minute in range(1, 6)]
        await inbox.change(ann, Action.SEEN, ["all"], times[0])
        await inbox.change(ann, Action.READ, ["all"], times[1])
        await inbox.change(ann, Action.ARCHIVE, ["all"], times[2])
        await inbox.change(ann, Action.DELETE, ["all"], times[3])
        await inbox.change(bob, Action.READ, ["all", "both"], times[4])
        await inbox.change(bob, Action.UNREAD, ["both"], times[4])
        found = {one.user: one for one in await recipients_of(inbox, "all")}
        assert found == {
            "ann": Recipient(UserId("ann"), False, times[0], times[1], times[2], True, times[3]),
            "bob": Recipient(UserId("bob"), False, times[4], times[4], None, False, None),
        }
        assert await recipients_of(inbox, "both") == [
            untouched("ann"),
            Recipient(UserId("bob"), False, times[4], None, None, False, None),
        ]
        assert await tally(inbox, "all") == Tally(0, 2, 2, 1, 1)

    async def test_who_reads_everything_has_read_what_came_before(self, inbox: OpenedStore) -> None:
        ann = await register(inbox, "ann")
        await inbox.append([draft("a", ANN, BOB), draft("all", EVERYONE)])
        at = START + timedelta(minutes=1)
        await inbox.read_all(ann, None, at)
        await inbox.append([draft("later", ANN, BOB)])
        await inbox.read_all(ann, None, at + timedelta(minutes=1))
        read = Recipient(UserId("ann"), False, at, at, None, False, None)
        assert await recipients_of(inbox, "a") == [read, untouched("bob")]
        assert await recipients_of(inbox, "all") == [read]
        await inbox.change(ann, Action.DELETE, ["all"], at + timedelta(minutes=2))
        (gone,) = await recipients_of(inbox, "all")
        assert (gone.read_at, gone.is_deleted, gone.deleted_at) == (at, True, at + timedelta(minutes=2))

    async def test_who_reads_everything_reads_nothing_that_is_over(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        ann = await register(inbox, "ann")
        ends = START + timedelta(minutes=1)
        await inbox.append([draft(id_, ANN, BOB, expires_at=ends) for id_ in ("expired", "seen", "read")])
        await inbox.append([draft("recalled", ANN, BOB), draft("revised", ANN, BOB, expires_at=ends)])
        await inbox.change(ann, Action.SEEN, ["seen"], START)
        await inbox.change(ann, Action.READ, ["read"], START)
        await inbox.revise("revised", lambda one: replace(one, expires_at=START + HOUR), START)
        await inbox.recall("recalled")
        await inbox.append([draft("later", ANN, BOB)])
        clock.advance(120)
        now = clock.now()
        await inbox.read_all(ann, None, now)
        for id_, seen_at, read_at in (
            ("expired", None, None),
            ("seen", START, None),
            ("read", START, START),
            ("recalled", None, None),
            ("revised", now, now),
            ("later", now, now),
        ):
            stands = Recipient(UserId("ann"), False, seen_at, read_at, None, False, None)
            assert await recipients_of(inbox, id_) == [stands, untouched("bob")], id_
            page = await inbox.addressed(UserId("ann"), DeliveriesQuery(id=id_))
            assert [(one.read_at, one.read_by) for one in page.notifications] == [(read_at, None)], id_

    async def test_what_is_said_of_a_recipient_is_what_their_list_shows(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        random = Random(7)
        users = [f"u{number}" for number in range(8)]
        readers = {user: await register(inbox, user, random.choice(("company", "admin"))) for user in users}
        ids = [f"n{number}" for number in range(12)]
        for id_ in ids:
            some = [Room.of_user(user) for user in random.sample(users, 3)]
            await inbox.append([draft(id_, *random.choice(([EVERYONE], [COMPANY], some)))])
            for _ in range(6):
                clock.advance(1)
                who = readers[random.choice(users)]
                action = random.choice([action for action in Action if action is not Action.DELETE])
                await inbox.change(who, action, random.sample(ids, 4), clock.now())
                if random.random() < 0.1:
                    await inbox.read_all(who, None, clock.now())
        shown = {user: await inbox.list_items(reader, InboxQuery(limit=100)) for user, reader in readers.items()}
        archived = 0
        for id_ in ids:
            notification = await published(inbox, id_)
            for one in await recipients_of(inbox, id_, 3):
                items = [item for item in shown[one.user].items if item.offset == notification.position.offset]
                archived += one.archived_at is not None
                assert [(item.seen_at, item.read_at, item.archived_at) for item in items] == [
                    (one.seen_at, one.read_at, None) for _ in range(one.archived_at is None)
                ]
        assert archived

    async def test_of_very_many_names_each_is_counted_once(self, inbox: OpenedStore) -> None:
        users = [f"user-{number:05}" for number in range(CREW)]
        first, last = await register(inbox, users[0]), await register(inbox, users[-1])
        await inbox.append([draft("many", *map(Room.of_user, users))])
        for reader in (first, last):
            await inbox.change(reader, Action.SEEN, ["many"], START)
        assert await tally(inbox, "many") == Tally(seen=2)
        assert [one.user for one in await recipients_of(inbox, "many", 2000)] == users

    async def test_of_very_many_each_is_there_once_whoever_comes_meanwhile(self, inbox: OpenedStore) -> None:
        first, second = range(CREW // 2), range(CREW // 2, CREW)
        await inbox.arrive([arrival(f"user-{number:05}", "company", max_entries=1) for number in first])
        await inbox.append([draft("between")])
        await inbox.arrive([arrival(f"user-{number:05}", "company", max_entries=1) for number in second])
        await inbox.append([draft("all", EVERYONE)])
        head = await inbox.head()
        await inbox.acknowledge({(UserId(f"user-{number:05}"), "company"): head for number in range(0, CREW, 3)})
        notification = await published(inbox, "all")
        found = [one.user for one in (await inbox.recipients(notification, None, 1000)).recipients]
        await register(inbox, "user-00000-and-a-half")
        while len(found) % 1000 == 0:
            place = RecipientPlace(0 if len(found) < len(first) else 1, found[-1])
            found += [one.user for one in (await inbox.recipients(notification, place, 1000)).recipients]
        assert sorted(found) == [f"user-{number:05}" for number in range(CREW)]
        assert set(found[: len(first)]) == {f"user-{number:05}" for number in first}
        assert await tally(inbox, "all") == Tally(received=len(range(0, CREW, 3)))

    async def test_who_is_in_several_of_its_groups_is_there_once(self, inbox: OpenedStore) -> None:
        """Where they came first; and no page looks at more of them than another."""
        topic = Room.of_topic("p")
        names = [f"user-{number:04}" for number in range(CREW // 2)]
        await inbox.arrive([arrival(name, "company", max_entries=1) for name in names])
        await inbox.append([draft("between")])
        await inbox.arrive([arrival(name, "admin", max_entries=1) for name in (*names, "late")])
        for users in (names[::2], [*names[1::2], "member"]):
            await inbox.change_members("p", [*map(UserId, users)], [], most=1)
        await inbox.append([draft("any", COMPANY, ADMIN, topic)])
        await inbox.acknowledge({(UserId(name), "admin"): await inbox.head() for name in (*names[::3], "late")})
        notification = await published(inbox, "any")
        found: list[Recipient] = []
        place: RecipientPlace | None = None
        while True:
            page = await inbox.recipients(notification, place, 1000)
            found += page.recipients
            place = page.next
            if place is None:
                break
        assert sorted(one.user for one in found) == ["late", "member", *names]
        assert [one.user for one in found[-2:]] == ["late", "member"]
        assert await tally(inbox, "any") == tally_of(found) == Tally(received=len(names[::3]) + 1)
