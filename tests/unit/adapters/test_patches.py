"""What a JSON Merge Patch makes of a notification, wherever it is asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from adapters.contract.amendments import read_patch
from domain.errors import InvalidPublication
from domain.model import AudienceKind, Json, Notification

NOTIFICATION = Notification(
    "n", "t", None, None, Json(b'{"x":1}'), AudienceKind.USER, datetime(2030, 1, 1, tzinfo=UTC), None
)


def further_down(calls: int, act: Callable[[], object]) -> object:
    return act() if not calls else further_down(calls - 1, act)


def test_a_patch_that_is_nested_too_deeply_where_it_is_merged_is_refused() -> None:
    """A writer of a store asks, and any other error ends it."""
    revise = read_patch(b'{"data":' + b'{"a":' * 800 + b"1" + b"}" * 800 + b"}").revise
    revise(NOTIFICATION)
    with pytest.raises(InvalidPublication) as raised:
        further_down(200, lambda: revise(NOTIFICATION))
    assert [error.path for error in raised.value.errors] == ["data"]


@pytest.mark.parametrize("after", [b'{"x":true}', b'{"x":"1"}', b'{"x":[1]}'])
def test_what_only_looks_alike_is_a_change(after: bytes) -> None:
    assert read_patch(b'{"data":' + after + b"}").revise(NOTIFICATION).data == after


@pytest.mark.parametrize("same", [b'{"x":1}', b'{ "x" : 1 }', b"{}"])
def test_what_is_the_same_stays_as_it_came(same: bytes) -> None:
    assert read_patch(b'{"data":' + same + b"}").revise(NOTIFICATION) == NOTIFICATION
