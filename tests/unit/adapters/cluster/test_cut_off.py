from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.cluster.cut_off import RECENT_SECONDS, is_cut_off


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], False),
        ([None], True),
        ([None, None], True),
        ([0.2], True),
        ([RECENT_SECONDS], True),
        ([RECENT_SECONDS + 0.1], False),
        ([60.0, 60.0], False),
        ([None, 60.0], False),
        ([60.0, 0.2], True),
        ([None, 0.2], True),
    ],
)
def test_who_is_cut_off(answers: Sequence[float | None], *, expected: bool) -> None:
    assert is_cut_off(answers) is expected
