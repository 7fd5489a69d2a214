"""Pings and pongs of one session, and what they are receipts for (Engine.IO protocol v4, "Heartbeat").

All times are seconds of one monotonic clock. A mark is the sender's own note on a packet: any object that is true.
"""

from __future__ import annotations

RECEIPT_INTERVAL = 1.0
"""Seconds between two pings while packets with a mark are being sent."""

MAX_AWAITED = 8
"""Pongs that may be under way at a time: over long-polling, each answer has a ping of its own."""


class Heartbeat:
    """Knows when a ping is due, when a pong is overdue, and up to which mark the client has received.

    ``given_out`` is the last mark the client was sent. ``ping_waits``: the last ping is still among what waits to be
    sent. ``pings`` and ``pongs`` are how many there were: pongs come in the order of their pings.
    """

    # fmt: off
    __slots__ = (
        "_awaited", "_confirmed", "_interval", "_ping_at", "_ping_mark", "_pinged_at", "_pong_by", "_timeout",
        "given_out", "ping_waits", "pings", "pongs",
    )
    # fmt: on

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._pinged_at = now
        self._ping_at = now + interval
        self._pong_by: float | None = None
        self._ping_mark: object = None
        self._awaited: tuple[object, ...] = ()
        self.pings = self.pongs = 0
        self._confirmed: object = None
        self.given_out: object = None
        self.ping_waits = False

    @property
    def next_at(self) -> float:
        """When there is something to do, unless a pong comes before."""
        return self._ping_at if self._pong_by is None else self._pong_by

    def is_due(self, now: float) -> bool:
        """Whether to ping now."""
        return self._pong_by is None and now >= self._ping_at

    def is_overdue(self, now: float) -> bool:
        """Whether the client has had its time to answer."""
        return self._pong_by is not None and now >= self._pong_by

    def want_receipt(self, now: float) -> None:
        """Have the next ping, if none is under way, come within RECEIPT_INTERVAL of the last, or now."""
        if self.given_out is not self._confirmed:
            self._ping_at = min(self._ping_at, max(now, self._pinged_at + RECEIPT_INTERVAL))

    @property
    def may_ping(self) -> bool:
        """Whether another ping may leave, beside those whose pongs are under way."""
        return len(self._awaited) < MAX_AWAITED

    def ping(self, mark: object, now: float) -> None:
        """A ping leaves, and its pong will be the receipt for everything up to the mark.

        One that is due and leaves late leaves the client less time, up to a half, so that the deadline is kept.
        """
        if self._pong_by is None:
            self._pong_by = max(min(self._ping_at, now), now - self._timeout / 2) + self._timeout
        self._pinged_at = now
        self._awaited += (mark,)
        self.pings += 1

    def pinged_again(self, now: float) -> None:
        """What the last ping was in has been lost, and is sent again."""
        if self._pong_by is not None:
            self._pong_by = max(self._pong_by, now + self._timeout)

    def pong(self, now: float) -> bool:
        """A pong has come; False where nobody asked for one, or not yet."""
        if len(self._awaited) <= self.ping_waits:
            return False
        self._ping_mark, *awaited = self._awaited
        self._awaited = tuple(awaited)
        self.pongs += 1
        self._pong_by = now + self._timeout if awaited else None
        self._ping_at = now + self._interval
        return True

    def receipt_of_ping(self) -> object:
        return self.receipt(self._ping_mark)

    def receipt(self, mark: object) -> object:
        """The mark where it is news that the client has it, else None."""
        if mark is self._confirmed:
            return None
        self._confirmed = mark or self._confirmed
        return mark
