from __future__ import annotations

import itertools

import pytest

from domain.model import Claim, PidVerdict, RecoveryReason
from domain.recovery import Resumption, refused_offset, resumption

GOOD, UNANSWERED = PidVerdict.GOOD, PidVerdict.UNANSWERED
ANOTHERS, UNKNOWN = PidVerdict.OF_ANOTHER_USER, PidVerdict.UNKNOWN
CHANGED, UNKNOWN_EPOCH = RecoveryReason.IDENTITY_CHANGED, RecoveryReason.UNKNOWN_EPOCH

OFFSET, CURSOR = "e:5", "e:7"
TABLE = [
    # what is said, what the pid is worth: what counts, why nothing does, whether it stays who it was
    (Claim(), None, (), None, False),
    (Claim(cursor=CURSOR), None, (CURSOR,), None, False),
    (Claim(offset=OFFSET), None, (), None, False),
    (Claim(offset=OFFSET, cursor=CURSOR), None, (CURSOR,), None, False),
    (Claim("p"), GOOD, (), None, True),
    (Claim("p", cursor=CURSOR), GOOD, (CURSOR,), None, True),
    (Claim("p", OFFSET), GOOD, (OFFSET,), None, True),
    (Claim("p", OFFSET, CURSOR), GOOD, (OFFSET, CURSOR), None, True),
    *(
        (Claim("p", offset, cursor), UNANSWERED, (), None, True)
        for offset in (None, OFFSET)
        for cursor in (None, CURSOR)
    ),
    *(
        (Claim("p", offset, cursor), ANOTHERS, (), CHANGED, False)
        for offset in (None, OFFSET)
        for cursor in (None, CURSOR)
    ),
    *(
        (Claim("p", offset, cursor), UNKNOWN, (), UNKNOWN_EPOCH, False)
        for offset in (None, OFFSET)
        for cursor in (None, CURSOR)
    ),
]


@pytest.mark.parametrize(("claim", "verdict", "cursors", "reason", "stays"), TABLE)
def test_what_a_claim_is_worth(
    claim: Claim, verdict: PidVerdict | None, cursors: tuple[object, ...], reason: RecoveryReason | None, *, stays: bool
) -> None:
    assert resumption(claim, verdict) == Resumption(cursors, reason, stays)


def test_the_table_has_every_claim_with_every_verdict() -> None:
    said = {(bool(c.pid), bool(c.offset), bool(c.cursor), verdict) for c, verdict, *_ in TABLE}
    without_pid = {(False, *rest, None) for rest in itertools.product((False, True), repeat=2)}
    with_pid = {(True, *rest) for rest in itertools.product((False, True), (False, True), PidVerdict)}
    assert said == without_pid | with_pid


@pytest.mark.parametrize("value", [0, False, "", [], {}])
def test_what_is_nonsense_is_not_taken_for_nothing(value: object) -> None:
    assert resumption(Claim(cursor=value), None).cursors == (value,)
    assert resumption(Claim("p", value), GOOD).cursors == (value,)


@pytest.mark.parametrize(
    ("claim", "refused"),
    [
        (Claim(), None),
        (Claim(cursor=CURSOR), None),
        (Claim("p"), None),
        (Claim("p", cursor=CURSOR), None),
        # Without a pid it was not looked at, and so it was not refused.
        (Claim(offset=OFFSET), None),
        (Claim("p", OFFSET), OFFSET),
        (Claim("p", OFFSET, CURSOR), OFFSET),
        (Claim("p", "nonsense"), "nonsense"),
        (Claim("p", ""), ""),
        # The stock client remembers only strings.
        (Claim("p", 7), None),
        (Claim("p", [OFFSET]), None),
        # Even a pid that is no pid: the client sends its offset again with the one it gets.
        (Claim(7, OFFSET), OFFSET),
    ],
)
def test_a_new_pid_remembers_the_offset_that_was_refused(claim: Claim, refused: str | None) -> None:
    assert refused_offset(claim) == refused
