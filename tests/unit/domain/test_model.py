from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.model import (
    CURSOR_MAX_LENGTH,
    EVERYONE,
    Audience,
    AudienceKind,
    Counts,
    Entry,
    Identity,
    Json,
    Page,
    Position,
    Room,
    UserId,
)

EPOCHS = st.text("ABCXYZabcxyz0189._~-", min_size=1, max_size=200)
OFFSETS = st.integers(0, 10**18 - 1)


@given(EPOCHS, OFFSETS)
def test_a_cursor_leads_back_to_its_position(epoch: str, offset: int) -> None:
    position = Position(epoch, offset)
    cursor = str(position)
    assert Position.parse(cursor) == position
    assert len(cursor) <= CURSOR_MAX_LENGTH
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:~-")


@given(st.text() | st.from_regex(r"[A-Za-z0-9._~-]{0,4}:[0-9]{0,20}"))
def test_what_parses_is_what_would_be_written(text: str) -> None:
    position = Position.parse(text)
    assert position is None or str(position) == text


@pytest.mark.parametrize(
    "cursor",
    [
        None,
        True,
        7,
        7.5,
        ["e:1"],
        {"e": 1},
        b"e:1",
        "",
        ":",
        "e",
        "e:",
        ":1",
        "e:01",
        "e:-1",
        "e:+1",
        "e: 1",
        " e:1",
        "e:1 ",
        "e:1\n",
        "e:1:1",
        "e:1.0",
        "e:1e3",
        "é:1",
        "e:\u0661",
        "e:\ud800",
        "e:" + "9" * 19,
        "e" * CURSOR_MAX_LENGTH + ":1",
    ],
)
def test_what_never_was_a_cursor_has_no_position(cursor: object) -> None:
    assert Position.parse(cursor) is None


def test_rooms_are_named_for_what_they_hold() -> None:
    assert (Room.of_user("42"), Room.of_role("company"), EVERYONE) == ("user:42", "role:company", "everyone")


def test_no_user_has_the_room_of_a_role_or_of_everyone() -> None:
    assert not {Room.of_user("everyone"), Room.of_user("role:admin"), Room.of_user("")} & {
        Room.of_role("admin"),
        EVERYONE,
    }


def test_an_audience_tells_its_kind_and_keeps_its_rooms() -> None:
    assert Audience.users(["1", "2", "1"]) == Audience(AudienceKind.USER, frozenset((Room("user:1"), Room("user:2"))))
    assert Audience.role("company") == Audience(AudienceKind.ROLE, frozenset((Room("role:company"),)))
    assert Audience.everyone() == Audience(AudienceKind.EVERYONE, frozenset((EVERYONE,)))


def test_a_page_continues_just_before_its_first_entry() -> None:
    upto = Position("e", 9)
    entries = tuple(Entry(Position("d", n), frozenset((EVERYONE,)), "notification.new", Json(b"{}")) for n in (5, 8))
    assert Page(entries, upto, more=False).continues_at == Position("d", 4)
    assert Page((), upto, more=False).continues_at == upto


def test_new_notifications_add_to_every_count() -> None:
    assert Counts(1, 2, 3).with_new(0) == Counts(1, 2, 3)
    assert Counts(1, 2, 3).with_new(4) == Counts(5, 6, 7)


def test_values_have_no_other_fields_and_are_told_apart_by_what_they_hold() -> None:
    identity = Identity(UserId("1"), "freelance", "", datetime(2030, 1, 1, tzinfo=UTC))
    same = Identity(UserId("1"), "freelance", "", datetime(2030, 1, 1, tzinfo=UTC))
    assert len({identity, same, Identity(UserId("2"), "freelance", "", identity.expires_at)}) == 2
    with pytest.raises(AttributeError):
        identity.name = "Ann"  # type: ignore[attr-defined]  # that it is refused is what is tried


def is_noticed_by_the_type_checker(identity: Identity) -> None:
    identity.user = UserId("2")  # type: ignore[misc]  # where it were allowed, this comment would be an error
