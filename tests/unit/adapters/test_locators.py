from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from adapters.store.sqlite.locators import locator
from adapters.system.ids import SystemRandomness


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
def test_every_name_has_one_that_fits_into_a_column(name: str) -> None:
    assert -(2**63) <= locator(name) < 2**63


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=20))
def test_those_of_ids_with_a_time_are_in_the_order_of_the_times(times: list[int]) -> None:
    def of_time(milliseconds: int) -> str:
        return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | 123))

    earlier = [time for time in times if time < 2**47]
    assert [locator(of_time(time)) for time in sorted(earlier)] == sorted(locator(of_time(time)) for time in earlier)
    assert all(-(2**63) <= locator(of_time(time)) < 2**63 for time in times)


def test_ids_made_here_follow_each_other() -> None:
    made = [locator(SystemRandomness().new_id()) for _ in range(100)]
    # Those of one millisecond are in any order.
    assert [number >> 16 for number in made] == sorted(number >> 16 for number in made)


def test_what_only_looks_like_one_is_a_name_like_any_other() -> None:
    name = "zzzzzzzz-zzzz-7zzz-zzzz-zzzzzzzzzzzz"
    assert locator(name) != locator(name[:-1] + "y")
