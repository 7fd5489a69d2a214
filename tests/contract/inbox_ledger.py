"""What every store remembers of deliveries, and how notifications stand for a user."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from domain.model import (
    EVERYONE,
    Action,
    Addressed,
    AudienceKind,
    AwaitedReceipt,
    ConnectionId,
    ConnectionRecord,
    DeliveriesQuery,
    Notes,
    Position,
    Receipt,
    Room,
    UserId,
)
from domain.ports import Store
from domain.ports.ledger import RECEIPT_WITHIN
from tests.contract.inbox_harness import ANN, BOB, COMPANY, OpenedStore, OpenStore, age, draft, pass_time, register
from tests.doubles import START, ManualClock

ANN_ID, BOB_ID = UserId("ann"), UserId("bob")
PHONE, DESK = ConnectionId("phone-1"), ConnectionId("desk-1")


def connection(id_: ConnectionId, number: int, since: datetime, user: UserId = ANN_ID) -> ConnectionRecord:
    return ConnectionRecord(
        id=id_,
        number=number,
        user=user,
        role="company",
        device="Téléphone",
        transport="websocket",
        pid=f"pid-{number}",
        since=since,
        after=0,
    )


def notes(
    at: datetime,
    *connections: ConnectionRecord,
    delivered: int = 0,
    receipts: tuple[tuple[UserId, Receipt], ...] = (),
    unsent: tuple[int, ...] = (),
) -> Notes:
    return Notes(at, delivered, connections, receipts, unsent)


async def stands(inbox: Store, user: UserId, id_: str) -> Addressed | None:
    page = await inbox.addressed(user, DeliveriesQuery(id=id_))
    assert page.next is None
    return page.notifications[0] if page.notifications else None


async def connections_of(inbox: Store, user: UserId, *at: datetime) -> list[ConnectionRecord]:
    """As from notifications that were stored at these times."""
    return list((await inbox.history(user, [stored(moment) for moment in at])).connections)


def stored(at: datetime, offset: int = 1) -> Addressed:
    kind, position = AudienceKind.USER, Position("e", offset)
    return Addressed("n", position, at, kind, frozenset((ANN,)), None, False, None, None, False)


@pytest.mark.gen_test
class AddressedContract:
    async def test_a_user_is_told_of_all_that_is_for_them(self, inbox: OpenedStore, clock: ManualClock) -> None:
        await inbox.append([draft("early", EVERYONE)])
        await register(inbox)
        await inbox.append([draft("own"), draft("another's", BOB), draft("all", EVERYONE), draft("some", ANN, BOB)])
        await inbox.append([draft("role", COMPANY), draft("another role", Room("role:admin"))])
        page = await inbox.addressed(ANN_ID, DeliveriesQuery(since=START))
        assert [one.id for one in page.notifications] == ["role", "some", "all", "own"]
        assert [one.audience for one in page.notifications] == [
            AudienceKind.ROLE, AudienceKind.USER, AudienceKind.EVERYONE, AudienceKind.USER,
        ]  # fmt: skip
        assert [one.rooms for one in page.notifications] == [{COMPANY}, {ANN}, {EVERYONE}, {ANN}]
        assert page.next is None
        assert page.starts.keys() >= {COMPANY, EVERYONE}
        assert page.marks == {"company": 0}
        assert all(one.stored_at == START for one in page.notifications)
        head = await inbox.head()
        assert page.notifications[0].position == Position(head.epoch, head.offset - 1)

    async def test_by_its_id_also_of_one_that_is_for_others(self, inbox: OpenedStore, clock: ManualClock) -> None:
        await inbox.append([draft("early", EVERYONE), draft("for bob", BOB, expires_at=START + timedelta(hours=1))])
        for_bob, early = await stands(inbox, ANN_ID, "for bob"), await stands(inbox, ANN_ID, "early")
        assert for_bob is not None
        assert early is not None
        assert (for_bob.audience, for_bob.rooms) == (AudienceKind.USER, frozenset())
        assert for_bob.expires_at == START + timedelta(hours=1)
        assert (early.audience, early.rooms) == (AudienceKind.EVERYONE, frozenset((EVERYONE,)))
        assert await stands(inbox, ANN_ID, "unknown") is None

    async def test_an_id_a_time_and_a_place_hold_together(self, inbox: OpenedStore, clock: ManualClock) -> None:
        await inbox.append([draft("before")])
        clock.advance(60)
        (appended,) = await inbox.append([draft("n", BOB)])
        assert appended.position is not None
        stored_at, offset = START + timedelta(seconds=60), appended.position.offset
        for query, there in (
            (DeliveriesQuery(id="n", since=stored_at), True),
            (DeliveriesQuery(id="n", since=stored_at + timedelta(microseconds=1)), False),
            (DeliveriesQuery(id="before", since=stored_at), False),
            (DeliveriesQuery(id="n", before=offset + 1), True),
            (DeliveriesQuery(id="n", before=offset), False),
            (DeliveriesQuery(id="n", since=stored_at, before=offset + 1), True),
        ):
            found = await inbox.addressed(ANN_ID, query)
            assert (len(found.notifications), found.next) == (int(there), None), query

    async def test_a_page_ends_where_the_next_begins(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        await inbox.append([draft("older")])
        clock.advance(60)
        for number in range(5):
            await inbox.append([draft(f"n-{number}"), draft(f"m-{number}", BOB)])
            await inbox.change(ann, Action.READ, [f"n-{number}"], clock.now())
        found: list[str] = []
        query = DeliveriesQuery(since=START + timedelta(seconds=1), limit=2)
        while True:
            page = await inbox.addressed(ANN_ID, query)
            found += [one.id for one in page.notifications]
            if page.next is None:
                break
            assert len(page.notifications) == 2
            query = replace(query, before=page.next)
        assert found == ["n-4", "n-3", "n-2", "n-1", "n-0"]

    async def test_a_user_may_have_had_any_number_of_roles(self, inbox: OpenedStore, clock: ManualClock) -> None:
        roles = [f"r-{number}" for number in range(600)]
        for role in roles:
            await register(inbox, "ann", role)
        await inbox.append([draft(f"n-{number}", Room.of_role(roles[number])) for number in (0, 299, 598, 599)])
        page = await inbox.addressed(ANN_ID, DeliveriesQuery(since=START, limit=3))
        assert [one.id for one in page.notifications] == ["n-599", "n-598", "n-299"]
        assert page.next is not None
        last = await inbox.addressed(ANN_ID, DeliveriesQuery(since=START, limit=3, before=page.next))
        assert [one.id for one in last.notifications] == ["n-0"]

    async def test_what_was_read_says_when_and_by_which_device(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann = await register(inbox)
        await inbox.append([draft(id_) for id_ in ("a", "b", "c", "d")])
        await inbox.change(ann, Action.READ, ["a"], START, by="phone")
        await inbox.change(ann, Action.READ, ["a", "b"], START + timedelta(seconds=1))
        await inbox.change(ann, Action.SEEN, ["c"], START + timedelta(seconds=2), by="watch")
        await inbox.read_all(ann, None, START + timedelta(seconds=3), by="desk")
        await inbox.append([draft("e"), draft("f")])
        read = {id_: await stands(inbox, ANN_ID, id_) for id_ in "abcdef"}
        assert {id_: (one.read_at, one.read_by) for id_, one in read.items() if one is not None} == {
            "a": (START, "phone"),
            "b": (START + timedelta(seconds=1), None),
            "c": (START + timedelta(seconds=3), "desk"),
            "d": (START + timedelta(seconds=3), "desk"),
            "e": (None, None),
            "f": (None, None),
        }
        await inbox.change(ann, Action.ARCHIVE, ["d"], START + timedelta(seconds=4), by="phone")
        await inbox.change(ann, Action.UNREAD, ["c"], START + timedelta(seconds=4), by="phone")
        await inbox.change(ann, Action.DELETE, ["a"], START + timedelta(seconds=4), by="phone")
        d, c, a = [await stands(inbox, ANN_ID, id_) for id_ in "dca"]
        assert d is not None
        assert (d.read_at, d.read_by) == (START + timedelta(seconds=3), "desk")
        assert c is not None
        assert (c.read_at, c.read_by) == (None, None)
        assert a is not None
        assert a.deleted
        up_to = (await inbox.append([draft("g")]))[0].position
        await inbox.read_all(ann, up_to, START + timedelta(seconds=5), by="tablet")
        g = await stands(inbox, ANN_ID, "g")
        assert g is not None
        assert g.read_by == "tablet"
        other = await stands(inbox, BOB_ID, "g")
        assert other is not None
        assert (other.read_at, other.read_by) == (None, None)

    async def test_what_is_archived_or_snoozed_says_since_and_until_when(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft(id_) for id_ in ("a", "b", "c")])
        await inbox.change(ann, Action.ARCHIVE, ["a"], START)
        await inbox.snooze(ann, ["b"], later(3600), START)
        stand = {id_: await stands(inbox, ANN_ID, id_) for id_ in "abc"}
        assert {id_: (one.archived_at, one.snoozed_until) for id_, one in stand.items() if one is not None} == {
            "a": (START, None),
            "b": (None, later(3600)),
            "c": (None, None),
        }
        other = await stands(inbox, BOB_ID, "b")
        assert other is not None
        assert other.snoozed_until is None

    async def test_what_has_left_the_log_is_not_waiting(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=timedelta(hours=1))
        await register(inbox)
        await age(inbox, clock, [draft("old")], [draft("young")])
        page = await inbox.addressed(ANN_ID, DeliveriesQuery(since=START))
        there = {one.id: one.has_left for one in page.notifications}
        assert there.pop("young") is False
        assert there in ({}, {"old": True})


@pytest.mark.gen_test
class LedgerContract:
    async def test_a_connection_is_as_it_was_noted_last(self, inbox: OpenedStore, clock: ManualClock) -> None:
        await register(inbox)
        began = replace(connection(PHONE, 1, START), after=3, had=3, continues="pid-0")
        await inbox.record(notes(START, began, connection(DESK, 2, START, BOB_ID)))
        assert await connections_of(inbox, ANN_ID, START) == [began]
        ended = replace(
            began, transport="polling", replayed=4, skipped=(5, 9), until=START + timedelta(seconds=2),
            ended="transport_close", sent=12, received=10,
        )  # fmt: skip
        await inbox.record(notes(START + timedelta(seconds=2), ended))
        assert await connections_of(inbox, ANN_ID, START) == [ended]
        assert await connections_of(inbox, ANN_ID, START + timedelta(seconds=3)) == []
        assert await connections_of(inbox, UserId("nobody"), START) == []

    async def test_an_open_one_was_sent_all_that_its_server_has_delivered(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        live = replace(connection(PHONE, 1, START), replayed=2, sent=2)
        await inbox.record(notes(START, live, connection(DESK, 2, START), delivered=2))
        await inbox.record(notes(START, delivered=7))
        found = await connections_of(inbox, ANN_ID, START)
        assert [(one.id, one.sent) for one in found] == [(PHONE, 7), (DESK, None)]

    async def test_those_that_had_ended_by_then_are_left_out(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ended = [
            replace(
                connection(ConnectionId(f"c-{number}"), number, START + timedelta(seconds=number)),
                until=START + timedelta(seconds=number + 1),
                ended="client_close",
            )
            for number in range(5)
        ]
        is_open = connection(PHONE, 9, START)
        await inbox.record(notes(START, *ended, is_open))
        found = await connections_of(inbox, ANN_ID, START + timedelta(seconds=4))
        assert [one.id for one in found] == [PHONE, "c-3", "c-4"]
        every = await connections_of(inbox, ANN_ID, START, START + timedelta(seconds=4))
        assert [one.id for one in every] == ["c-0", PHONE, *(f"c-{number}" for number in range(1, 5))]

    async def test_the_first_receipt_of_so_much_tells_when_it_came(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        await register(inbox)
        for milliseconds, id_, upto in ((100, PHONE, 1), (900, DESK, 2), (1900, PHONE, 5), (3000, DESK, 6)):
            at = START + timedelta(milliseconds=milliseconds)
            await inbox.record(
                notes(at, receipts=((ANN_ID, Receipt(at, {id_: upto})), (BOB_ID, Receipt(at, {DESK: 99}))))
            )
        asked = [
            (PHONE, 1, START), (PHONE, 2, START), (PHONE, 5, later(1.5)), (PHONE, 5, later(2)), (PHONE, 6, START),
            (DESK, 2, START), (DESK, 3, START), (DESK, 7, START), (ConnectionId('"'), 1, START),
        ]  # fmt: skip
        awaited = [AwaitedReceipt(*one) for one in asked]
        assert await inbox.received_at(ANN_ID, awaited) == [
            START, later(1), later(1), None, None, START, later(3), None, None,
        ]  # fmt: skip
        assert await inbox.received_at(UserId("nobody"), awaited) == [None] * len(awaited)
        assert await inbox.received_at(ANN_ID, []) == []

    async def test_it_is_not_looked_for_for_ever(self, inbox: OpenedStore, clock: ManualClock) -> None:
        at = START + RECEIPT_WITHIN
        late = ((ANN_ID, Receipt(at, {PHONE: 1})), (ANN_ID, Receipt(at + timedelta(seconds=1), {DESK: 1})))
        await inbox.record(notes(at, receipts=late))
        awaited = [AwaitedReceipt(PHONE, 1, START), AwaitedReceipt(DESK, 1, START)]
        assert await inbox.received_at(ANN_ID, awaited) == [at, None]

    async def test_what_had_expired_was_not_sent_to_those_who_were_live(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        await inbox.record(notes(START, connection(PHONE, 1, START), unsent=(3, 4, 8)))
        history = await inbox.history(ANN_ID, [stored(START, 4), stored(START, 5), stored(START, 8)])
        assert {id_: set(offsets) for id_, offsets in history.unsent.items()} == {PHONE: {4, 8}}

    async def test_it_goes_after_a_week(self, inbox: OpenedStore, clock: ManualClock) -> None:
        await register(inbox)
        await inbox.append([draft("a")])
        old = replace(connection(PHONE, 1, START), until=later(1), ended="client_close")
        young = replace(connection(DESK, 2, START), until=later(3600), ended="client_close")
        is_open = connection(ConnectionId("open"), 3, START)
        receipts = tuple((ANN_ID, Receipt(later(second), {PHONE: second})) for second in (0, 3600))
        await inbox.record(notes(START, old, young, is_open, receipts=receipts, unsent=(1,)))
        page = await inbox.addressed(ANN_ID, DeliveriesQuery(id="a"))
        assert page.complete_since == START
        clock.advance(timedelta(days=7, seconds=60).total_seconds())
        # The server is still there.
        await inbox.record(notes(clock.now()))
        await pass_time(inbox, clock, timedelta())
        found = await connections_of(inbox, ANN_ID, START)
        assert {one.id for one in found} == {DESK, "open"}
        awaited = [AwaitedReceipt(PHONE, 0, START), AwaitedReceipt(PHONE, 0, later(3600))]
        assert await inbox.received_at(ANN_ID, awaited) == [None, later(3600)]
        page = await inbox.addressed(ANN_ID, DeliveriesQuery(id="a"))
        assert page.complete_since == START + timedelta(seconds=60)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
