"""What every CallerVerifier must do, whatever its credentials look like."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from domain.errors import Unauthenticated
from domain.model import Caller
from domain.ports import CallerVerifier


@dataclass(frozen=True)
class Subject:
    """A verifier, a credential it knows and whose that is, and one of somebody unknown."""

    verifier: CallerVerifier
    known: str
    caller: Caller
    unknown: str


class CallerVerifierContract:
    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    @pytest.mark.gen_test
    async def test_tells_who_calls_and_what_they_may(self, subject: Subject) -> None:
        assert await subject.verifier.authenticate(subject.known) == subject.caller

    @pytest.mark.gen_test
    async def test_does_not_know_what_somebody_else_has(self, subject: Subject) -> None:
        with pytest.raises(Unauthenticated):
            await subject.verifier.authenticate(subject.unknown)

    @pytest.mark.gen_test
    async def test_does_not_know_what_is_nearly_right(self, subject: Subject) -> None:
        known = subject.known
        for near in (known[:-2], known + "A", " " + known, known + "\n", known.swapcase(), known[::-1]):
            with pytest.raises(Unauthenticated):
                await subject.verifier.authenticate(near)

    @pytest.mark.gen_test
    @pytest.mark.parametrize("credential", ["", " ", ".", "a.b.c", "..", "\0", "é", "\ud800", "x" * 1_000_000, "null"])
    async def test_does_not_know_what_is_no_credential(self, subject: Subject, credential: str) -> None:
        with pytest.raises(Unauthenticated) as refused:
            await subject.verifier.authenticate(credential)
        assert refused.value.detail is None
