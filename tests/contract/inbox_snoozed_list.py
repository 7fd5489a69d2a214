"""What a user has snoozed is listed by itself, until it is back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

from adapters.contract.events import item_json
from adapters.contract.json_text import timestamp
from domain.model import EVERYONE, Action, Counts, InboxQuery, ItemState, Room, Subscriber
from tests.contract.inbox_erasures import erase
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    HOUR,
    OpenedStore,
    OpenStore,
    draft,
    ids_of,
    items_of,
    pass_time,
    register,
)
from tests.contract.inbox_schedule import deliver
from tests.doubles import START, ManualClock

UNTIL = START + HOUR
MANAGER = Room("role:manager")


async def snoozed(inbox: OpenedStore, whom: Subscriber) -> list[str]:
    return await ids_of(inbox, whom, ItemState.SNOOZED)


class SnoozedListContract:
    async def test_it_is_listed_with_its_time(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([draft("a", ANN, BOB), draft("b"), draft("c", COMPANY), draft("d", EVERYONE)])
        await inbox.change(ann, Action.READ, ["a"], START)
        await inbox.change(ann, Action.ARCHIVE, ["c"], START)
        assert await snoozed(inbox, ann) == []
        listed = {item["id"]: item for item in await items_of(inbox, ann)}
        await inbox.snooze(ann, ["a", "d"], UNTIL, START)
        await inbox.snooze(ann, ["c"], UNTIL + HOUR, START)
        # They are as they were, with one member more.
        assert await items_of(inbox, ann, ItemState.SNOOZED) == [
            listed["d"] | {"snoozed_until": timestamp(UNTIL)},
            listed["c"] | {"snoozed_until": timestamp(UNTIL + HOUR)},
            listed["a"] | {"snoozed_until": timestamp(UNTIL)},
        ]
        page = await inbox.list_items(ann, InboxQuery(state=ItemState.SNOOZED))
        assert (page.counts, page.as_of) == (Counts(1, 1, 1), await inbox.head())
        assert await items_of(inbox, ann) == [listed["b"]]
        assert await snoozed(inbox, bob) == []

    async def test_all_with_them_are_each_in_its_place(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft(id_) for id_ in "abcdef"])
        await inbox.change(ann, Action.ARCHIVE, ["a"], START)
        await inbox.change(ann, Action.DELETE, ["f"], START)
        await inbox.snooze(ann, ["b", "d"], UNTIL, START)
        await deliver(inbox, UNTIL)
        await inbox.snooze(ann, ["d", "c"], UNTIL + HOUR, UNTIL)
        items = await items_of(inbox, ann, ItemState.ALL_AND_SNOOZED)
        assert sorted(item["id"] for item in items) == ["a", "b", "c", "d", "e"]
        assert [item["id"] for item in items if "snoozed_until" in item] == await snoozed(inbox, ann)
        assert [item["id"] for item in items if "snoozed_until" not in item] == await ids_of(inbox, ann)
        assert [item["id"] for item in items][2:] == ["e", "c", "a"]

    async def test_its_pages_are_those_of_any_list(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        ids = [f"n-{number}" for number in range(12)]
        await inbox.append([draft(id_, type_="y" if number % 3 else "x") for number, id_ in enumerate(ids)])
        # Where one has come back before, that is its place.
        await inbox.snooze(ann, ["n-0"], UNTIL, START)
        await deliver(inbox, UNTIL)
        await inbox.snooze(ann, [*ids[:5], *ids[7:]], UNTIL + HOUR, UNTIL)
        expected = ["n-0", *ids[:6:-1], *ids[4:0:-1]]
        for type_, wanted in ((None, expected), ("x", [id_ for id_ in expected if id_ in ids[::3]]), ("z", [])):
            for limit in (1, 2, 3, len(expected), 100):
                found: list[str] = []
                before = None
                while True:
                    query = InboxQuery(limit=limit, before=before, state=ItemState.SNOOZED, type=type_)
                    page = await inbox.list_items(ann, query)
                    found += [json.loads(item_json(item))["id"] for item in page.items]
                    before = page.next
                    if before is None:
                        break
                    assert (len(page.items), before) == (limit, page.items[-1].offset)
                assert found == wanted
        # Of payloads no more than the first would be too many bytes.
        small = await inbox.list_items(ann, InboxQuery(limit=5, max_bytes=1, state=ItemState.SNOOZED))
        assert (len(small.items), small.next) == (1, small.items[0].offset)

    async def test_snoozed_again_or_back_it_is_listed_so(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b"), draft("c")])
        await inbox.snooze(ann, ["a", "b", "c"], UNTIL, START)
        await inbox.snooze(ann, ["b"], UNTIL + HOUR, START)
        times = [(item["id"], item["snoozed_until"]) for item in await items_of(inbox, ann, ItemState.SNOOZED)]
        assert times == [("c", timestamp(UNTIL)), ("b", timestamp(UNTIL + HOUR)), ("a", timestamp(UNTIL))]
        await inbox.snooze(ann, ["c"], START, START)
        assert await snoozed(inbox, ann) == ["b", "a"]
        await deliver(inbox, UNTIL)
        assert await snoozed(inbox, ann) == ["b"]
        assert all("snoozed_until" not in item for item in await items_of(inbox, ann))
        await deliver(inbox, UNTIL + HOUR)
        assert await snoozed(inbox, ann) == []
        assert sorted(await ids_of(inbox, ann)) == ["a", "b", "c"]

    async def test_it_has_what_its_publisher_has_changed(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b", EVERYONE)])
        await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        await inbox.revise("b", lambda one: replace(one, title="x"), START)
        assert [item["title"] for item in await items_of(inbox, ann, ItemState.SNOOZED)] == ["x", "t"]
        await deliver(inbox, UNTIL)
        await inbox.snooze(ann, ["a"], UNTIL + HOUR, UNTIL)
        await inbox.revise("a", lambda one: replace(one, title="y"), START)
        assert [item["title"] for item in await items_of(inbox, ann, ItemState.SNOOZED)] == ["y"]

    async def test_what_never_comes_back_is_not_listed(self, inbox: OpenedStore, clock: ManualClock) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        ids = ["deleted", "recalled", "expired", "kept"]
        await inbox.append([draft(id_, ANN, BOB, expires_at=UNTIL if id_ == "expired" else None) for id_ in ids])
        await inbox.append([draft("old", COMPANY, collapse_key="k")])
        for user in (ann, bob):
            await inbox.snooze(user, [*ids, "old"], UNTIL + HOUR, START)
        assert await snoozed(inbox, ann) == ["old", *ids[::-1]]
        await inbox.change(ann, Action.DELETE, ["deleted"], START)
        await inbox.recall("recalled")
        await inbox.append([draft("new", EVERYONE, collapse_key="k")])
        clock.advance(3600)
        assert await snoozed(inbox, ann) == ["kept"]
        assert await ids_of(inbox, ann, ItemState.ALL_AND_SNOOZED) == ["new", "kept"]
        assert await snoozed(inbox, bob) == ["kept", "deleted"]

    async def test_it_counts_among_those_of_its_user(self, open_inbox: OpenStore) -> None:
        inbox = await open_inbox(inbox_per_user=3)
        ann = await register(inbox)
        await inbox.append([draft("a"), draft("b")])
        await inbox.snooze(ann, ["a", "b"], UNTIL, START)
        await inbox.append([draft("c")])
        assert await snoozed(inbox, ann) == ["b", "a"]
        await inbox.append([draft("d")])
        assert await snoozed(inbox, ann) == ["b"]
        await inbox.append([draft("e"), draft("f")])
        assert await snoozed(inbox, ann) == []

    async def test_what_is_too_old_is_not_listed(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=2 * HOUR)
        ann = await register(inbox)
        await inbox.append([draft("a")])
        clock.advance(3600)
        await inbox.append([draft("b")])
        await inbox.snooze(ann, ["a", "b"], START + 9 * HOUR, START)
        assert await snoozed(inbox, ann) == ["b", "a"]
        clock.advance(3601)
        assert await snoozed(inbox, ann) == ["b"]
        await pass_time(inbox, clock, timedelta(hours=1))
        assert await snoozed(inbox, ann) == []

    async def test_it_is_their_user_s_in_the_roles_that_have_it(self, inbox: OpenedStore) -> None:
        ann, manager = await register(inbox), await register(inbox, role="manager")
        await inbox.append([draft("a"), draft("b", COMPANY), draft("c", MANAGER), draft("d", COMPANY, MANAGER)])
        await inbox.snooze(ann, ["a", "b", "d"], UNTIL, START)
        await inbox.snooze(manager, ["c"], UNTIL, START)
        assert await snoozed(inbox, ann) == ["d", "b", "a"]
        assert await snoozed(inbox, manager) == ["d", "c", "a"]
        assert await snoozed(inbox, await register(inbox, "bob")) == []

    async def test_it_stays_though_its_user_has_left_the_topic(self, inbox: OpenedStore) -> None:
        ann, topic = await register(inbox), Room.of_topic("t")
        await inbox.change_members("t", [ann.user], [], most=1)
        await inbox.append([draft("a", topic), draft("b", topic)])
        await inbox.snooze(ann, ["a"], UNTIL, START)
        await inbox.change_members("t", [], [ann.user], most=1)
        await inbox.append([draft("c", topic)])
        assert await snoozed(inbox, ann) == ["a"]
        await deliver(inbox, UNTIL)
        await inbox.snooze(ann, ["a", "b"], UNTIL + HOUR, UNTIL)
        assert await snoozed(inbox, ann) == ["a", "b"]
        # Everything that is read at once leaves them as they are.
        assert (await inbox.read_all(ann, None, UNTIL)).changed == 0
        assert {item["read_at"] for item in await items_of(inbox, ann, ItemState.SNOOZED)} == {None}

    async def test_who_was_erased_has_none(self, inbox: OpenedStore) -> None:
        ann, bob = await register(inbox), await register(inbox, "bob")
        await inbox.append([draft("a", ANN, BOB), draft("b", EVERYONE)])
        for user in (ann, bob):
            await inbox.snooze(user, ["a", "b"], UNTIL, START)
        await erase(inbox)
        assert await snoozed(inbox, ann) == []
        assert await snoozed(inbox, await register(inbox)) == []
        assert await snoozed(inbox, bob) == ["b", "a"]

    async def test_whatever_comes_back_meanwhile_is_in_one_list_or_in_the_other(self, inbox: OpenedStore) -> None:
        ann = await register(inbox)
        ids = [f"n-{number}" for number in range(60)]
        await inbox.append([draft(id_) for id_ in ids])
        await inbox.snooze(ann, ids, UNTIL, START)

        bringing = asyncio.create_task(deliver(inbox, UNTIL, 7))
        while not bringing.done():
            items = await items_of(inbox, ann, ItemState.ALL_AND_SNOOZED)
            assert sorted(item["id"] for item in items) == sorted(ids)
            await asyncio.sleep(0)
        assert await bringing == 60
        assert await snoozed(inbox, ann) == []
