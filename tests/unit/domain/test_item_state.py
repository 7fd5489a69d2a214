"""The state of one user's notifications: of each one what was done to it, or what was done to all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.model import Action, Counts, ItemState
from domain.rules.item_state import ItemTimes, UserState, change_of, counts_after
from tests.doubles import START

FIRST, SECOND, THIRD = (START + timedelta(minutes=number) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        (ItemTimes(), Action.READ, ItemTimes(read_at=SECOND, seen_at=SECOND)),
        (ItemTimes(seen_at=FIRST), Action.READ, ItemTimes(read_at=SECOND, seen_at=FIRST)),
        (ItemTimes(read_at=FIRST, seen_at=FIRST), Action.READ, ItemTimes(read_at=FIRST, seen_at=FIRST)),
        (ItemTimes(read_at=FIRST, seen_at=FIRST), Action.UNREAD, ItemTimes(seen_at=FIRST)),
        (ItemTimes(), Action.SEEN, ItemTimes(seen_at=SECOND)),
        (ItemTimes(seen_at=FIRST), Action.SEEN, ItemTimes(seen_at=FIRST)),
        (ItemTimes(read_at=FIRST), Action.ARCHIVE, ItemTimes(read_at=FIRST, archived_at=SECOND)),
        (ItemTimes(archived_at=FIRST), Action.ARCHIVE, ItemTimes(archived_at=FIRST)),
        (ItemTimes(archived_at=FIRST), Action.UNARCHIVE, ItemTimes()),
        (ItemTimes(read_at=FIRST), Action.DELETE, ItemTimes(read_at=FIRST, deleted=True, deleted_at=SECOND)),
        (ItemTimes(deleted=True), Action.DELETE, ItemTimes(deleted=True)),
        (ItemTimes(deleted=True), Action.READ, ItemTimes(deleted=True)),
        (ItemTimes(archived_at=FIRST, deleted=True), Action.UNARCHIVE, ItemTimes(archived_at=FIRST, deleted=True)),
    ],
)
def test_what_an_action_makes_of_the_times(before: ItemTimes, action: Action, after: ItemTimes) -> None:
    assert before.after(action, SECOND) == after


@pytest.mark.parametrize(
    ("times", "states", "counted"),
    [
        (ItemTimes(), {ItemState.CURRENT, ItemState.UNREAD}, Counts(1, 1, 1)),
        (ItemTimes(seen_at=FIRST), {ItemState.CURRENT, ItemState.UNREAD}, Counts(1, 0, 1)),
        (ItemTimes(read_at=FIRST, seen_at=FIRST), {ItemState.CURRENT, ItemState.READ}, Counts(0, 0, 1)),
        (ItemTimes(archived_at=FIRST), {ItemState.ARCHIVED}, Counts(0, 0, 0)),
        (ItemTimes(FIRST, FIRST, FIRST), {ItemState.ARCHIVED}, Counts(0, 0, 0)),
        (ItemTimes(deleted=True), set(), Counts(0, 0, 0)),
        (ItemTimes(snoozed_until=SECOND), {ItemState.SNOOZED}, Counts(0, 0, 0)),
        (ItemTimes(FIRST, FIRST, FIRST, snoozed_until=SECOND), {ItemState.SNOOZED}, Counts(0, 0, 0)),
        (ItemTimes(deleted=True, snoozed_until=SECOND), set(), Counts(0, 0, 0)),
    ],
)
def test_where_an_item_is_shown_and_what_it_adds_to_the_counts(
    times: ItemTimes, states: set[ItemState], counted: Counts
) -> None:
    shown = states | {ItemState.ALL_AND_SNOOZED} if states else set()
    if states and ItemState.SNOOZED not in states:
        shown.add(ItemState.ALL)
    assert {state for state in ItemState if times.is_in(state)} == shown
    assert times.counted == counted


def test_counts_are_kept_by_what_changes() -> None:
    read = ItemTimes(FIRST, FIRST)
    changed = [(ItemTimes(), read), (read, ItemTimes(None, FIRST)), (ItemTimes(), ItemTimes(deleted=True))]
    assert counts_after(Counts(5, 5, 9), changed) == Counts(4, 3, 8)
    assert counts_after(Counts(5, 5, 9), []) == Counts(5, 5, 9)


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.DELETE])
def test_what_is_said_of_a_change_leads_to_the_same_times(action: Action) -> None:
    for before in (ItemTimes(), ItemTimes(FIRST, FIRST, FIRST), ItemTimes(None, FIRST, None)):
        told = {name: getattr(before, name) for name in ("read_at", "seen_at", "archived_at")}
        for name, time in change_of(action, SECOND).items():
            told[name] = time and (told[name] or time)
        assert ItemTimes(**told) == before.after(action, SECOND)


def test_what_nobody_touched_is_as_it_came() -> None:
    assert UserState().of(7) == ItemTimes()


def test_all_is_what_lies_before_it() -> None:
    state = UserState()
    state.read_all(5, FIRST)
    assert [state.of(offset) for offset in (1, 4)] == [ItemTimes(FIRST, FIRST)] * 2
    assert state.of(6) == ItemTimes()


def test_the_first_time_stays() -> None:
    state = UserState()
    state.read_all(5, FIRST)
    state.read_all(9, SECOND)
    assert state.of(4) == ItemTimes(FIRST, FIRST)
    assert state.of(8) == ItemTimes(SECOND, SECOND)
    assert state.of(10) == ItemTimes()


def test_what_was_touched_is_read_with_the_rest() -> None:
    state = UserState()
    for offset, times in enumerate((ItemTimes(seen_at=FIRST), ItemTimes(archived_at=FIRST), ItemTimes(FIRST, FIRST))):
        state.put(offset, times)
    state.read_all(5, SECOND)
    assert [state.of(offset) for offset in range(3)] == [
        ItemTimes(SECOND, FIRST),
        ItemTimes(SECOND, SECOND, FIRST),
        ItemTimes(FIRST, FIRST),
    ]


def test_what_was_read_with_all_can_be_marked_by_itself() -> None:
    state = UserState()
    state.read_all(5, FIRST)
    state.put(3, state.of(3).after(Action.UNREAD, SECOND))
    assert (state.of(3), state.of(2)) == (ItemTimes(None, FIRST), ItemTimes(FIRST, FIRST))
    state.read_all(9, THIRD)
    assert (state.of(3), state.of(2)) == (ItemTimes(THIRD, FIRST), ItemTimes(FIRST, FIRST))


def test_what_is_gone_is_forgotten_and_the_rest_is_as_it_was() -> None:
    state = UserState()
    state.put(1, ItemTimes(archived_at=FIRST))
    state.put(4, ItemTimes(deleted=True))
    for offset, at in ((3, FIRST), (6, SECOND), (9, THIRD)):
        state.read_all(offset, at)
    before = {offset: state.of(offset) for offset in range(4, 12)}
    state.forget(3)
    assert {offset: state.of(offset) for offset in range(4, 12)} == before
    assert (list(state._touched), len(state._all_read)) == ([4], 2)


steps = st.lists(
    st.tuples(st.sampled_from([*Action, None]), st.integers(1, 12)) | st.just((None, 0)), min_size=1, max_size=40
)


@given(steps)
def test_it_is_what_doing_everything_to_each_one_gives(done: list[tuple[Action | None, int]]) -> None:
    """A step is an action at an item that is there by then, all that are read (None, 0), or a new item (None, n)."""
    state = UserState()
    plain: dict[int, ItemTimes] = {}
    for offset, (action, pick) in enumerate(done, 1):
        at = START + timedelta(seconds=offset)
        if action is not None and plain:
            item = list(plain)[pick % len(plain)]
            plain[item] = plain[item].after(action, at)
            state.put(item, state.of(item).after(action, at))
        elif pick == 0:
            plain = {item: times.after(Action.READ, at) for item, times in plain.items()}
            state.read_all(offset, at)
        elif action is None:
            plain[offset] = ItemTimes()
        assert {item: state.of(item) for item in plain} == plain
