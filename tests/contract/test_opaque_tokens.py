"""OpaqueTokens keeps the contract of every TokenVerifier; and what is particular to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from adapters.system.configuration import ConfigurationError
from docs.examples.opaque_tokens.opaque_tokens import FILE_MAX_BYTES, OpaqueTokens
from domain.errors import InvalidToken, KeysUnavailable, TokenExpired
from tests.contract.token_verifier import HOUR, OpenSubject, Subject, TokenVerifierContract
from tests.doubles import START, ManualClock


class Tokens:
    """A file of tokens, and who issues them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokens.jsonl"
        self.path.touch()
        self.clock = ManualClock()

    def issue(self, user: str, role: str, lifetime: timedelta, *, to_file: bool = True) -> str:
        token = f"opaque-{user}-{role}"
        members = {
            "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "user": user,
            "role": role,
            "expires_at": (START + lifetime).isoformat(),
        }
        if to_file:
            self.replace(f"{self.path.read_text()}{json.dumps(members)}\n")
        return token

    def replace(self, text: str) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(text)
        aside.rename(self.path)

    def verifier(self) -> OpaqueTokens:
        return OpaqueTokens(self.path, self.clock)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path)


class TestOpaqueTokens(TokenVerifierContract):
    @pytest.fixture
    def subject(self, tokens: Tokens) -> OpenSubject:
        @asynccontextmanager
        async def subject() -> AsyncIterator[Subject]:
            yield Subject(tokens.verifier(), tokens.clock, tokens.issue, partial(tokens.issue, to_file=False))

        return subject

    @pytest.mark.gen_test
    async def test_a_token_that_is_taken_out_of_the_file_is_invalid_from_then_on(self, tokens: Tokens) -> None:
        token, verifier = tokens.issue("42", "freelance", HOUR), tokens.verifier()
        await verifier.verify(token)
        tokens.replace("")
        with pytest.raises(InvalidToken):
            await verifier.verify(token)

    @pytest.mark.gen_test
    async def test_a_token_is_too_old_from_the_moment_on_that_stands_in_the_file(self, tokens: Tokens) -> None:
        token, verifier = tokens.issue("42", "freelance", HOUR), tokens.verifier()
        tokens.clock.advance(HOUR.total_seconds())
        with pytest.raises(TokenExpired):
            await verifier.verify(token)

    @pytest.mark.gen_test
    async def test_while_the_file_cannot_be_used_clients_are_to_come_back(self, tokens: Tokens) -> None:
        token, verifier = tokens.issue("42", "freelance", HOUR), tokens.verifier()
        good = tokens.path.read_text()
        for spoil in (tokens.path.unlink, partial(tokens.replace, "no JSON")):
            spoil()
            with pytest.raises(KeysUnavailable):
                await verifier.verify(token)
            assert verifier.fault == KeysUnavailable.code
            tokens.replace(good)
            assert verifier.fault is None
            assert (await verifier.verify(token)).user == "42"

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"sha256": "x" * 64}, "line 2: "),
            ({"sha256": "A" * 64}, "line 2: "),
            ({"expires_at": "2030-01-01T00:00:00"}, "line 2: "),
            ({"expires_at": 1}, "line 2: "),
            ({"user": ""}, "line 2: user must be 1 to 128 characters"),
            ({"role": "a\nb"}, "line 2: role holds U+000A, which is not allowed"),
            ({"token": "of-somebody"}, "line 2: Object contains unknown field `token`"),
            ({}, "line 2: the same token is there twice"),
        ],
    )
    def test_a_file_that_cannot_be_used_stops_the_server_with_the_line_that_is_wrong(
        self, tokens: Tokens, change: dict[str, object], says: str
    ) -> None:
        tokens.issue("42", "freelance", HOUR)
        good = tokens.path.read_text()
        tokens.replace(f"{good}{json.dumps({**json.loads(good), **change})}\n")
        with pytest.raises(ConfigurationError) as refused:
            tokens.verifier()
        assert refused.value.message.startswith(f"cannot use {tokens.path}: {says}")
        assert "of-somebody" not in refused.value.message

    def test_so_does_one_that_is_not_there_or_has_no_end(self, tokens: Tokens) -> None:
        tokens.replace(" " * (FILE_MAX_BYTES + 1))
        with pytest.raises(ConfigurationError, match=f"it has more than {FILE_MAX_BYTES} bytes"):
            tokens.verifier()
        tokens.path.unlink()
        with pytest.raises(ConfigurationError, match="No such file or directory"):
            tokens.verifier()
