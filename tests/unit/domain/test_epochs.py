"""What a log has in common with one that it was, by their generations."""

from __future__ import annotations

import pytest

from domain.rules.epochs import Generation, Generations
from tests.doubles import START


def generations(**firsts: int) -> Generations:
    return Generations(
        [Generation(number, epoch, first, START) for number, (epoch, first) in enumerate(firsts.items())]
    )


@pytest.mark.parametrize(
    ("known", "others", "head", "end"),
    [
        (generations(a=1), generations(a=1), 10, 10),
        (generations(a=1), generations(a=1, b=11), 10, 10),
        (generations(a=1), generations(a=1, b=8), 10, 7),
        (generations(a=1, b=6), generations(b=6), 10, 10),
        # Another one was promoted: both had the first generation, for a different while.
        (generations(a=1, b=6), generations(a=1, c=4), 10, 3),
        (generations(a=1, b=6), generations(a=1, c=9), 10, 5),
        # It went on where it was before.
        (generations(a=1, b=6), generations(a=1), 10, 5),
        (generations(a=1, b=6), generations(c=1, d=4), 10, 0),
        (generations(a=1, b=20), generations(a=1, c=15), 10, 10),
    ],
)
def test_what_is_common_ends_where_the_first_of_them_went_another_way(
    known: Generations, others: Generations, head: int, end: int
) -> None:
    assert known.common_end(others, head) == end
    assert known.known[0].epoch in known
    assert "z" not in known
