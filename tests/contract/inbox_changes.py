"""What every store must do when users mark their notifications: to lists and counts, and in the log."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adapters.contract.json_text import timestamp
from domain.errors import CursorRefused
from domain.model import EVERYONE, Action, Changed, Counts, Position, RecoveryReason, Subscriber, UserId
from tests.contract.inbox_harness import (
    ADMIN,
    ANN,
    BOB,
    COMPANY,
    HOUR,
    Following,
    OpenedStore,
    OpenStore,
    at,
    draft,
    entries_of,
    events_of,
    ids_of,
    items_of,
    pass_time,
    reader,
    register,
    turns,
)
from tests.doubles import START, ManualClock

TIMES = {"1": START + timedelta(minutes=1), "2": START + timedelta(minutes=2), "3": START + timedelta(minutes=3)}
NAMES = ("read_at", "seen_at", "archived_at")

# What was done at the time 1, and the times it left: read, seen, archived.
BEFORE: dict[str, tuple[tuple[Action, ...], str]] = {
    "fresh": ((), "---"),
    "seen": ((Action.SEEN,), "-1-"),
    "read": ((Action.READ,), "11-"),
    "unread again": ((Action.READ, Action.UNREAD), "-1-"),
    "archived": ((Action.ARCHIVE,), "--1"),
    "archived, seen": ((Action.ARCHIVE, Action.SEEN), "-11"),
    "archived, read": ((Action.READ, Action.ARCHIVE), "111"),
    "taken back": ((Action.ARCHIVE, Action.UNARCHIVE), "---"),
    "deleted": ((Action.READ, Action.DELETE), "gone"),
}

# What an action at the time 2 makes of those times. Where there is nothing it changes nothing.
AFTER: dict[Action, dict[str, str]] = {
    Action.READ: {"---": "22-", "-1-": "21-", "--1": "221", "-11": "211"},
    Action.UNREAD: {"11-": "-1-", "111": "-11"},
    Action.SEEN: {"---": "-2-", "--1": "-21"},
    Action.ARCHIVE: {"---": "--2", "-1-": "-12", "11-": "112"},
    Action.UNARCHIVE: {"--1": "---", "-11": "-1-", "111": "11-"},
    Action.DELETE: {times: "gone" for _, times in BEFORE.values() if times != "gone"},
}

CHANGES: dict[Action, dict[str, Any]] = {
    Action.READ: {"read_at": timestamp(TIMES["2"]), "seen_at": timestamp(TIMES["2"])},
    Action.UNREAD: {"read_at": None},
    Action.SEEN: {"seen_at": timestamp(TIMES["2"])},
    Action.ARCHIVE: {"archived_at": timestamp(TIMES["2"])},
    Action.UNARCHIVE: {"archived_at": None},
}


async def times_of(inbox: OpenedStore, subscriber: Subscriber) -> dict[str, str]:
    """The times of each item of an inbox, as they are written above."""
    names = {timestamp(time): name for name, time in TIMES.items()} | {None: "-"}
    return {item["id"]: "".join(names[item[name]] for name in NAMES) for item in await items_of(inbox, subscriber)}


def counts_of(times: dict[str, str]) -> Counts:
    current = [letters for letters in times.values() if letters[2] == "-"]
    return Counts(
        unread=sum(letters[0] == "-" for letters in current),
        unseen=sum(letters[1] == "-" for letters in current),
        total=len(current),
    )


class ChangeContract:
    @pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
    @pytest.mark.parametrize("state", BEFORE)
    async def test_every_action_in_every_state(self, inbox: OpenedStore, action: Action, state: str) -> None:
        ann = reader(ANN, EVERYONE)
        steps, before = BEFORE[state]
        await inbox.append([draft("other"), draft("it", EVERYONE)])
        for step in steps:
            assert (await inbox.change(ann, step, ["it"], TIMES["1"])).changed == 1
        expected = {"it": before, "other": "---"} if before != "gone" else {"other": "---"}
        assert await times_of(inbox, ann) == expected
        head = await inbox.head()

        changed = await inbox.change(ann, action, ["it"], TIMES["2"])

        after = AFTER[action].get(before)
        if after == "gone":
            del expected["it"]
        elif after is not None:
            expected["it"] = after
        assert await times_of(inbox, ann) == expected
        assert changed == Changed(int(after is not None), counts_of(expected), at(head, int(after is not None)))
        assert (await inbox.count(ann)).counts == changed.counts
        said = await events_of(inbox, ann, head)
        if after is None:
            assert said == []
        elif action is Action.DELETE:
            assert said == [("notification.deleted", {"ids": ["it"]})]
        else:
            assert said == [("notification.updated", {"ids": ["it"], "change": CHANGES[action]})]

    async def test_only_those_that_change_are_named_in_the_order_they_were(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft(id_) for id_ in "abcde"] + [draft("bob", BOB)])
        await inbox.change(ann, Action.READ, ["b"], START)
        await inbox.change(ann, Action.DELETE, ["d"], START)
        head = await inbox.head()
        changed = await inbox.change(ann, Action.READ, ["e", "unknown", "b", "a", "d", "bob", "c"], START)
        assert (changed.changed, changed.as_of) == (3, at(head, 1))
        ((_, said),) = await events_of(inbox, ann, head)
        assert said["ids"] == ["e", "a", "c"]

    async def test_what_somebody_cannot_reach_is_as_unknown_and_unchanged(
        self, inbox: OpenedStore, clock: ManualClock
    ) -> None:
        await inbox.append([draft("below", EVERYONE), draft("below-role", COMPANY)])
        ann, bob = await register(inbox), await register(inbox, "bob", "admin")
        await inbox.append([draft("bob", BOB), draft("admin", ADMIN), draft("gone", expires_at=START + HOUR)])
        clock.advance(3600)
        head = await inbox.head()
        for action in Action:
            changed = await inbox.change(ann, action, ["below", "below-role", "bob", "admin", "gone", "never"], START)
            assert changed == Changed(0, Counts(0, 0, 0), head)
        assert await inbox.head() == head
        assert await times_of(inbox, bob) == {"bob": "---", "admin": "---"}
        assert await times_of(inbox, reader(EVERYONE)) == {"below": "---"}

    async def test_what_one_user_does_is_nothing_to_another(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([draft("a", EVERYONE), draft("b", COMPANY), draft("c", ANN, BOB)])
        head = await inbox.head()
        await inbox.change(ann, Action.READ, ["a"], TIMES["1"])
        await inbox.change(ann, Action.DELETE, ["b"], TIMES["1"])
        await inbox.read_all(ann, None, TIMES["2"])
        assert await times_of(inbox, ann) == {"a": "11-", "c": "22-"}
        assert await times_of(inbox, bob) == {"a": "---", "b": "---", "c": "---"}
        assert await events_of(inbox, bob, head) == []
        assert [entry.rooms for entry in await entries_of(inbox, ann, head)] == [{ANN}] * 3

    async def test_as_many_as_may_be_named_are_one_entry(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        ids = [f"n-{number}" for number in range(500)]
        await inbox.append([draft(id_) for id_ in ids])
        head = await inbox.head()
        assert await inbox.change(ann, Action.ARCHIVE, ids[::-1], START) == Changed(500, Counts(0, 0, 0), at(head, 1))
        ((_, said),) = await events_of(inbox, ann, head)
        assert said["ids"] == ids[::-1]

    async def test_devices_that_do_the_same_at_once_do_it_once(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a"), draft("b")])
        head = await inbox.head()
        answers = await asyncio.gather(*(inbox.change(ann, Action.READ, ["a", "b"], START) for _ in range(10)))
        assert sorted(answer.changed for answer in answers) == [0] * 9 + [2]
        assert {answer.as_of for answer in answers} == {at(head, 1)}
        assert await inbox.head() == at(head, 1)

    async def test_those_who_follow_hear_of_it(self, inbox: OpenedStore) -> None:
        await inbox.append([draft("a")])
        head = await inbox.head()
        following = Following(inbox, head).start(head.offset + 1)
        await turns()
        await inbox.change(reader(ANN), Action.SEEN, ["a"], START)
        assert await following == [head.offset + 1]


class ReadAllContract:
    async def test_everything_before_it_is_read_by_one_entry(self, inbox: OpenedStore) -> None:
        ann = reader(ANN, EVERYONE)
        await inbox.append([draft(id_, EVERYONE) for id_ in ("fresh", "seen", "read", "kept", "gone")])
        await inbox.change(ann, Action.SEEN, ["seen"], TIMES["1"])
        await inbox.change(ann, Action.READ, ["read"], TIMES["1"])
        await inbox.change(ann, Action.ARCHIVE, ["kept"], TIMES["1"])
        await inbox.change(ann, Action.DELETE, ["gone"], TIMES["1"])
        head = await inbox.head()
        changed = await inbox.read_all(ann, None, TIMES["2"])
        assert changed == Changed(3, Counts(unread=0, unseen=0, total=3), at(head, 1))
        assert await times_of(inbox, ann) == {"fresh": "22-", "seen": "21-", "read": "11-", "kept": "221"}
        said = await events_of(inbox, ann, head)
        assert said == [("notification.updated", {"all": True, "change": CHANGES[Action.READ]})]

    async def test_what_comes_later_is_not_read(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a")])
        await inbox.read_all(ann, None, TIMES["1"])
        await inbox.append([draft("b")])
        assert await times_of(inbox, ann) == {"a": "11-", "b": "---"}
        assert (await inbox.count(ann)).counts == Counts(1, 1, 2)

    async def test_a_second_one_keeps_the_times_of_the_first(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a"), draft("b")])
        await inbox.change(ann, Action.SEEN, ["b"], TIMES["1"])
        await inbox.read_all(ann, None, TIMES["1"])
        await inbox.append([draft("c")])
        assert (await inbox.read_all(ann, None, TIMES["2"])).changed == 1
        assert await times_of(inbox, ann) == {"a": "11-", "b": "11-", "c": "22-"}

    async def test_where_nothing_changes_nothing_is_logged(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        head = await inbox.head()
        assert await inbox.read_all(ann, None, TIMES["1"]) == Changed(0, Counts(0, 0, 0), head)
        await inbox.append([draft("a"), draft("b", BOB)])
        await inbox.change(ann, Action.READ, ["a"], TIMES["1"])
        head = await inbox.head()
        for up_to in (None, head):
            assert await inbox.read_all(ann, up_to, TIMES["2"]) == Changed(0, Counts(0, 0, 1), head)
        assert await inbox.head() == head
        await inbox.read_all(reader(BOB, user="bob"), None, TIMES["2"])
        assert await times_of(inbox, ann) == {"a": "11-"}

    @pytest.mark.parametrize(("action", "after"), [(Action.UNREAD, "-1-"), (Action.ARCHIVE, "112")])
    async def test_what_was_read_with_all_the_rest_can_be_marked_by_itself(
        self, inbox: OpenedStore, action: Action, after: str
    ) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a"), draft("b")])
        await inbox.read_all(ann, None, TIMES["1"])
        for again in (Action.READ, Action.SEEN):
            assert (await inbox.change(ann, again, ["a"], TIMES["2"])).changed == 0
        assert (await inbox.change(ann, action, ["a"], TIMES["2"])).changed == 1
        assert await times_of(inbox, ann) == {"a": after, "b": "11-"}
        changed = await inbox.read_all(ann, None, TIMES["3"])
        assert changed.changed == int(action is Action.UNREAD)
        assert await times_of(inbox, ann) == {"a": "31-" if action is Action.UNREAD else after, "b": "11-"}

    async def test_what_only_is_unseen_counts_as_changed(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft("kept"), draft("gone", expires_at=START)])
        await inbox.change(ann, Action.ARCHIVE, ["kept"], TIMES["1"])
        assert (await inbox.read_all(ann, None, TIMES["2"])).changed == 1
        assert await times_of(inbox, ann) == {"kept": "221"}

    async def test_all_is_all_of_the_log_in_whatever_role(self, inbox: OpenedStore) -> None:
        company, admin = await register(inbox), await register(inbox, role="admin")
        await inbox.append([draft("company", COMPANY), draft("admin", ADMIN), draft("admin-kept", ADMIN)])
        await inbox.change(admin, Action.ARCHIVE, ["admin-kept"], TIMES["1"])
        assert (await inbox.read_all(company, None, TIMES["2"])).changed == 1
        # Every device of the user was told "all", those in the other role too.
        assert await times_of(inbox, admin) == {"admin": "22-", "admin-kept": "221"}

    async def test_what_is_in_the_log_before_the_entry_is_read_however_it_races(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        for number in range(20):
            head = await inbox.head()
            await asyncio.gather(
                inbox.append([draft(f"a-{number}")]),
                inbox.read_all(ann, None, TIMES["1"]),
                inbox.append([draft(f"b-{number}")]),
            )
            read: set[str] = set()
            placed: set[str] = set()
            for event, said in await events_of(inbox, ann, head):
                if event == "notification.new":
                    placed.add(said["id"])
                else:
                    read |= placed
            times = await times_of(inbox, ann)
            assert {id_ for id_ in placed if times[id_] == "11-"} == read
            await inbox.change(ann, Action.DELETE, [f"a-{number}", f"b-{number}"], START)


class ReadUpToContract:
    async def test_what_lies_at_or_before_it_is_read_by_its_ids(self, inbox: OpenedStore) -> None:
        ann = reader(ANN, EVERYONE)
        await inbox.append([draft(id_) for id_ in ("fresh", "read", "kept", "gone", "last")] + [draft("bob", BOB)])
        start = at(await inbox.head(), -6)
        await inbox.append([draft("later", EVERYONE)])
        await inbox.change(ann, Action.READ, ["read"], TIMES["1"])
        await inbox.change(ann, Action.ARCHIVE, ["kept"], TIMES["1"])
        await inbox.change(ann, Action.DELETE, ["gone"], TIMES["1"])
        head = await inbox.head()
        changed = await inbox.read_all(ann, at(start, 5), TIMES["2"])
        assert changed == Changed(3, Counts(unread=1, unseen=1, total=4), at(head, 1))
        assert await times_of(inbox, ann) == {
            "fresh": "22-",
            "read": "11-",
            "kept": "221",
            "last": "22-",
            "later": "---",
        }
        said = await events_of(inbox, ann, head)
        expected = {"ids": ["fresh", "kept", "last"], "change": CHANGES[Action.READ]}
        assert said == [("notification.updated", expected)]

    async def test_of_more_than_may_be_named_at_once_there_are_several_entries(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        ids = [f"n-{number}" for number in range(1001)]
        await inbox.append([draft(id_) for id_ in ids])
        head = await inbox.head()
        _, changed, _ = await asyncio.gather(
            inbox.append([draft("x", BOB)]),
            inbox.read_all(ann, head, TIMES["2"]),
            inbox.append([draft("y", BOB)]),
        )
        assert (changed.changed, changed.counts) == (1001, Counts(0, 0, 1001))
        entries = await entries_of(inbox, ann, head)
        assert [entry.event for entry in entries] == ["notification.updated"] * 3
        # One commit: nobody's entry is between them.
        first = entries[0].position
        assert [entry.position for entry in entries] == [at(first, n) for n in range(3)]
        assert changed.as_of.offset >= entries[-1].position.offset
        said = [change["ids"] for _, change in await events_of(inbox, ann, head)]
        assert said == [ids[:500], ids[500:1000], ids[1000:]]

    @pytest.mark.parametrize("epoch", ["another", None])
    async def test_a_bad_cursor_changes_nothing(self, inbox: OpenedStore, epoch: str | None) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a")])
        head = await inbox.head()
        bad = Position(epoch, head.offset) if epoch is not None else at(head, 1)
        with pytest.raises(CursorRefused) as refused:
            await inbox.read_all(ann, bad, TIMES["2"])
        assert refused.value.reason is (RecoveryReason.UNKNOWN_EPOCH if epoch is not None else RecoveryReason.INVALID)
        assert await inbox.head() == head
        assert await times_of(inbox, ann) == {"a": "---"}

    async def test_a_refused_cursor_spoils_nothing_for_those_beside_it(self, inbox: OpenedStore) -> None:
        ann = reader(ANN)
        await inbox.append([draft("a")])
        head = await inbox.head()
        first, refused, second = await asyncio.gather(
            inbox.append([draft("b")]),
            inbox.read_all(ann, Position("another", 1), TIMES["2"]),
            inbox.change(ann, Action.READ, ["a"], TIMES["1"]),
            return_exceptions=True,
        )
        assert isinstance(refused, CursorRefused)
        assert not isinstance(first, BaseException)
        assert isinstance(second, Changed)
        assert second.changed == 1
        assert await inbox.head() == at(head, 2)
        assert await times_of(inbox, ann) == {"a": "11-", "b": "---"}

    async def test_a_position_before_everything_reads_nothing(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        await inbox.append([draft("a")])
        assert (await inbox.read_all(reader(ANN), start, TIMES["2"])).changed == 0

    async def test_a_position_that_was_trimmed_is_a_place_all_the_same(
        self, open_inbox: OpenStore, clock: ManualClock
    ) -> None:
        inbox = await open_inbox(retention=HOUR)
        ann = reader(ANN)
        await inbox.append([draft("a"), draft("b")])
        first = at(await inbox.head(), -1)
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("c")])
        assert (await inbox.read_all(ann, first, TIMES["2"])).changed == 0
        assert await ids_of(inbox, Subscriber(UserId("ann"), "company", {ANN: 0})) == ["c"]
