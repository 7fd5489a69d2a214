"""Rates: on average they hold, whatever is asked for, and nobody is waited for that need not be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.model import Rate
from domain.rules.rates import Allowance, Allowances

TEN = Rate(10, 5)


def test_the_burst_is_there_at_once_and_fills_up_again() -> None:
    allowance = Allowance(TEN, 0)
    assert [allowance.take(TEN, 1, 0) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(0.1)]
    assert allowance.take(TEN, 1, 0.05) == pytest.approx(0.05)
    assert allowance.take(TEN, 1, 0.1) == 0
    assert [allowance.take(TEN, 1, 100) for _ in range(6)][-1] > 0


def test_what_is_refused_takes_nothing() -> None:
    allowance = Allowance(TEN, 0)
    assert allowance.take(TEN, 3, 0) == 0
    assert allowance.take(TEN, 3, 0) == pytest.approx(0.1)
    assert allowance.take(TEN, 2, 0) == 0


def test_more_than_the_burst_is_taken_when_it_is_full_and_paid_off() -> None:
    allowance = Allowance(TEN, 0)
    assert allowance.take(TEN, 105, 0) == 0
    # 100 too many, and one more, at ten a second.
    assert allowance.take(TEN, 1, 0) == pytest.approx(10.1)
    assert allowance.take(TEN, 1, 10) > 0
    assert allowance.take(TEN, 1, 10.2) == 0
    assert allowance.take(TEN, 1000, 10.2) > 0


def test_after_the_wait_that_was_said_it_is_taken() -> None:
    allowance = Allowance(TEN, 0)
    allowance.take(TEN, 105, 0)
    wait = allowance.take(TEN, 105, 0)
    assert allowance.take(TEN, 105, wait - 0.01) > 0
    assert allowance.take(TEN, 105, wait + 0.001) == 0


asks = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=60)


@given(asks, st.floats(0.5, 50), st.integers(1, 20))
def test_in_any_time_no_more_is_taken_than_the_rate_and_one_piece(
    asks: list[tuple[float, int]], per_second: float, burst: int
) -> None:
    rate = Rate(per_second, burst)
    allowance = Allowance(rate, 0)
    now, taken = 0.0, 0
    for pause, amount in asks:
        now += pause
        if allowance.take(rate, amount, now) == 0:
            taken += amount
        # A full bucket, what came meanwhile, and what may have been paid in advance with the last piece.
        assert taken <= burst + per_second * now + 30 + 1e-6


def test_each_has_their_own_and_those_of_long_ago_are_forgotten() -> None:
    allowances: Allowances[str] = Allowances(2)
    one = Rate(1, 1)
    assert [allowances.take(who, one, 1, 0) for who in ("ann", "bob")] == [0, 0]
    assert allowances.take("ann", one, 1, 0) > 0
    assert allowances.take("cid", one, 1, 0) == 0
    assert len(allowances) == 2
    # Of the two ann was asked for last.
    assert allowances.take("ann", one, 1, 0) > 0
    assert allowances.take("bob", one, 1, 0) == 0


def test_a_rate_may_change() -> None:
    allowances: Allowances[str] = Allowances(2)
    assert allowances.take("ann", Rate(1, 100), 90, 0) == 0
    assert allowances.take("ann", Rate(1, 1), 1, 0) == 0
    assert allowances.take("ann", Rate(1, 1), 1, 0) > 0
