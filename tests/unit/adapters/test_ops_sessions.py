"""Sessions of operators, and attempts to begin one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.api.ops.sessions import ATTEMPT_SECONDS, ATTEMPTS, Attempts, Sessions
from adapters.auth.api_keys import ApiKey, hash_key
from domain.errors import RateLimited
from tests.doubles import ManualClock

HOUR = 3600.0


def key(name: str) -> ApiKey:
    return ApiKey(name, hash_key(f"a key of the tests, long enough: {name}"), frozenset(("admin",)))


def name_of(kept: Sessions, token: str) -> str | None:
    session = kept.find(token)
    return session.key.name if session is not None else None


def sessions(clock: ManualClock, most: int = 3) -> Sessions:
    return Sessions(clock, lifetime=timedelta(hours=8), idle=timedelta(hours=1), most=most)


def test_a_session_is_found_by_its_token_alone() -> None:
    kept = sessions(ManualClock())
    first, second = kept.begin(key("ann")), kept.begin(key("bob"))
    assert len(first) >= 43
    assert [name_of(kept, token) for token in (first, second, "", first[:-1], first + "x")] == [
        "ann",
        "bob",
        None,
        None,
        None,
    ]
    kept.end(first)
    kept.end(first)
    assert kept.find(first) is None
    assert kept.find(second) is not None


def test_what_is_kept_of_a_token_does_not_give_it_away() -> None:
    kept = sessions(ManualClock())
    token = kept.begin(key("ann"))
    assert token not in repr(vars(kept))


def test_a_session_ends_when_nobody_uses_it_though_its_page_asks() -> None:
    clock = ManualClock()
    kept = sessions(clock)
    token = kept.begin(key("ann"))
    clock.advance(HOUR / 2)
    assert kept.find(token, is_used=True) is not None
    clock.advance(HOUR - 1)
    assert kept.find(token, is_used=False) is not None
    clock.advance(1)
    assert kept.find(token, is_used=False) is None
    assert len(kept) == 0


def test_a_session_ends_however_much_it_is_used() -> None:
    clock = ManualClock()
    kept = sessions(clock)
    token = kept.begin(key("ann"))
    for _ in range(15):
        clock.advance(HOUR / 2)
        assert kept.find(token) is not None
    clock.advance(HOUR / 2)
    assert kept.find(token) is None


def test_of_too_many_the_one_that_was_used_least_recently_goes() -> None:
    kept = sessions(ManualClock(), most=2)
    first, second = kept.begin(key("a")), kept.begin(key("b"))
    assert kept.find(first) is not None
    third = kept.begin(key("c"))
    assert [kept.find(token) is not None for token in (first, second, third)] == [True, False, True]


def fails(attempts: Attempts, address: str, times: int) -> None:
    for _ in range(times):
        attempts.check(address)
        attempts.failed(address)


def test_an_address_that_fails_too_often_has_to_wait_and_no_other_has() -> None:
    clock = ManualClock()
    attempts = Attempts(clock)
    fails(attempts, "192.0.2.7", ATTEMPTS)
    with pytest.raises(RateLimited) as refusal:
        attempts.check("192.0.2.7")
    attempts.check("192.0.2.8")
    clock.advance(refusal.value.retry_after)
    fails(attempts, "192.0.2.7", 1)
    with pytest.raises(RateLimited):
        attempts.check("192.0.2.7")
    clock.advance(ATTEMPTS * ATTEMPT_SECONDS)
    fails(attempts, "192.0.2.7", ATTEMPTS)


def test_what_succeeded_is_no_failed_attempt() -> None:
    attempts = Attempts(ManualClock())
    for _ in range(3 * ATTEMPTS):
        attempts.check("192.0.2.7")


def test_the_addresses_of_an_ipv6_network_are_one() -> None:
    attempts = Attempts(ManualClock())
    for number in range(ATTEMPTS):
        fails(attempts, f"2001:db8::{number:x}", 1)
    with pytest.raises(RateLimited):
        attempts.check("2001:db8::ffff")
    attempts.check("2001:db8:0:1::1")
    attempts.check("unix")


def test_how_many_addresses_are_remembered_is_bounded() -> None:
    attempts = Attempts(ManualClock())
    fails(attempts, "192.0.2.7", ATTEMPTS)
    for number in range(5_000):
        fails(attempts, f"10.0.{number // 256}.{number % 256}", 1)
    assert len(attempts._free_at) < 5_000
