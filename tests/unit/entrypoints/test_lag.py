from __future__ import annotations

from entrypoints.lag import TOLERATED_SECONDS, Lag
from tests.doubles import ManualClock


def test_delivery_that_keeps_up_is_well_however_much_there_is() -> None:
    clock = ManualClock()
    lag = Lag(clock)
    for second in range(60):
        # What there is now is delivered three seconds later.
        assert lag.fault(second * 1000, (second - 3) * 1000) is None
        clock.advance(1)


def test_delivery_that_stands_still_is_not_once_it_has_for_a_while() -> None:
    clock = ManualClock()
    lag = Lag(clock)
    assert lag.fault(10, 10) is None
    clock.advance(60)
    assert lag.fault(12, 10) is None
    clock.advance(TOLERATED_SECONDS)
    assert lag.fault(15, 10) is None
    clock.advance(0.1)
    assert lag.fault(20, 11) == "behind by 9"
    assert lag.fault(20, 20) is None


def test_a_log_that_lost_its_end_is_no_fault_of_delivery() -> None:
    clock = ManualClock()
    lag = Lag(clock)
    assert lag.fault(20, 20) is None
    clock.advance(60)
    assert lag.fault(10, 10) is None
    clock.advance(60)
    assert lag.fault(12, 11) is None
