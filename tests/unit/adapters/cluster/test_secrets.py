from __future__ import annotations

from adapters.cluster.secrets import FORMER_MAX, Secrets
from tests.doubles import ManualClock


def test_a_new_secret_signs_once_everybody_has_had_time_to_learn_it() -> None:
    clock = ManualClock()
    secrets = Secrets(clock, spread_seconds=15.0)
    secrets.learn(b"a")
    assert list(secrets.present) == [b"a"]
    secrets.learn(b"b")
    assert list(secrets.present) == [b"a", b"b"]
    clock.advance(14.9)
    secrets.learn(b"b")
    assert list(secrets.present) == [b"a", b"b"]
    clock.advance(0.2)
    assert list(secrets.present) == [b"b", b"a"]


def test_those_of_before_verify_on_but_not_without_end() -> None:
    clock = ManualClock()
    secrets = Secrets(clock, spread_seconds=15.0)
    learned = [bytes([number]) for number in range(FORMER_MAX + 5)]
    for secret in learned:
        secrets.learn(secret)
        clock.advance(60.0)
    assert list(secrets.present) == learned[-1 : -FORMER_MAX - 2 : -1]
