"""How a notification stands with those whom it is for, in numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from domain.model import (
    Audience,
    Position,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    RecipientsPage,
    Room,
    Tally,
    UserId,
)
from domain.rules.recipients import NOBODY, named_recipients, recipients_until_sent, tally_of, together
from domain.services.notification_reports import RECIPIENTS_AT_ONCE, NotificationReportService
from tests.doubles import START
from tests.unit.domain.world import run


def recipient(
    *,
    is_received: bool = False,
    seen_at: datetime | None = None,
    read_at: datetime | None = None,
    archived_at: datetime | None = None,
    is_deleted: bool = False,
    deleted_at: datetime | None = None,
) -> Recipient:
    return Recipient(UserId("ann"), is_received, seen_at, read_at, archived_at, is_deleted, deleted_at)


@pytest.mark.parametrize(
    ("one", "counted"),
    [
        (recipient(), Tally()),
        (recipient(is_received=True), Tally(received=1)),
        (recipient(seen_at=START), Tally(seen=1)),
        (recipient(seen_at=START, read_at=START), Tally(seen=1, read=1)),
        (recipient(archived_at=START), Tally(archived=1)),
        (recipient(is_deleted=True, deleted_at=START), Tally(deleted=1)),
        (recipient(is_deleted=True), Tally(deleted=1)),
        (
            recipient(
                is_received=True, seen_at=START, read_at=START, archived_at=START, is_deleted=True, deleted_at=START
            ),
            Tally(1, 1, 1, 1, 1),
        ),
    ],
)
def test_each_number_is_for_itself(one: Recipient, counted: Tally) -> None:
    assert tally_of([one]) == counted
    assert tally_of([one, recipient(), one]) == together(counted, counted)


def test_of_nobody_there_is_nothing() -> None:
    assert tally_of([]) == NOBODY
    assert together(NOBODY, Tally(5, 4, 3, 2, 1)) == Tally(5, 4, 3, 2, 1)
    assert together(Tally(5, 4, 3, 2, 1), Tally(10, 20, 30, 40, 50)) == Tally(15, 24, 33, 42, 51)


@pytest.mark.parametrize(
    ("audience", "number"),
    [
        (Audience.user("ann"), 1),
        (Audience.users(("ann", "bob", "ann")), 2),
        (Audience.role("company"), None),
        (Audience.everyone(), None),
    ],
)
def test_recipients_are_counted_where_they_are_named(audience: Audience, number: int | None) -> None:
    assert named_recipients(audience) == number


def test_until_it_is_sent_they_are_those_whom_it_names() -> None:
    ann, bob, cem = map(UserId, ("ann", "bob", "cem"))
    named = Audience.users((cem, ann, bob))
    pages: tuple[tuple[UserId | None, int, list[UserId], UserId | None], ...] = (
        (None, 2, [ann, bob], bob),
        (None, 3, [ann, bob, cem], None),
        (ann, 2, [bob, cem], None),
        (cem, 2, [], None),
    )
    for after, limit, users, following in pages:
        page = recipients_until_sent(named, RecipientPlace(0, after) if after is not None else None, limit)
        assert [one.user for one in page.recipients] == users
        assert page.next == (RecipientPlace(0, following) if following is not None else None)
        assert tally_of(page.recipients) == NOBODY
    for unnamed in (Audience.role("company"), Audience.topic("t"), Audience.everyone()):
        assert recipients_until_sent(unnamed, None, 2) == RecipientsPage([], None)


class OneByOne:
    """Recipients of whom every other one is met again, and takes a page without anybody on it."""

    def __init__(self, number: int) -> None:
        self.users = [UserId(f"user-{one:03}") for one in range(number)]

    async def published(self, id_: str) -> PublishedNotification:
        return PublishedNotification(id_, Position("e", 1), Audience.any_of(map(Room.of_role, "ab")), None)

    async def recipients(self, _: object, after: RecipientPlace | None, limit: int) -> RecipientsPage:
        assert 0 < limit <= RECIPIENTS_AT_ONCE
        start = after.start if after is not None else 0
        there = [replace(recipient(), user=self.users[start // 2])] if start % 2 else []
        following = start + 1
        last = RecipientPlace(following, self.users[start // 2]) if following < 2 * len(self.users) else None
        return RecipientsPage(there, last)


def test_a_page_is_filled() -> None:
    async def story() -> None:
        recipients: Any = OneByOne(120)
        reports = NotificationReportService(recipients=recipients, schedule=recipients, deliveries=recipients)
        pages: list[list[UserId]] = []
        after = None
        while not pages or after is not None:
            page = await reports.recipients_of("n", after)
            pages.append([one.user for one in page.recipients])
            after = page.next
        assert pages == [recipients.users[:50], recipients.users[50:100], recipients.users[100:]]

    run(story())
