"""Slow readers: which clients do not keep up with what is sent to them."""

from __future__ import annotations

from typing import Protocol


class PaceLimits(Protocol):
    """Over ``queue_bytes`` may wait for a client for ``slow_seconds``, and over ``cut_bytes`` not at all."""

    @property
    def queue_bytes(self) -> int: ...

    @property
    def cut_bytes(self) -> int: ...

    @property
    def slow_seconds(self) -> float: ...


def slow_since(since: float | None, waiting: int, now: float, limits: PaceLimits) -> float | None:
    """Since when more bytes wait than may for long; None where that is not so. ``since`` is what was said last."""
    if waiting <= limits.queue_bytes:
        return None
    return now if since is None else since


def is_too_slow(since: float | None, waiting: int, now: float, limits: PaceLimits) -> bool:
    """Whether the connection is to be cut, so that nobody else has to wait for it."""
    return waiting > limits.cut_bytes or (since is not None and now - since > limits.slow_seconds)


def has_room(waiting: int, limits: PaceLimits) -> bool:
    """Whether a page of a replay can follow: it is at most half of what may wait for long."""
    return waiting <= limits.queue_bytes // 2
