"""The targets of ``make fuzz``, tried with hypothesis as part of the suite."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.transport.socketio.engineio.session import Session
from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import TARGETS, Broken, sessions

PROGRAMS = st.binary(max_size=300)


@pytest.mark.parametrize("name", TARGETS)
@given(data=PROGRAMS)
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_a_promise(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_every_target_is_fuzzed() -> None:
    assert tuple(TARGETS) == NAMES


def test_a_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "untaken_bytes", property(lambda _self: 7))
    with pytest.raises(Broken):
        sessions(bytes((0, 0, 0)))
