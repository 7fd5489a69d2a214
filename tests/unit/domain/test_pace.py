from __future__ import annotations

from dataclasses import dataclass

import pytest

from domain.rules.pace import has_room, is_too_slow, slow_since


@dataclass(frozen=True)
class Limits:
    queue_bytes: int = 100
    cut_bytes: int = 800
    slow_seconds: float = 5.0


LIMITS = Limits()


def test_a_client_has_its_time_from_when_too_much_waits_and_anew_once_it_has_caught_up() -> None:
    since = None
    judged = []
    for now, waiting in ((0.0, 101), (4.0, 500), (5.0, 101), (5.1, 101), (6.0, 100), (7.0, 101), (12.0, 101)):
        since = slow_since(since, waiting, now, LIMITS)
        judged.append(is_too_slow(since, waiting, now, LIMITS))
    assert judged == [False, False, False, True, False, False, False]


@pytest.mark.parametrize(("waiting", "is_cut"), [(800, False), (801, True)])
def test_there_is_an_end_to_what_may_wait_at_all(waiting: int, *, is_cut: bool) -> None:
    assert is_too_slow(0.0, waiting, 0.0, LIMITS) is is_cut


@pytest.mark.parametrize(("waiting", "room"), [(0, True), (50, True), (51, False)])
def test_there_is_room_for_a_page_while_half_of_it_is_free(waiting: int, *, room: bool) -> None:
    assert has_room(waiting, LIMITS) is room
