"""The rules of what stands against a user: what it becomes, whom it keeps out, and when it can be forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from domain.errors import InvalidToken, UserBlocked
from domain.model import Block, BlockUser, Identity, Restriction, RestrictUser, RevokeTokens, UnblockUser, UserId
from domain.rules.restrictions import after, fault, is_over, lives_too_long
from tests.doubles import START

ANN = UserId("ann")
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
YEAR = timedelta(days=365)


def ann(issued_at: datetime | None, life: timedelta = timedelta(hours=1)) -> Identity:
    return Identity(ANN, "freelance", "", (issued_at or START) + life, issued_at)


def said(*controls: RestrictUser) -> Restriction:
    restriction: Restriction | None = None
    for offset, control in enumerate(controls, 1):
        restriction = after(restriction, control, offset)
    assert restriction is not None
    return restriction


def test_of_two_revocations_the_later_time_counts_whichever_came_last() -> None:
    for times in ((START, START + SECOND), (START + SECOND, START)):
        restriction = said(*(RevokeTokens(ANN, time) for time in times))
        assert restriction == Restriction(ANN, 2, START + SECOND)


def test_a_block_replaces_the_one_before_and_its_end_leaves_revocations() -> None:
    blocked = said(RevokeTokens(ANN, START), BlockUser(ANN, None, "first"), BlockUser(ANN, START, "second"))
    assert blocked == Restriction(ANN, 3, START, Block(START, "second"))
    assert after(blocked, UnblockUser(ANN), 4) == Restriction(ANN, 4, START, None)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_a_control_that_is_known_changes_nothing(offset: int) -> None:
    """So that what was read from the store and what the tail brings can overlap."""
    known = said(BlockUser(ANN, None, None), UnblockUser(ANN), RevokeTokens(ANN, START))
    assert after(known, BlockUser(ANN, None, "again"), offset) is known


@pytest.mark.parametrize(
    ("issued_at", "is_good"),
    [(START - SECOND, False), (START, False), (START + MICROSECOND, True), (START + SECOND, True), (None, False)],
)
def test_a_token_issued_at_or_before_a_revocation_is_refused(*, issued_at: datetime | None, is_good: bool) -> None:
    found = fault(ann(issued_at), said(RevokeTokens(ANN, START)), START)
    assert (found is None) is is_good
    if found is not None:
        assert isinstance(found, InvalidToken)
        assert found.reason == "it was revoked"


@pytest.mark.parametrize(
    ("until", "now", "is_let_in"),
    [
        (None, START + 10 * YEAR, False),
        (START + SECOND, START, False),
        (START + SECOND, START + SECOND - MICROSECOND, False),
        (START + SECOND, START + SECOND, True),
    ],
)
def test_who_is_blocked_is_not_let_in_before_its_end(*, until: datetime | None, now: datetime, is_let_in: bool) -> None:
    found = fault(ann(now), said(BlockUser(ANN, until, None)), now)
    assert (found is None) is is_let_in
    assert is_let_in or isinstance(found, UserBlocked)


def test_a_block_is_said_before_a_revocation() -> None:
    both = said(RevokeTokens(ANN, START), BlockUser(ANN, None, None))
    assert isinstance(fault(ann(START), both, START), UserBlocked)


def test_nothing_stands_against_others() -> None:
    assert fault(ann(None), None, START) is None
    assert fault(ann(START), said(BlockUser(ANN, None, None), UnblockUser(ANN)), START) is None


def test_how_long_a_token_lives_is_from_its_issue_or_else_from_now() -> None:
    assert not lives_too_long(ann(START, YEAR), YEAR, START)
    assert lives_too_long(ann(START, YEAR + SECOND), YEAR, START + 2 * YEAR)
    assert not lives_too_long(ann(None, YEAR), YEAR, START)
    assert lives_too_long(ann(None, YEAR + SECOND), YEAR, START)
    assert not lives_too_long(ann(None, YEAR + SECOND), YEAR, START + SECOND)


def test_a_revocation_is_over_once_no_token_of_before_can_be_good() -> None:
    revoked = said(RevokeTokens(ANN, START))
    assert not is_over(revoked, START - MICROSECOND, START + YEAR)
    assert is_over(revoked, START, START + YEAR)
    assert is_over(said(BlockUser(ANN, None, None), UnblockUser(ANN)), START - YEAR, START)
    assert not is_over(said(BlockUser(ANN, START + SECOND, None)), START, START)
    assert is_over(said(BlockUser(ANN, START + SECOND, None)), START, START + SECOND)
    # What is over of the one does not take the other with it.
    assert not is_over(said(RevokeTokens(ANN, START), BlockUser(ANN, None, None)), START + YEAR, START)
