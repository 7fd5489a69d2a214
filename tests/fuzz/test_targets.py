"""The targets of ``make fuzz``, tried with hypothesis as part of the suite."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.http.connection import HttpServerConnection
from adapters.transport.socketio.engineio.session import Session
from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import TARGETS, Broken, http_connections, publications, requests, sessions

PROGRAMS = st.binary(max_size=300)


@pytest.mark.parametrize("name", TARGETS)
@given(data=PROGRAMS)
@example(data=b"\x00\xc1\x98")
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_a_promise(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_every_target_is_fuzzed() -> None:
    assert tuple(TARGETS) == NAMES


def test_a_broken_promise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "untaken_bytes", property(lambda _self: 7))
    with pytest.raises(Broken):
        sessions(bytes((0, 0, 0)))


def test_an_argument_that_is_read_wrongly_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.contract.commands.LIST_MAX", 10**50)
    # inbox.list with a limit of 10**40.
    with pytest.raises(Broken):
        requests(bytes((3, 193, 2, 8)))


def test_a_connection_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpServerConnection, "_end", lambda _self: None)
    with pytest.raises(Broken):
        http_connections(b"\x80\x83")


def test_a_publication_that_is_read_wrongly_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.contract.publications.repeats_members", lambda *_: False)
    body = b'{"to":{"user":"a"},"type":"t","type":"u"}'
    with pytest.raises(Broken):
        publications(body)
