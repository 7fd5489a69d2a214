"""What a doctor has found: each thing with a verdict, and with what to mend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``check`` names what was looked at; ``mend`` says what to do where it is not well."""

    check: str
    verdict: Verdict
    said: str
    mend: str | None = None


@dataclass(slots=True)
class Findings:
    found: list[Finding] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    """What was not looked at, each with the reason."""

    def ok(self, check: str, said: str) -> None:
        self.found.append(Finding(check, Verdict.OK, said))

    def warn(self, check: str, said: str, mend: str) -> None:
        self.found.append(Finding(check, Verdict.WARN, said, mend))

    def fail(self, check: str, said: str, mend: str) -> None:
        self.found.append(Finding(check, Verdict.FAIL, said, mend))

    @property
    def is_well(self) -> bool:
        """Whether nothing has failed."""
        return all(finding.verdict is not Verdict.FAIL for finding in self.found)

    def as_json(self) -> str:
        findings = [asdict(finding) for finding in self.found]
        return json.dumps(
            {"well": self.is_well, "findings": findings, "untried": self.untried}, ensure_ascii=False, indent=2
        )

    def as_text(self) -> str:
        """One line a finding, and one for each thing that was not looked at."""
        width = max((len(finding.check) for finding in self.found), default=0)
        lines = [
            f"{finding.verdict.value:4}  {finding.check:{width}}  {finding.said}{_mend(finding)}"
            for finding in self.found
        ]
        return "\n".join([*lines, *(f"Not tried: {reason}" for reason in self.untried), _summary(self.found)])


def _mend(finding: Finding) -> str:
    return f": {finding.mend}" if finding.mend is not None else ""


def _summary(found: Sequence[Finding]) -> str:
    failed, warned = (sum(finding.verdict is verdict for finding in found) for verdict in (Verdict.FAIL, Verdict.WARN))
    if not failed and not warned:
        return "All is well."
    return f"To be mended: {failed}. To be thought about: {warned}."
