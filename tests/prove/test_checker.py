"""The checker by itself: good histories that it has to believe, and what it has to find in bad ones."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.prove import checker
from tests.prove.checker import PROMISES, judge, verdict

NOBODY = {"unread": 0, "unseen": 0, "total": 0}


def counts(unread: int, unseen: int, total: int) -> dict[str, int]:
    return {"unread": unread, "unseen": unseen, "total": total}


class Told:
    """A history, told event by event; every one takes a second."""

    def __init__(self) -> None:
        self._clock = itertools.count(1.0)
        self._calls = itertools.count(1)
        self.records: list[dict[str, Any]] = []
        self._write("begin", users={"ada": "freelance", "bob": "company"})

    def _write(self, what: str, **members: Any) -> None:
        self.records.append({"at": next(self._clock), "what": what, **members})

    def asks(self, name: str, to: Mapping[str, object] | None = None, **members: Any) -> int:
        """To publish; the number of the call."""
        number = next(self._calls)
        body = {"to": to or {"user": "ada"}, "type": "t", "title": name, "id": name, "data": {"name": name}} | members
        self._write("call", call=number, do="publish", bodies=[body])
        return number

    def stored(
        self, call: int, name: str, offset: int, *, duplicate: bool = False, stored_as: str | None = None
    ) -> Self:
        body = {"id": stored_as or name, "cursor": f"e:{offset}", "duplicate": duplicate}
        self._write("answer", call=call, status=201, body=body)
        return self

    def published(self, name: str, offset: int, to: Mapping[str, object] | None = None) -> Self:
        return self.stored(self.asks(name, to), name, offset)

    def answers(self, call: int, status: int) -> Self:
        self._write("answer", call=call, status=status, body={"code": "some"})
        return self

    def counted(self, as_of: int, found: Mapping[str, int], user: str = "ada") -> Self:
        number = next(self._calls)
        self._write("call", call=number, do="count", user=user)
        self._write("answer", call=number, status=200, body={"counts": found, "as_of": f"e:{as_of}"})
        return self

    def connects(
        self,
        offset: int,
        client: str = "phone",
        user: str = "ada",
        *,
        recovered: bool = False,
        keeps: bool = True,
        found: Mapping[str, int] = NOBODY,
    ) -> Self:
        self._write("connects", client=client, user=user, keeps=keeps)
        ready = {"recovered": recovered, "reason": None, "counts": found}
        return self.hears("session.ready", ready, offset, client)

    def hears(self, name: str, value: Mapping[str, Any], offset: int | None, client: str = "phone") -> Self:
        arguments = [value] if offset is None else [value, f"e:{offset}"]
        self._write("event", client=client, name=name, arguments=arguments)
        return self

    def gets(self, name: str, offset: int, client: str = "phone", **changes: Any) -> Self:
        value = {"id": name, "type": "t", "title": name, "data": {"name": name}, "audience": "user"} | changes
        return self.hears("notification.new", value, offset, client)

    def replied(self, as_of: int, found: Mapping[str, int], client: str = "phone") -> Self:
        self._write("replied", client=client, as_of=f"e:{as_of}", counts=found)
        return self

    def inbox(
        self, as_of: int, items: Sequence[Mapping[str, Any]], found: Mapping[str, int], user: str = "ada"
    ) -> Self:
        self._write("inbox", user=user, items=items, counts=found, as_of=f"e:{as_of}")
        return self

    def fails(self) -> Self:
        self._write("defect", server="node-0", said="Traceback")
        return self

    def broken(self) -> set[str]:
        return {breach.promise for breach in judge(self.records)[0]}


def item(identifier: str, *, read: bool = False, seen: bool = False) -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    return {"id": identifier, "read_at": at if read else None, "seen_at": at if seen else None, "archived_at": None}


def test_a_history_without_a_fault_is_believed() -> None:
    told = Told().connects(0).published("a", 1).gets("a", 1).published("b", 2, {"everyone": True})
    told.gets("b", 2, audience="everyone").counted(2, counts(2, 2, 2))
    told.hears("notification.updated", {"ids": ["a"], "change": {"read_at": "t", "seen_at": "t"}}, 3)
    told.connects(3, recovered=True, found=counts(1, 1, 2)).published("c", 4, {"role": "company"}).counted(
        4, counts(1, 1, 2)
    )
    told.connects(0, "desk", "bob", found=counts(1, 1, 1)).gets("b", 2, "desk", audience="everyone").gets(
        "c", 4, "desk", audience="role"
    )
    told.hears("inbox.counts", counts(1, 1, 2), None)
    told.hears("inbox.counts", counts(2, 2, 2), None, "desk").inbox(4, [item("c"), item("b")], counts(2, 2, 2), "bob")
    told.inbox(4, [item("b"), item("a", read=True, seen=True)], counts(1, 1, 2))
    breaches, statistics = judge(told.records)
    assert breaches == []
    assert (statistics["deliveries"], statistics["acknowledged"], statistics["entries"]) == (5, 3, 4)


def test_a_reply_is_as_of_what_came_before_it() -> None:
    told = Told().connects(0).published("a", 1).gets("a", 1).replied(1, counts(1, 1, 1)).published("b", 2)
    assert told.gets("b", 2).replied(3, counts(2, 2, 2)).broken() == set()


def test_what_all_whom_it_names_have_deleted_comes_to_no_other_device() -> None:
    told = Told().connects(0).connects(0, "desk").connects(0, "tablet", "bob")
    told.published("a", 1).gets("a", 1).published("b", 2, {"users": ["ada", "bob"]}).gets("b", 2)
    told.hears("notification.deleted", {"ids": ["a", "b"]}, 3)
    told.hears("notification.deleted", {"ids": ["a", "b"]}, 3, "desk")
    assert [breach.said for breach in judge(told.records)[0]] == ["desk went from 0 to 3 without b at 2"]
    told.gets("b", 2, "tablet").hears("notification.deleted", {"ids": ["b"]}, 4, "tablet")
    # Its content may have gone by now, and had not when a device went on that has only one of both.
    assert [breach.said for breach in judge(told.records)[0]] == ["desk went from 0 to 3 without b at 2"]
    told.connects(4, "desk", recovered=True)
    assert told.broken() == set()


def test_what_was_never_answered_may_be_stored_or_not() -> None:
    told = Told().connects(0)
    told.asks("a")
    told.asks("b")
    assert told.gets("b", 1).published("c", 2).gets("c", 2).broken() == set()


def test_of_a_retry_the_answer_says_that_it_is_a_duplicate() -> None:
    told = Told().connects(0).published("a", 1)
    told.stored(told.asks("a"), "a", 1, duplicate=True).gets("a", 1)
    assert told.broken() == set()


def test_a_client_without_a_cursor_goes_on_where_another_device_was() -> None:
    told = Told().connects(0).published("a", 1).gets("a", 1)
    assert told.connects(1, "tablet", keeps=False, found=counts(1, 1, 1)).broken() == set()


def test_a_client_without_a_cursor_may_get_again_what_it_had() -> None:
    told = Told().connects(0, keeps=False).published("a", 1).gets("a", 1)
    assert told.connects(0, keeps=False).gets("a", 1).broken() == set()


BAD: Mapping[str, tuple[str, Told]] = {
    "acknowledged and never delivered": (
        "lost",
        Told().connects(0).published("a", 1).published("b", 2).gets("b", 2),
    ),
    "left out of a replay": (
        "lost",
        Told().connects(0).published("a", 1).published("b", 2).connects(2, recovered=True),
    ),
    "seen by one device and not by another": (
        "lost",
        Told().connects(0).connects(0, "desk").published("a", 1).gets("a", 1).published("b", 2).gets("b", 2)
        .gets("b", 2, "desk"),
    ),
    "begun behind what no device has": ("lost", Told().published("a", 1).connects(1)),
    "got twice": ("twice", Told().connects(0).published("a", 1).gets("a", 1).gets("a", 1)),
    "got twice over a cut": (
        "twice",
        Told().connects(0).published("a", 1).gets("a", 1).connects(0, recovered=True),
    ),
    "got in another order": (
        "order",
        Told().connects(0).published("a", 1).published("b", 2).gets("b", 2).gets("a", 1),
    ),
    "two at one place": ("order", Told().connects(0).published("a", 1).published("b", 1)),
    "one place with two meanings": (
        "order",
        Told().connects(0).connects(0, "desk").published("a", 1).gets("a", 1).gets("a", 1, "desk", type="other"),
    ),
    "acknowledged before the other was asked for, and behind it": (
        "order",
        Told().published("a", 2).published("b", 1),
    ),
    "counted without what was acknowledged": ("order", Told().published("a", 1).counted(0, NOBODY)),
    "a reply before what it counts": (
        "order",
        Told().connects(0).published("a", 1).replied(1, counts(1, 1, 1)).gets("a", 1),
    ),
    "a reply behind what it does not know": (
        "order",
        Told().connects(0).published("a", 1).gets("a", 1).replied(0, NOBODY),
    ),
    "a reply without what it counts": (
        "lost",
        Told().connects(0).published("a", 1).replied(1, counts(1, 1, 1)),
    ),
    "welcomed with counts of never": (
        "counts",
        Told().connects(0).published("a", 1).gets("a", 1).connects(1, recovered=True, found=counts(2, 2, 2)),
    ),
    "welcomed with counts of later": (
        "counts",
        Told().connects(0, found=counts(1, 1, 1)).published("a", 1).gets("a", 1),
    ),
    "counted one too many": ("counts", Told().connects(0).published("a", 1).gets("a", 1).counted(1, counts(2, 1, 1))),
    "a mark that is not counted": (
        "counts",
        Told().connects(0).published("a", 1).gets("a", 1)
        .hears("notification.updated", {"all": True, "change": {"read_at": "t", "seen_at": "t"}}, 2)
        .counted(2, counts(1, 1, 1)),
    ),
    "listed though deleted": (
        "counts",
        Told().connects(0).published("a", 1).gets("a", 1).hears("notification.deleted", {"ids": ["a"]}, 2)
        .inbox(2, [item("a")], NOBODY),
    ),
    "not listed": ("counts", Told().published("a", 1).inbox(1, [], NOBODY)),
    "heard last of other counts": (
        "counts",
        Told().connects(0).published("a", 1).gets("a", 1).inbox(1, [item("a")], counts(1, 1, 1)),
    ),
    "for another user": (
        "stranger",
        Told().connects(0, "desk", "bob").published("a", 1).gets("a", 1, "desk"),
    ),
    "for another role": (
        "stranger",
        Told().connects(0).published("a", 1, {"role": "company"}).gets("a", 1, audience="role"),
    ),
    "published by nobody": ("stranger", Told().connects(0).gets("a", 1)),
    "other words than were published": ("stranger", Told().connects(0).published("a", 1).gets("a", 1, title="other")),
    "what another user did": (
        "stranger",
        Told().connects(0).connects(0, "desk", "bob").published("a", 1).gets("a", 1)
        .hears("notification.deleted", {"ids": ["a"]}, 2, "desk"),
    ),
    "a retry stored again": (
        "retry",
        Told().connects(0).published("a", 1).published("a", 2),
    ),
    "under another id": ("retry", (told := Told()).stored(told.asks("a"), "a", 1, stored_as="b")),
    "taken on from nowhere": ("recovered", Told().connects(0).published("a", 1).gets("a", 1).connects(1)),
    "an answer of a defect": ("answers", (told := Told()).answers(told.asks("a"), 500)),
    "a server that ended": ("defects", Told().fails()),
    "an event before session.ready": ("answers", Told().connects(0).connects(0).hears("session.ready", {
        "recovered": True, "reason": None, "counts": NOBODY}, 0)),
}  # fmt: skip


def test_there_is_a_bad_history_of_every_promise() -> None:
    assert {promise for promise, _ in BAD.values()} == PROMISES.keys()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_found(name: str) -> None:
    promise, told = BAD[name]
    assert promise in told.broken()


def test_a_conflict_is_not_stored() -> None:
    told = Told().connects(0)
    assert told.answers(told.asks("a"), 409).gets("a", 1).broken() == {"retry"}


def test_a_verdict_says_in_words_what_is_broken() -> None:
    text = verdict(*judge(Told().published("a", 1).published("a", 2).records))
    assert "BROKEN: what is published again with its id is stored once (2 times)" in text
    assert "kept: counts and lists are right" in text


def test_it_needs_nothing_but_python() -> None:
    ended = subprocess.run(
        [sys.executable, "-I", "-S", checker.__file__, "/dev/null"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "tests." not in Path(checker.__file__).read_text().partition("from __future__")[2]
