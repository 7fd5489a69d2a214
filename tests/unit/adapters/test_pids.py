from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.system.pids import KeyedPids
from domain.errors import StoreUnavailable
from domain.model import PidVerdict, UserId

T = TypeVar("T")
ANN, BOB = UserId("ann"), UserId("bob")
OFFSET, OTHER = "e:5", "e:6"


def run(story: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(story)


def pids(key: bytes = b"k" * 32) -> KeyedPids:
    async def known() -> bytes:
        return key

    return KeyedPids(known)


def issue(user: UserId = ANN, refused: str | None = None) -> str:
    return run(pids().issue(user, refused=refused))


def examine(pid: object, user: UserId = ANN, offset: object = None, key: bytes = b"k" * 32) -> PidVerdict:
    return run(pids(key).examine(pid, user, offset))


def test_a_pid_is_64_characters_that_tell_nothing_and_are_never_the_same() -> None:
    first, second = issue(), issue()
    assert first != second
    for pid in (first, second):
        assert re.fullmatch(r"[A-Za-z0-9_-]{64}", pid)
        assert b"ann" not in base64.urlsafe_b64decode(pid)


@pytest.mark.parametrize("offset", [None, OFFSET, "", 7, ["e:5"], {"e": 5}, "\ud800"])
def test_its_own_user_brings_it_back_with_whatever_offset(offset: object) -> None:
    assert examine(issue(), ANN, offset) is PidVerdict.GOOD


@pytest.mark.parametrize("offset", [None, OFFSET, OTHER])
def test_another_user_is_noticed_whatever_was_refused(offset: object) -> None:
    assert examine(issue(), BOB, offset) is PidVerdict.OF_ANOTHER_USER
    assert examine(issue(refused=OFFSET), BOB, offset) is PidVerdict.OF_ANOTHER_USER


@pytest.mark.parametrize("refused", [OFFSET, "", "\ud800", "e" * 10_000])
def test_the_offset_that_was_refused_is_known_again_and_no_other(refused: str) -> None:
    pid = issue(refused=refused)
    assert examine(pid, ANN, refused) is PidVerdict.UNANSWERED
    for other in (None, OTHER, refused + " ", [refused], 5):
        assert examine(pid, ANN, other) is PidVerdict.GOOD


def test_another_store_does_not_know_it() -> None:
    assert examine(issue(), ANN, None, key=b"x" * 32) is PidVerdict.UNKNOWN


@pytest.mark.parametrize(
    "pid",
    [
        "",
        "x",
        "x" * 63,
        "x" * 64,
        "x" * 68,
        "-" * 64,
        "é" * 64,
        "\ud800" * 64,
        "=" * 64,
        7,
        True,
        ["x"],
        {"x": 1},
        b"x",
    ],
)
def test_what_never_was_a_pid_is_unknown(pid: object) -> None:
    assert examine(pid, ANN, OFFSET) is PidVerdict.UNKNOWN


def test_no_character_of_it_can_be_changed() -> None:
    pid = issue(refused=OFFSET)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, character in enumerate(pid):
        other = alphabet[(alphabet.index(character) + 1) % 64]
        assert examine(pid[:place] + other + pid[place + 1 :], ANN, OFFSET) is PidVerdict.UNKNOWN


def test_parts_of_two_pids_make_no_third() -> None:
    """The user's code of one with the memory of the other, by which a refused offset would count."""
    first, second = (base64.urlsafe_b64decode(issue(refused=refused)) for refused in (OFFSET, None))
    for cut in range(1, len(first)):
        mixed = base64.urlsafe_b64encode(first[:cut] + second[cut:]).decode()
        assert examine(mixed, ANN, OFFSET) is PidVerdict.UNKNOWN


@given(st.text() | st.integers() | st.none(), st.text(max_size=20).map(UserId))
def test_any_user_and_any_offset(offset: object, user: UserId) -> None:
    assert examine(issue(user), user, offset) is PidVerdict.GOOD


def test_a_store_that_cannot_say_its_key_is_no_verdict() -> None:
    async def unavailable() -> bytes:
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        run(KeyedPids(unavailable).issue(ANN, refused=None))
    with pytest.raises(StoreUnavailable):
        run(KeyedPids(unavailable).examine("x", ANN, None))
