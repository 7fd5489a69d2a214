from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.commands import IDS_MAX, LIST_MAX, read_command
from domain.model import Action, Ambiguous, InboxQuery, ItemState, Position
from domain.requests import (
    Command,
    CountInbox,
    ListInbox,
    Malformed,
    Mark,
    MarkAllRead,
    RefreshToken,
    UnknownCommand,
)

MARKS = {
    "notification.read": Action.READ,
    "notification.unread": Action.UNREAD,
    "notification.seen": Action.SEEN,
    "notification.archive": Action.ARCHIVE,
    "notification.unarchive": Action.UNARCHIVE,
    "notification.delete": Action.DELETE,
}
EVENTS = [*MARKS, "notification.read_all", "inbox.list", "inbox.count", "auth.refresh"]
MANY = [str(number) for number in range(IDS_MAX)]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text() | st.sampled_from(["ids", "up_to", "limit", "page", "state", "type", "token"]), inner
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(("event", "action"), MARKS.items())
def test_marking_names_ids_each_once_and_in_order(event: str, action: Action) -> None:
    assert read_command(event, {"ids": ["b", "a", "b"]}) == Mark(action, ("b", "a"))
    assert read_command(event, {"ids": MANY}) == Mark(action, tuple(MANY))


@pytest.mark.parametrize("event", EVENTS)
def test_an_argument_that_says_something_twice_is_refused(event: str) -> None:
    for repeated, field in (("ids", "ids"), ("", "argument"), ("\n", "argument"), ("x" * 500, "x" * 128)):
        assert read_command(event, Ambiguous({}, repeated)) == Malformed(field, "is given more than once")


def listing(
    limit: int = 20, before: int | None = None, state: ItemState = ItemState.CURRENT, type_: str | None = None
) -> ListInbox:
    return ListInbox(InboxQuery(limit=limit, before=before, state=state, type=type_))


@pytest.mark.parametrize(
    ("event", "argument", "command"),
    [
        ("notification.read_all", None, MarkAllRead(None)),
        ("notification.read_all", {}, MarkAllRead(None)),
        ("notification.read_all", {"up_to": None}, MarkAllRead(None)),
        ("notification.read_all", {"up_to": "e:7"}, MarkAllRead(Position("e", 7))),
        ("inbox.list", None, listing()),
        ("inbox.list", {}, listing()),
        ("inbox.list", {"limit": None, "page": None, "state": None, "type": None}, listing()),
        ("inbox.list", {"limit": 1}, listing(limit=1)),
        ("inbox.list", {"limit": LIST_MAX}, listing(limit=LIST_MAX)),
        ("inbox.list", {"page": "17"}, listing(before=17)),
        ("inbox.list", {"state": "unread"}, listing(state=ItemState.UNREAD)),
        ("inbox.list", {"state": "read"}, listing(state=ItemState.READ)),
        ("inbox.list", {"state": "archived"}, listing(state=ItemState.ARCHIVED)),
        ("inbox.list", {"state": "all"}, listing(state=ItemState.ALL)),
        ("inbox.list", {"state": "snoozed"}, listing(state=ItemState.SNOOZED)),
        ("inbox.list", {"type": "mission.assigned"}, listing(type_="mission.assigned")),
        (
            "inbox.list",
            {"limit": 5, "page": "9", "state": "read", "type": "t"},
            listing(limit=5, before=9, state=ItemState.READ, type_="t"),
        ),
        ("inbox.count", None, CountInbox()),
        ("inbox.count", {}, CountInbox()),
        ("auth.refresh", {"token": "t"}, RefreshToken("t")),
    ],
)
def test_what_may_be_asked(event: str, argument: object, command: Command) -> None:
    assert read_command(event, argument) == command


NO_OBJECTS: list[object] = [[], "a", 7, True, 1.5]
NO_IDS: list[object] = [None, [], "a", {"a": 1}]
NO_TOKENS: list[object] = [None, "", 7, ["t"]]

WRONG: list[tuple[str, object, str]] = [
    *((event, None, "ids") for event in MARKS),
    *((event, {}, "ids") for event in MARKS),
    *((event, {"ids": wrong}, "ids") for event in MARKS for wrong in NO_IDS),
    ("notification.read", {"ids": [*MANY, "x"]}, "ids"),
    ("notification.read", {"ids": ["a", 7]}, "ids[1]"),
    ("notification.read", {"ids": ["a", "b", ""]}, "ids[2]"),
    ("notification.read", {"ids": ["x" * 129]}, "ids[0]"),
    ("notification.read", {"ids": ["\ud800"]}, "ids[0]"),
    ("notification.read", {"ids": [None]}, "ids[0]"),
    ("notification.read", {"ids": [["a"]]}, "ids[0]"),
    *(("notification.read_all", {"up_to": wrong}, "up_to") for wrong in ("", "7", 7, True, ["e:7"], "e:-1", "e:7 ")),
    *(("inbox.list", {"limit": wrong}, "limit") for wrong in (0, -1, LIST_MAX + 1, 1.0, "5", True, [5], 10**30)),
    *(("inbox.list", {"page": wrong}, "page") for wrong in ("", "0", "-1", "01", 7, "1" * 19, "e:7", "\u0661", "7\n")),
    *(
        ("inbox.list", {"state": wrong}, "state")
        for wrong in ("current", "", "ALL", "all_and_snoozed", 7, ["all"], {"all": 1})
    ),
    *(("inbox.list", {"type": wrong}, "type") for wrong in ("", "x" * 129, 7, ["t"], "a\nb")),
    ("auth.refresh", None, "token"),
    ("auth.refresh", {}, "token"),
    *(("auth.refresh", {"token": wrong}, "token") for wrong in NO_TOKENS),
    *((event, {"other": 1}, "other") for event in EVENTS),
    ("notification.read", {"ids": ["a"], "all": True}, "all"),
    ("inbox.list", {"x" * 1000: 1}, "x" * 128),
    *((event, wrong, "argument") for event in EVENTS for wrong in NO_OBJECTS),
]


@pytest.mark.parametrize(("event", "argument", "field"), WRONG)
def test_a_wrong_argument_names_its_field(event: str, argument: object, field: str) -> None:
    asked = read_command(event, argument)
    assert isinstance(asked, Malformed)
    assert asked.path == field


@pytest.mark.parametrize("event", ["", "connect", "disconnect", "notification.new", "inbox.counts", "INBOX.LIST", "x"])
def test_an_event_that_nobody_knows_says_so_whatever_it_brings(event: str) -> None:
    for argument in ({}, None, {"ids": ["a"]}, 7):
        assert read_command(event, argument) == UnknownCommand()


@given(st.sampled_from(EVENTS) | st.text(), JSON)
def test_no_json_raises_anything(event: str, argument: object) -> None:
    read_command(event, argument)
