"""What every TokenVerifier must do, whatever its tokens look like."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from domain.errors import InvalidToken, TokenExpired
from domain.ports import TokenVerifier
from tests.doubles import START, ManualClock


@dataclass(frozen=True)
class Subject:
    """A verifier on a clock that stands at START, and who can issue tokens for it.

    ``issue(user, role, lifetime)`` gives a token that is good from START on; ``forge`` the same by somebody else.
    """

    verifier: TokenVerifier
    clock: ManualClock
    issue: Callable[[str, str, timedelta], str]
    forge: Callable[[str, str, timedelta], str]


OpenSubject = Callable[[], AbstractAsyncContextManager[Subject]]
HOUR = timedelta(hours=1)


class TokenVerifierContract:
    @pytest.fixture
    def subject(self) -> OpenSubject:
        raise NotImplementedError

    @pytest.mark.gen_test
    async def test_tells_user_role_and_expiry(self, subject: OpenSubject) -> None:
        async with subject() as s:
            identity = await s.verifier.verify(s.issue("42", "freelance", HOUR))
            assert (identity.user, identity.role) == ("42", "freelance")
            assert identity.expires_at == START + HOUR

    @pytest.mark.gen_test
    async def test_serves_every_type_of_user(self, subject: OpenSubject) -> None:
        async with subject() as s:
            for role in ("freelance", "company", "admin"):
                assert (await s.verifier.verify(s.issue("7", role, HOUR))).role == role

    @pytest.mark.gen_test
    async def test_a_token_is_good_until_it_expires(self, subject: OpenSubject) -> None:
        async with subject() as s:
            token = s.issue("42", "freelance", HOUR)
            s.clock.advance(3599)
            await s.verifier.verify(token)
            s.clock.advance(3600)
            with pytest.raises(TokenExpired):
                await s.verifier.verify(token)

    @pytest.mark.gen_test
    async def test_what_somebody_else_issued_is_invalid(self, subject: OpenSubject) -> None:
        async with subject() as s:
            with pytest.raises(InvalidToken):
                await s.verifier.verify(s.forge("42", "freelance", HOUR))

    @pytest.mark.gen_test
    async def test_a_forged_token_that_is_old_is_invalid_not_expired(self, subject: OpenSubject) -> None:
        async with subject() as s:
            forged = s.forge("42", "freelance", HOUR)
            s.clock.advance(7200)
            with pytest.raises(InvalidToken) as refused:
                await s.verifier.verify(forged)
            assert not isinstance(refused.value, TokenExpired)

    @pytest.mark.gen_test
    async def test_a_token_changed_in_any_place_is_invalid(self, subject: OpenSubject) -> None:
        async with subject() as s:
            token = s.issue("42", "freelance", HOUR)
            for place in range(0, len(token), 7):
                other = "A" if token[place] != "A" else "B"
                with pytest.raises(InvalidToken):
                    await s.verifier.verify(token[:place] + other + token[place + 1 :])

    @pytest.mark.gen_test
    @pytest.mark.parametrize(
        "text", ["", " ", ".", "..", "a.b.c", "null", "\0", "é", "\ud800", "x" * 100_000, "{}", "....", "Bearer x"]
    )
    async def test_what_is_no_token_is_invalid(self, subject: OpenSubject, text: str) -> None:
        async with subject() as s:
            with pytest.raises(InvalidToken) as refused:
                await s.verifier.verify(text)
            assert not isinstance(refused.value, TokenExpired)

    @pytest.mark.gen_test
    async def test_a_refusal_repeats_nothing_of_the_token(self, subject: OpenSubject) -> None:
        async with subject() as s:
            with pytest.raises(InvalidToken) as refused:
                await s.verifier.verify(s.forge("user-whose-name-is-secret", "freelance", HOUR))
            assert "secret" not in refused.value.reason
            assert refused.value.detail is None
