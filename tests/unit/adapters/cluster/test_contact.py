from __future__ import annotations

import pytest

from adapters.cluster.contact import answer, question, seconds_in

OLD, SECRET, OTHER = b"o" * 32, b"s" * 32, b"x" * 32
NONCE = "0123456789abcdef"


def test_who_knows_the_secret_is_answered_and_believed() -> None:
    said = answer([SECRET, OLD], "boot-one", question(OLD, "boot-one", NONCE), 2.5)
    assert said is not None
    assert seconds_in(OLD, "boot-one", NONCE, said) == 2.5


@pytest.mark.parametrize("seconds", [0.0, 1e9, float("inf")])
def test_however_long_it_is(seconds: float) -> None:
    said = answer([SECRET], "boot-one", question(SECRET, "boot-one", NONCE), seconds)
    assert said is not None
    assert seconds_in(SECRET, "boot-one", NONCE, said) == seconds


@pytest.mark.parametrize(
    "asked",
    [
        "",
        " ",
        NONCE,
        f"{NONCE} ",
        f"{NONCE} \udcff",
        question(OTHER, "boot-one", NONCE),
        question(SECRET, "boot-two", NONCE),
        question(SECRET, "boot-one", NONCE).replace("0", "1", 1),
    ],
)
def test_nobody_else_is_answered(asked: str) -> None:
    assert answer([SECRET, OLD], "boot-one", asked.encode(errors="replace").decode(), 1.0) is None


def test_no_other_answer_is_believed() -> None:
    said = answer([SECRET], "boot-one", question(SECRET, "boot-one", NONCE), 1.0)
    assert said is not None
    assert seconds_in(SECRET, "boot-two", NONCE, said) is None
    assert seconds_in(SECRET, "boot-one", NONCE + "0", said) is None
    assert seconds_in(SECRET, "boot-one", NONCE, said.replace("1.000", "9.000")) is None
    assert seconds_in(SECRET, "boot-one", NONCE, question(SECRET, "boot-one", NONCE)) is None
