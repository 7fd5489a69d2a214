"""What a doctor makes of clocks, certificates and what it has found."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from entrypoints.doctor.clock import Skew, skew_of
from entrypoints.doctor.findings import Findings
from entrypoints.doctor.here import report_certificate, report_clock

LEEWAY = timedelta(seconds=30)
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
DATE = format_datetime(NOON, usegmt=True)


@pytest.mark.parametrize(
    ("began", "ended", "ahead"),
    [
        # A date stands for a whole second, and was written between the question and the answer.
        (0.0, 0.1, 0),
        (0.9, 1.0, 0),
        (-3.0, 4.0, 0),
        (-0.5, -0.25, -0.25),
        (-60.0, -59.5, -59.5),
        (1.5, 2.0, 0.5),
        (91.0, 92.0, 90),
    ],
)
def test_how_far_a_clock_is_off_at_least(began: float, ended: float, ahead: float) -> None:
    noon = NOON.timestamp()
    skew = skew_of(DATE, noon + began, noon + ended)
    assert skew is not None
    assert skew.ahead == pytest.approx(ahead)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sun, 29 Nov"])
def test_an_answer_without_a_date_says_nothing(date: str | None) -> None:
    assert skew_of(date, 0, 1) is None


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [
        (0.5, "ok", "as that of x"),
        (-12, "warn", "12 s behind that of x"),
        (31, "fail", "31 s ahead of that of x, more than auth.leeway"),
    ],
)
def test_a_clock_that_is_off_by_more_than_tokens_allow_has_to_be_mended(ahead: float, verdict: str, words: str) -> None:
    findings = Findings()
    report_clock(findings, "x", Skew(ahead), LEEWAY)
    (found,) = findings.found
    assert (found.verdict, found.said) == (verdict, words)
    assert findings.is_well == (verdict != "fail")


@pytest.mark.parametrize(("days", "verdict"), [(-1, "fail"), (13, "warn"), (15, "ok")])
def test_certificates_end(days: int, verdict: str) -> None:
    findings = Findings()
    end = datetime.now(UTC) + timedelta(days=days)
    report_certificate(findings, "tls.cert", end)
    (found,) = findings.found
    assert found.verdict == verdict
    assert f"{end:%Y-%m-%d}" in found.said


def test_findings_are_lines_for_people_and_members_for_programs() -> None:
    findings = Findings()
    findings.ok("store", "it can be written")
    findings.warn("disk", "2 MiB free", "make room")
    findings.fail("client address", "it is forged", "see the proxy")
    findings.untried.append("the feed of source.url")
    assert findings.as_text().splitlines() == [
        "ok    store           it can be written",
        "warn  disk            2 MiB free: make room",
        "fail  client address  it is forged: see the proxy",
        "Not tried: the feed of source.url",
        "To be mended: 1. To be thought about: 1.",
    ]
    said = json.loads(findings.as_json())
    assert said["well"] is False
    assert said["findings"][1] == {"check": "disk", "verdict": "warn", "said": "2 MiB free", "mend": "make room"}
    assert said["untried"] == ["the feed of source.url"]
