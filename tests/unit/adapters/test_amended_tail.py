"""The newest entries of a log, of which some revise others, or take them back."""

from __future__ import annotations

from dataclasses import replace

from adapters.store.tail import is_plain
from domain.model import NOTIFICATION_DELETED, NOTIFICATION_REVISED, Entry, Json
from tests.unit.adapters.test_tail import ANN, BOB, PLENTY, entry, filled, offsets, subscriber


def recall(offset: int, about: int) -> Entry:
    return replace(entry(offset, ANN, BOB), event=NOTIFICATION_DELETED, about=about)


def test_what_is_taken_back_leaves_its_rooms_and_keeps_its_place() -> None:
    tail = filled((ANN, BOB), (ANN,))
    tail.append([recall(3, about=1)])
    assert offsets(tail.page(subscriber({ANN: 0}), 0, 3, **PLENTY)[0]) == [2, 3]
    assert list(tail.newest_first(BOB, 0)) == [3]
    first, *_ = tail.batch(0)
    assert (first.position.offset, first.payload) == (1, b"")
    while len(tail):
        tail.drop_first()
    assert (tail.bytes, list(tail.offsets(ANN, 0))) == (0, [])


def test_what_is_not_at_hand_any_more_is_passed_over() -> None:
    tail = filled((ANN,), (ANN,), floor=4)
    tail.append([recall(7, about=2)])
    assert offsets(tail.page(subscriber({ANN: 0}), 4, 7, **PLENTY)[0]) == [5, 6, 7]


def test_where_the_log_has_lost_that_it_was_taken_back_nothing_is_at_hand() -> None:
    tail = filled((ANN,), (ANN,))
    tail.append([recall(3, about=1)])
    tail.cut_back(2)
    assert (tail.floor, tail.head, tail.bytes) == (2, 2, 0)
    kept = filled((ANN,), (ANN,), (BOB,))
    kept.cut_back(2)
    assert (kept.floor, kept.head) == (0, 2)


def revision(offset: int, about: int, payload: bytes) -> Entry:
    return replace(entry(offset, ANN), event=NOTIFICATION_REVISED, about=about, payload=Json(payload))


def test_what_is_revised_says_where_and_only_the_last_of_what_revises_it_stays() -> None:
    tail = filled((ANN,), (BOB,))
    tail.append([revision(3, 1, b"second")])
    tail.append([revision(4, 1, b"third, which is longer")])
    page, _ = tail.page(subscriber({ANN: 0}), 0, 4, **PLENTY)
    assert [(one.position.offset, one.revised, one.about) for one in page] == [(1, 4, None), (4, None, 1)]
    assert {one.payload for one in page} == {b"third, which is longer"}
    assert not is_plain(page, 4)
    assert not is_plain(page[:1], 3)
    assert is_plain(page[:1], 4)
    tail.append([recall(5, about=1)])
    assert offsets(tail.page(subscriber({ANN: 0}), 0, 5, **PLENTY)[0]) == [5]
    while len(tail):
        tail.drop_first()
    assert tail.bytes == 0
