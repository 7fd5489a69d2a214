from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.cluster.cut_off import CutOff

LEASE = 15.0
RECENT = 5.0


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], False),
        ([None], True),
        ([None, None], True),
        ([0.2], True),
        ([RECENT], True),
        ([RECENT + 0.1], False),
        ([60.0, 60.0], False),
        ([None, 60.0], False),
        ([60.0, 0.2], True),
        ([None, 0.2], True),
    ],
)
def test_who_is_cut_off_once_its_lease_is_over(answers: Sequence[float | None], *, expected: bool) -> None:
    cut_off = CutOff(LEASE)
    for now in (6.0, 10.0, 14.9):
        assert not cut_off.hear(answers, now=now, renewed_at=0.0)
    assert cut_off.hear(answers, now=15.0, renewed_at=0.0) is expected


def test_after_an_outage_whoever_reaches_the_store_later_than_others_is_not_cut_off_at_once() -> None:
    cut_off = CutOff(LEASE)
    for second in range(1, 60):
        assert not cut_off.hear([float(second)], now=float(second), renewed_at=0.0)
    for now in (60.0, 62.0, 64.9):
        assert not cut_off.hear([0.1], now=now, renewed_at=0.0)
    assert cut_off.hear([0.1], now=65.0, renewed_at=0.0)


def test_with_every_contact_it_begins_anew() -> None:
    cut_off = CutOff(LEASE)
    assert not cut_off.hear([0.1], now=0.0, renewed_at=-10.0)
    cut_off.renewed()
    assert not cut_off.hear([0.1], now=40.0, renewed_at=20.0)
    # Others that do not reach it either.
    assert not cut_off.hear([60.0], now=44.0, renewed_at=20.0)
    assert not cut_off.hear([0.1], now=48.0, renewed_at=20.0)
    assert cut_off.hear([0.1], now=53.0, renewed_at=20.0)
