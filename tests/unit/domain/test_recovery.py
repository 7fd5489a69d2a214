from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from domain.model import EVERYONE, PidVerdict, Position, RecoveryReason, ResumeRequest
from domain.rules.epochs import Generation, Generations
from domain.rules.recovery import (
    Continuation,
    Resumption,
    Standing,
    continuation,
    floor_of,
    refused_offset,
    resumption,
)
from tests.contract.inbox_harness import ANN, COMPANY, arrival
from tests.doubles import START

GOOD, UNANSWERED = PidVerdict.GOOD, PidVerdict.UNANSWERED
ANOTHERS, UNKNOWN = PidVerdict.OF_ANOTHER_USER, PidVerdict.UNKNOWN
CHANGED, UNKNOWN_EPOCH = RecoveryReason.IDENTITY_CHANGED, RecoveryReason.UNKNOWN_EPOCH

OFFSET, CURSOR = "e:5", "e:7"
TABLE = [
    # what is said, what the pid is worth: what counts, why nothing does, whether it stays who it was
    (ResumeRequest(), None, (), None, False),
    (ResumeRequest(cursor=CURSOR), None, (CURSOR,), None, False),
    (ResumeRequest(offset=OFFSET), None, (), None, False),
    (ResumeRequest(offset=OFFSET, cursor=CURSOR), None, (CURSOR,), None, False),
    (ResumeRequest("p"), GOOD, (), None, True),
    (ResumeRequest("p", cursor=CURSOR), GOOD, (CURSOR,), None, True),
    (ResumeRequest("p", OFFSET), GOOD, (OFFSET,), None, True),
    (ResumeRequest("p", OFFSET, CURSOR), GOOD, (OFFSET, CURSOR), None, True),
    *(
        (ResumeRequest("p", offset, cursor), UNANSWERED, (), None, True)
        for offset in (None, OFFSET)
        for cursor in (None, CURSOR)
    ),
    *(
        (ResumeRequest("p", offset, cursor), ANOTHERS, (), CHANGED, False)
        for offset in (None, OFFSET)
        for cursor in (None, CURSOR)
    ),
    *(
        (ResumeRequest("p", offset, cursor), UNKNOWN, (), UNKNOWN_EPOCH, False)
        for offset in (None, OFFSET)
        for cursor in (None, CURSOR)
    ),
]


@pytest.mark.parametrize(("resume_request", "verdict", "cursors", "reason", "stays"), TABLE)
def test_what_a_claim_is_worth(
    resume_request: ResumeRequest,
    verdict: PidVerdict | None,
    cursors: tuple[object, ...],
    reason: RecoveryReason | None,
    *,
    stays: bool,
) -> None:
    assert resumption(resume_request, verdict) == Resumption(cursors, reason, stays)


def test_the_table_has_every_claim_with_every_verdict() -> None:
    said = {(bool(c.pid), bool(c.offset), bool(c.cursor), verdict) for c, verdict, *_ in TABLE}
    without_pid = {(False, *rest, None) for rest in itertools.product((False, True), repeat=2)}
    with_pid = {(True, *rest) for rest in itertools.product((False, True), (False, True), PidVerdict)}
    assert said == without_pid | with_pid


@pytest.mark.parametrize("value", [0, False, "", [], {}])
def test_what_is_nonsense_is_not_taken_for_nothing(value: object) -> None:
    assert resumption(ResumeRequest(cursor=value), None).cursors == (value,)
    assert resumption(ResumeRequest("p", value), GOOD).cursors == (value,)


@pytest.mark.parametrize(
    ("resume_request", "refused"),
    [
        (ResumeRequest(), None),
        (ResumeRequest(cursor=CURSOR), None),
        (ResumeRequest("p"), None),
        (ResumeRequest("p", cursor=CURSOR), None),
        # Without a pid it was not looked at, and so it was not refused.
        (ResumeRequest(offset=OFFSET), None),
        (ResumeRequest("p", OFFSET), OFFSET),
        (ResumeRequest("p", OFFSET, CURSOR), OFFSET),
        (ResumeRequest("p", "nonsense"), "nonsense"),
        (ResumeRequest("p", ""), ""),
        # The stock client remembers only strings.
        (ResumeRequest("p", 7), None),
        (ResumeRequest("p", [OFFSET]), None),
        # Even a pid that is no pid: the client sends its offset again with the one it gets.
        (ResumeRequest(7, OFFSET), OFFSET),
    ],
)
def test_a_new_pid_remembers_the_offset_that_was_refused(resume_request: ResumeRequest, refused: str | None) -> None:
    assert refused_offset(resume_request) == refused


def position(offset: int, epoch: str = "b") -> Position:
    return Position(epoch, offset)


# Two generations, of the offsets 1 to 4 and 5 to 9; of what this one could reach the last that is gone is 2.
STANDING = Standing(Generations([Generation(1, "a", 1, START), Generation(2, "b", 5, START)]), head=9, floor=2, mark=6)


@pytest.mark.parametrize(
    ("cursors", "expected"),
    [
        ((), Continuation(position(6), recovered=False, reason=None)),
        ((position(9),), Continuation(position(9), recovered=True, reason=None)),
        ((position(2, "a"),), Continuation(position(2, "a"), recovered=True, reason=None)),
        ((position(4, "a"), position(3)), Continuation(position(4, "a"), recovered=True, reason=None)),
        ((None,), Continuation(position(6), recovered=False, reason=RecoveryReason.INVALID)),
        ((position(5, "a"),), Continuation(position(6), recovered=False, reason=RecoveryReason.INVALID)),
        ((position(10),), Continuation(position(6), recovered=False, reason=RecoveryReason.INVALID)),
        ((position(3, "c"),), Continuation(position(6), recovered=False, reason=RecoveryReason.UNKNOWN_EPOCH)),
        ((position(1),), Continuation(position(6), recovered=False, reason=RecoveryReason.TRIMMED)),
        ((position(7), position(1)), Continuation(position(6), recovered=False, reason=RecoveryReason.TRIMMED)),
        ((None, position(7)), Continuation(position(6), recovered=False, reason=RecoveryReason.INVALID)),
    ],
)
def test_all_cursors_have_to_be_good_and_the_latest_counts_else_the_mark(
    cursors: tuple[Position | None, ...], expected: Continuation
) -> None:
    assert continuation(arrival("ann", "company", *cursors), STANDING) == expected


@pytest.mark.parametrize(
    ("mark", "unstored", "expected"), [(6, None, 6), (6, 5, 6), (6, 7, 7), (2, None, 2), (0, None, 2), (0, 1, 2)]
)
def test_the_newer_mark_counts_as_far_as_what_follows_it_is_there(
    mark: int, unstored: int | None, expected: int
) -> None:
    one = arrival(unstored_mark=position(unstored) if unstored is not None else None)
    found = continuation(one, replace(STANDING, mark=mark))
    assert found.after.offset == expected
    assert found.reason is (RecoveryReason.TRIMMED if max(mark, unstored or 0) < 2 else None)


def test_who_is_replayed_nothing_starts_at_the_head() -> None:
    one = arrival("ann", "company", None, replays_undelivered=False)
    assert continuation(one, STANDING) == Continuation(position(9), recovered=False, reason=RecoveryReason.INVALID)


def test_what_was_lost_before_a_start_is_not_missed() -> None:
    starts = {ANN: 0, COMPANY: 5, EVERYONE: 7}
    assert floor_of(starts, {}) == 0
    assert floor_of(starts, {COMPANY: 5, EVERYONE: 3}) == 0
    assert floor_of(starts, {ANN: 4, COMPANY: 6, EVERYONE: 7}) == 6
