"""When a SQLite file is gone through, so that its unused space holds no copies of what was erased."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Final

from adapters.store.sqlite.deletions import forget_unscrubbed, unscrubbed
from adapters.store.sqlite.schema import BUSY_SECONDS
from adapters.store.sqlite.scrubbing import Scrubber
from adapters.store.sqlite.transaction import LogTransaction
from domain.model.value import value

PAGES_AT_ONCE: Final = 2048
PAGES_BESIDE: Final = 512
"""Of what nobody waits for."""

_RESTS_TIMES = 20
_PATIENCE_MS = 50

_log = logging.getLogger("synkrone.store")


@value
class Overwritten:
    """The file was after a page, up to another; None: up to its end."""

    after: int
    upto: int | None


class Overwriter:
    """Overwrites what is unused behind a commit. For the writer's thread alone."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._asked: tuple[int, int] | None = None
        self._overwritten: Overwritten | None = None

    def ask(self, after: int, pages: int = PAGES_AT_ONCE) -> None:
        """To have so many pages after one gone through, once the transaction is committed."""
        self._asked = after, pages

    def take(self) -> Overwritten | None:
        """What came of what was asked for last; None where it failed. Nothing is asked for any more."""
        overwritten, self._overwritten, self._asked = self._overwritten, None, None
        return overwritten

    def committed(self, db: sqlite3.Connection) -> None:
        """To be called behind each transaction, and outside of any."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        after, pages = asked
        try:
            # Somebody may be reading what is in the log: then it is tried again.
            db.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
            busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            db.execute("PRAGMA shrink_memory")
            if not busy:
                self._overwritten = Overwritten(after, self._scrubber.scrub(after, pages))
        except (sqlite3.Error, OSError) as error:
            _log.error("what was erased could not be overwritten, which is tried again: %s", error)


@value
class _Round:
    """Through the file, up to the page ``after``; for what was erased up to ``number``."""

    number: int
    began_at: float
    after: int


class Rounds:
    """Goes through the file where notifications were erased that all whom they named had deleted. For the writer's
    thread alone."""

    def __init__(self, overwriter: Overwriter, *, monotonic: Callable[[], float], every: timedelta) -> None:
        """No sooner than that after the last time, and twenty times as long as that took."""
        self._overwriter = overwriter
        self._monotonic = monotonic
        self._every = every.total_seconds()
        self._rests_until = -inf
        self._round: _Round | None = None

    def step(self, transaction: LogTransaction, _: None) -> bool:
        """An operation of the writer: whether there is more to do at once."""
        now, overwritten, is_tried = self._monotonic(), self._overwriter.take(), False
        if self._round is None:
            number = unscrubbed(transaction.db)
            if number is None or now < self._rests_until:
                return False
            self._round = _Round(number, now, 0)
        elif overwritten is None or overwritten.after != self._round.after:
            is_tried = True
        elif overwritten.upto is None:
            forget_unscrubbed(transaction.db, self._round.number)
            self._rests_until = now + max(self._every, _RESTS_TIMES * (now - self._round.began_at))
            self._round = None
            return False
        else:
            self._round = replace(self._round, after=overwritten.upto)
        self._overwriter.ask(self._round.after, PAGES_BESIDE)
        # Where somebody reads it is left in peace for a while.
        return not is_tried
