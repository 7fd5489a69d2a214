"""What SQL says of the state of items is what the rules of the domain say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.store.sqlite.store import SqliteStore
from domain.model import Action, Counts, InboxQuery, Item, ItemState, Subscriber
from domain.rules.item_state import ItemTimes, UserState
from tests.campaigning import examples
from tests.contract.inbox_harness import draft, reader
from tests.doubles import START, ManualClock
from tests.folders import folder_in_memory

ITEMS = 6

# An action at some items, or, without them, everything that is there by then is read; None brings a new one.
steps = st.lists(
    st.tuples(st.sampled_from(Action), st.sets(st.integers(0, ITEMS - 1), min_size=1))
    | st.tuples(st.just(Action.READ), st.just(frozenset[int]()))
    | st.none(),
    max_size=25,
)


class ByTheRules:
    """The same items, as the domain has them."""

    def __init__(self) -> None:
        self.state = UserState()
        self.offsets: dict[str, int] = {}

    def times(self) -> dict[str, ItemTimes]:
        return {id_: self.state.of(offset) for id_, offset in self.offsets.items()}

    def in_state(self, state: ItemState) -> list[str]:
        return [id_ for id_, times in self.times().items() if times.is_in(state)]

    @property
    def counts(self) -> Counts:
        counted = [times.counted for times in self.times().values()]
        return Counts(sum(c.unread for c in counted), sum(c.unseen for c in counted), sum(c.total for c in counted))


async def listed(inbox: SqliteStore, subscriber: Subscriber, state: ItemState) -> Sequence[Item]:
    return (await inbox.list_items(subscriber, InboxQuery(limit=100, state=state))).items[::-1]


@pytest.mark.campaign
@settings(max_examples=examples(50, in_full=1_000))
@given(steps)
def test_every_step_leads_to_what_the_rules_lead_to(done: list[tuple[Action, frozenset[int]] | None]) -> None:
    async def story(folder: str) -> None:
        inbox, rules, ann = SqliteStore(Path(folder) / "inbox.db", clock=ManualClock()), ByTheRules(), reader()
        await inbox.open()
        try:
            for number, step in enumerate([None, None, *done]):
                if step is None:
                    (appended,) = await inbox.append([draft(f"n-{len(rules.offsets)}")])
                    rules.offsets[appended.id] = appended.position.offset
                else:
                    await do(inbox, ann, rules, step[0], [f"n-{pick}" for pick in sorted(step[1])], number)
                for state in ItemState:
                    items = await listed(inbox, ann, state)
                    assert [item.offset for item in items] == [rules.offsets[id_] for id_ in rules.in_state(state)]
                    for item in items:
                        times = rules.state.of(item.offset)
                        assert (item.read_at, item.seen_at, item.archived_at) == (
                            times.read_at, times.seen_at, times.archived_at,
                        )  # fmt: skip
                assert (await inbox.count(ann)).counts == rules.counts
        finally:
            await inbox.close()

    with folder_in_memory() as folder:
        asyncio.run(story(folder))


async def do(
    inbox: SqliteStore, ann: Subscriber, rules: ByTheRules, action: Action, ids: Sequence[str], seconds: int
) -> None:
    time = START + timedelta(seconds=seconds)
    before = rules.times()
    if ids:
        changed = await inbox.change(ann, action, ids, time)
        for id_ in ids:
            if id_ in rules.offsets:
                rules.state.put(rules.offsets[id_], before[id_].after(action, time))
    else:
        changed = await inbox.read_all(ann, None, time)
        if any(times.after(Action.READ, time) != times for times in before.values()):
            rules.state.read_all(changed.as_of.offset, time)
    after = rules.times()
    assert changed.changed == sum(after[id_] != before[id_] for id_ in before)
    assert changed.counts == rules.counts
