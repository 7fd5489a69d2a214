from __future__ import annotations

import itertools

import pytest

from domain.model import PidVerdict, RecoveryReason, ResumeRequest
from domain.recovery import Resumption, refused_offset, resumption

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
