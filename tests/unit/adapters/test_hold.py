from __future__ import annotations

import pytest

from adapters.transport.hold import Hold
from domain.model import Position


def at(offset: int) -> Position:
    return Position("e", offset)


def offered(hold: Hold[str], *offsets: int, size: int = 1) -> list[int]:
    """The offsets of those frames that are to be sent now."""
    return [offset for offset in offsets if hold.offer(at(offset), f"frame {offset}", size)]


def released(max_bytes: int = 10, *, after: int = 0) -> Hold[str]:
    hold: Hold[str] = Hold(max_bytes)
    assert hold.release(at(after)) == []
    return hold


def test_what_is_offered_before_the_release_follows_it_in_order() -> None:
    hold: Hold[str] = Hold(10)
    assert offered(hold, 1, 2, 3) == []
    assert hold.release(at(1)) == ["frame 2", "frame 3"]
    assert offered(hold, 4) == [4]


def test_what_lies_at_or_below_the_release_is_not_sent_when_it_comes_late() -> None:
    hold = released(after=3)
    assert hold.live_after == 3
    assert offered(hold, 2, 3, 4) == [4]


@pytest.mark.parametrize(("held", "kept"), [(10, True), (11, False)])
def test_the_bound_may_be_reached_and_not_passed(held: int, *, kept: bool) -> None:
    hold: Hold[str] = Hold(10)
    offered(hold, 1, size=held)
    assert hold.release(at(0)) == (["frame 1"] if kept else None)


def test_past_the_bound_all_is_dropped_and_it_holds_anew() -> None:
    hold: Hold[str] = Hold(10)
    offered(hold, 1, 2, size=6)
    # Neither is one that would fit kept: the log has to be read on in any case.
    offered(hold, 3)
    assert hold.release(at(0)) is None
    assert offered(hold, 4) == []
    assert hold.release(at(3)) == ["frame 4"]
    assert offered(hold, 5) == [5]


def test_what_was_dropped_leaves_its_whole_room_to_what_follows() -> None:
    hold: Hold[str] = Hold(10)
    offered(hold, 1, size=11)
    assert hold.release(at(0)) is None
    offered(hold, 2, size=10)
    assert hold.release(at(1)) == ["frame 2"]


def test_a_second_release_sends_nothing_again() -> None:
    hold: Hold[str] = Hold(10)
    offered(hold, 1)
    assert hold.release(at(0)) == ["frame 1"]
    assert hold.release(at(0)) == []


def test_holding_again_needs_a_release_before_it() -> None:
    with pytest.raises(RuntimeError, match="never released"):
        Hold(10).begin(None)


def test_held_again_nothing_is_live_until_the_next_release() -> None:
    hold = released()
    assert offered(hold, 1, 2) == [1, 2]
    assert hold.begin(at(2)) == at(2)
    # Not even the highest offset there is may pass by without an offer.
    assert hold.live_after > 10**18
    assert offered(hold, 3, 4) == []
    assert hold.release(at(3)) == ["frame 4"]
    assert hold.live_after == 3
    assert offered(hold, 3, 5) == [5]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(None, 7), (5, 7), (7, 7), (9, 9)],
    ids=["nothing was broadcast", "the tail is behind", "just there", "the tail is ahead"],
)
def test_the_position_of_a_hold_is_the_later_of_release_and_broadcast(sent: int | None, expected: int) -> None:
    hold = released(after=7)
    assert hold.begin(at(sent) if sent is not None else None) == at(expected)


def test_what_was_sent_before_the_hold_is_not_held_when_it_is_offered_late() -> None:
    hold = released()
    hold.begin(at(4))
    offered(hold, 4, 5)
    assert hold.release(at(4)) == ["frame 5"]


def test_to_hold_what_is_held_changes_nothing() -> None:
    hold = released()
    assert hold.begin(at(2)) == at(2)
    offered(hold, 3)
    assert hold.begin(at(3)) == at(2)
    assert hold.release(at(2)) == ["frame 3"]


def test_held_again_the_bound_is_what_it_was() -> None:
    hold: Hold[str] = Hold(10)
    offered(hold, 1, size=8)
    hold.release(at(0))
    hold.begin(at(1))
    offered(hold, 2, size=10)
    assert hold.release(at(1)) == ["frame 2"]
    hold.begin(at(2))
    offered(hold, 3, size=11)
    assert hold.release(at(2)) is None
    assert hold.release(at(3)) == []
