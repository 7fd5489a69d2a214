"""Following the log in a PostgreSQL database, whoever appends to it: a thread that looks when it is told that there is
more, and every quarter of a second."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import psycopg

from adapters.store.postgresql.connecting import Address, one_line
from adapters.store.postgresql.database import Database
from adapters.store.postgresql.log import stored
from adapters.store.postgresql.threads import CHANNEL
from domain.errors import StoreUnavailable
from domain.model import Entry
from domain.model.value import value
from domain.ports import Clock
from domain.rules.epochs import Generations

_log = logging.getLogger("synkrone.store")

LOOK_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 1.0
"""After an error."""

_IS_SAME = b"""
    SELECT incarnation = synkrone.incarnation() FROM synkrone.epochs ORDER BY number DESC LIMIT 1"""


@value
class News:
    """What the log has: ``entries`` follow each other, ``head`` is its end and ``floor`` what has left it. Before that
    was looked up, it was ``known`` to go up to an offset."""

    entries: Sequence[Entry]
    known: int
    head: int
    floor: int
    generations: Generations


class LogWatcher:
    """``known`` is the offset up to which everything is known already; ``tell`` is called in the loop with what is
    found, and returns before more is read."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        known: Callable[[], int],
        own: Callable[[], int | None],
        tell: Callable[[News], None],
    ) -> None:
        """``own`` is the server's process whose hints are about what is known here."""
        self._address = address
        self._clock = clock
        self._loop = loop
        self._known = known
        self._own = own
        self._tell = tell
        self._over = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="store-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell no more."""
        self._over.set()
        self._wake.send(b"!")

    def close(self) -> None:
        """Let go of the database; blocks."""
        self.stop()
        self._thread.join()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        failing = False
        while not self._over.is_set():
            try:
                with closing(Database(self._address)) as db:
                    db.execute(f"LISTEN {CHANNEL}".encode())
                    while not self._over.is_set():
                        self._look(db)
                        if failing:
                            failing = False
                            _log.warning("the log can be followed again")
                        self._wait(db)
            except (psycopg.Error, StoreUnavailable) as error:
                if not failing:
                    said = one_line(error) if isinstance(error, psycopg.Error) else str(error)
                    _log.error("the log cannot be followed: %s", said)
                failing = True
                self._over.wait(_PAUSE_SECONDS)

    def _wait(self, db: Database) -> None:
        """For a hint of somebody else's, or until it is time to look."""
        look_at = time.monotonic() + LOOK_SECONDS
        while not self._over.is_set() and (left := look_at - time.monotonic()) > 0:
            if any(hint.pid != self._own() for hint in db.line.notifies(timeout=0)):
                return
            select.select((db.line.fileno(), self._woken.fileno()), (), (), left)

    def _look(self, db: Database) -> None:
        known = self._known()
        (is_same,) = db.one(_IS_SAME)
        if not is_same:
            db.begin_epoch(self._clock.now(), known)
            _log.warning("the database was started anew, or is another one: a new epoch begins")
        while not self._over.is_set():
            entries: Sequence[Entry] = ()
            with db.snapshot() as snapshot:
                if known < snapshot.head:
                    entries = stored(snapshot, max(known, snapshot.floor), snapshot.head)
            self._tell_and_wait(News(entries, known, snapshot.head, snapshot.floor, snapshot.generations))
            if not entries:
                return
            known = entries[-1].position.offset

    def _tell_and_wait(self, news: News) -> None:
        told = threading.Event()

        def tell() -> None:
            try:
                if not self._over.is_set():
                    self._tell(news)
            finally:
                told.set()

        self._loop.call_soon_threadsafe(tell)
        while not told.wait(LOOK_SECONDS):
            if self._over.is_set():
                return
