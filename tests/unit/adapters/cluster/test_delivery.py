"""What the owner of a session knows of an answer that went by another node, and what that node tells of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from adapters.cluster.delivery import Deliveries
from adapters.cluster.messages import AnswerNumber, Seen
from adapters.cluster.witness import WATCHED_SECONDS, Witnesses
from tests.doubles import ManualClock

SEEN = Seen(
    AnswerNumber(1),
    is_written=True,
    was_followed=False,
    was_cut=False,
    was_cut_short=False,
    was_reset=False,
    is_acknowledged=False,
    is_final=False,
)


def seen(**changed: bool) -> Seen:
    return msgspec.structs.replace(SEEN, **changed)


HERE = seen(is_written=False)


def test_nothing_is_known_before_the_other_node_has_said_it() -> None:
    deliveries = Deliveries()
    delivery = deliveries.new()
    told: list[bool] = []
    delivery.watch(lambda: told.append(delivery.is_confirmed))
    assert (delivery.is_confirmed, delivery.is_witnessed) == (False, True)
    deliveries.tell(seen())
    assert told == [True]
    assert not delivery.is_acknowledged
    deliveries.tell(seen(is_acknowledged=True))
    assert delivery.is_acknowledged
    deliveries.tell(seen(was_cut=True, is_final=True))
    assert (delivery.was_cut, delivery.is_acknowledged) == (True, False)
    assert told == [True, True, True]


def test_what_was_said_first_and_comes_last_takes_nothing_back() -> None:
    deliveries = Deliveries()
    delivery = deliveries.new()
    deliveries.tell(seen(was_followed=True, was_reset=True))
    deliveries.tell(seen())
    assert delivery.was_followed
    assert delivery.was_reset


def test_of_what_is_final_nothing_more_is_lost() -> None:
    deliveries = Deliveries()
    delivery = deliveries.new()
    deliveries.tell(seen(was_followed=True, is_final=True))
    deliveries.lose_sight([delivery.number])
    assert delivery.is_witnessed


def test_of_what_is_not_final_no_more_is_known_when_the_link_is_gone() -> None:
    deliveries = Deliveries()
    delivery, other = deliveries.new(), deliveries.new()
    told: list[bool] = []
    delivery.watch(lambda: told.append(delivery.is_witnessed))
    deliveries.lose_sight([delivery.number])
    deliveries.tell(seen())
    assert told == [False]
    assert not delivery.is_confirmed
    assert other.is_witnessed


def test_of_what_was_not_written_whole_nothing_is_known_when_the_link_is_gone() -> None:
    deliveries = Deliveries()
    delivery = deliveries.new()
    deliveries.tell(HERE)
    assert delivery.is_confirmed
    deliveries.lose_sight([delivery.number])
    assert not delivery.is_confirmed


def test_an_answer_that_has_not_left_this_node_is_lost_for_certain() -> None:
    delivery = Deliveries().new()
    delivery.never_sent()
    assert delivery.is_confirmed
    assert delivery.was_cut_short


@dataclass
class Written:
    """An answer on a connection of this node."""

    was_followed: bool = False
    was_cut: bool = False
    was_cut_short: bool = False
    was_reset: bool = False
    is_acknowledged: bool = False
    is_final: bool = False
    written: Callable[[], None] | None = None
    told: Callable[[], None] | None = None

    def when_written(self, told: Callable[[], None]) -> None:
        self.written = told

    def watch(self, told: Callable[[], None]) -> None:
        self.told = told

    def becomes(self, **changed: bool) -> None:
        vars(self).update(changed)
        if self.told is not None:
            self.told()


class ToldLink:
    """A link that keeps what the owner is told over it."""

    def __init__(self) -> None:
        self.said: list[Seen] = []
        self.unfinished = 0

    def tell(self, told: Seen) -> None:
        self.said.append(told)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def watching(clock: ManualClock) -> tuple[Witnesses, ToldLink, Written]:
    witnesses, link, written = Witnesses(clock), ToldLink(), Written()
    watch(witnesses, link, 1, written)
    return witnesses, link, written


def watch(witnesses: Any, link: Any, number: int, written: Any) -> None:
    witnesses.watch("sid", link, AnswerNumber(number), written)


@pytest.mark.gen_test
async def test_that_it_is_here_is_said_before_all_was_written(clock: ManualClock) -> None:
    witnesses, link, written = watching(clock)
    witnesses.sweep()
    assert link.said == [HERE]
    assert written.written is not None
    written.written()
    witnesses.sweep()
    assert link.said == [HERE, seen()]


@pytest.mark.gen_test
async def test_what_becomes_of_an_answer_is_said_once(clock: ManualClock) -> None:
    witnesses, link, written = watching(clock)
    assert written.written is not None
    written.written()
    written.becomes(is_acknowledged=True)
    witnesses.sweep()
    assert link.unfinished == 1
    written.becomes(was_cut=True, is_acknowledged=False, is_final=True)
    witnesses.sweep()
    assert link.said == [HERE, seen(), seen(is_acknowledged=True), seen(was_cut=True, is_final=True)]
    assert link.unfinished == 0


@pytest.mark.gen_test
async def test_what_is_news_goes_with_the_next_request(clock: ManualClock) -> None:
    witnesses, link, written = watching(clock)
    assert written.written is not None
    written.written()
    vars(written).update(was_followed=True, is_final=True)
    assert witnesses.news_of("another") == []
    assert witnesses.news_of("sid") == [seen(was_followed=True, is_final=True)]
    assert witnesses.news_of("sid") == []
    assert link.said == [HERE, seen()]
    assert link.unfinished == 0


@pytest.mark.gen_test
async def test_with_the_next_answer_of_a_session_the_last_is_not_forgotten(clock: ManualClock) -> None:
    witnesses, link, written = watching(clock)
    assert written.written is not None
    written.written()
    watch(witnesses, link, 2, Written())
    link.said.clear()
    written.becomes(was_cut=True, is_final=True)
    assert link.said == [seen(was_cut=True, is_final=True)]
    assert link.unfinished == 1


@pytest.mark.gen_test
async def test_an_answer_is_not_watched_for_ever(clock: ManualClock) -> None:
    witnesses, link, written = watching(clock)
    assert written.written is not None
    written.written()
    clock.advance(WATCHED_SECONDS)
    witnesses.sweep()
    assert link.said == [HERE, seen(), seen(is_final=True)]
    assert link.unfinished == 0


@pytest.mark.gen_test
async def test_of_what_is_not_written_the_end_is_not_said_before(clock: ManualClock) -> None:
    witnesses, link, slow = watching(clock)
    clock.advance(WATCHED_SECONDS)
    witnesses.sweep()
    assert link.said == [HERE]
    assert slow.written is not None
    vars(slow).update(was_cut=True, was_cut_short=True, is_final=True)
    slow.written()
    assert link.said == [HERE, seen(was_cut=True, was_cut_short=True, is_final=True)]
    assert link.unfinished == 0
