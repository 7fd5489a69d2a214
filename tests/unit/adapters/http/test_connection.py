from __future__ import annotations

import pytest

from tests.fuzz.http_peer import HttpPeer


def test_what_is_written_and_not_taken_is_told_before_the_answer_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who takes nothing of it at all would have no time-out."""
    peer = HttpPeer(head_bytes=400, body_bytes=100)
    waiting: list[int] = []
    monkeypatch.setattr(peer.stream, "write", len)
    monkeypatch.setattr(peer, "connection_waits", lambda connection, _stage: waiting.append(connection.unsent_bytes))
    peer.connection.write(b"some of an answer")
    assert waiting == [17]
