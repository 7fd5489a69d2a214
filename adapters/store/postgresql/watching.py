"""Following the log in a PostgreSQL database, whoever appends to it: a thread that looks when it is told that there is
more, and every quarter of a second. Beside that it counts, a slice at a look, whether the log is whole."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Final

import psycopg

from adapters.store.postgresql.connecting import Address, one_line
from adapters.store.postgresql.database import Database, Snapshot
from adapters.store.postgresql.log import outlined
from adapters.store.postgresql.scrubbing import Scrubber, lacks_entry
from adapters.store.postgresql.threads import CHANNEL
from domain.errors import EntriesMissing, StoreUnavailable
from domain.model import TailEntry
from domain.model.value import value
from domain.ports import Wanted
from domain.rules.epochs import Generations

_log = logging.getLogger("synkrone.store")

LOOK_SECONDS: Final = 0.25
APART_SECONDS: Final = 0.005
"""Looks begin at least so far apart, however many hints there are: each costs about what a commit does."""
_PAUSE_SECONDS: Final = 1.0
"""After an error."""


@value
class Known:
    """What of the log is known: its last epoch, and an offset that was there in it. Without an epoch it may be another
    log's."""

    epoch: str | None
    offset: int


@value
class News:
    """What the log has: ``entries`` follow each other, ``head`` is its end and ``floor`` what has left it. Before that
    was looked up, it was ``known`` to go up to an offset. With ``missing`` there is no entry at that offset. It was
    looked through ``scrubs`` times."""

    entries: Sequence[TailEntry]
    known: int
    head: int
    floor: int
    generations: Generations
    missing: int | None
    scrubs: int


class LogWatcher:
    """``known`` says what is known already; ``tell`` is called in the loop with what is found, and returns before more
    is read."""

    def __init__(
        self,
        address: Address,
        loop: asyncio.AbstractEventLoop,
        *,
        known: Callable[[], Known],
        wanted: Wanted,
        own: Callable[[], int | None],
        stored_at: Callable[[], datetime | None],
        tell: Callable[[News], None],
        others: Mapping[str, Callable[[Sequence[str]], None]],
    ) -> None:
        """What is not ``wanted`` is told without its payload. ``own`` is the server's process whose hints are about
        what is known here; ``stored_at`` is what an epoch is said to begin at, None for the time of the database.
        ``others`` are called in the loop where other processes have said something on the channel of their name, with
        what that is."""
        self._address = address
        self._loop = loop
        self._known = known
        self._wanted = wanted
        self._own = own
        self._stored_at = stored_at
        self._tell = tell
        self._others = others
        self._scrubber = Scrubber()
        self._missing: int | None = None
        self._looked_at = 0.0
        self.defect: BaseException | None = None
        """What ended the thread, if it was no fault of the database."""
        self._over = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="store-watcher", daemon=True)
        self._thread.start()

    def suspect(self, offset: int) -> None:
        """Something that a reader was to find there was not."""
        self._missing = self._missing or offset

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
        try:
            self._follow()
        except BaseException as error:
            self.defect = error
            raise

    def _follow(self) -> None:
        failing = False
        while not self._over.is_set():
            try:
                with closing(Database(self._address)) as db:
                    for channel in (CHANNEL, *self._others):
                        db.execute(f"LISTEN {channel}".encode())
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
            own = self._own()
            hints = [hint for hint in db.line.notifies(timeout=0) if hint.pid != own]
            for channel in {hint.channel for hint in hints} & self._others.keys():
                said = [hint.payload for hint in hints if hint.channel == channel]
                # Before the log is looked at: what is said of entries is heard before they come.
                self._loop.call_soon_threadsafe(self._others[channel], said)
            if any(hint.channel == CHANNEL for hint in hints):
                self._over.wait(max(0.0, self._looked_at + APART_SECONDS - time.monotonic()))
                return
            select.select((db.line.fileno(), self._woken.fileno()), (), (), left)

    def _look(self, db: Database) -> None:
        self._looked_at = time.monotonic()
        known = self._known()
        while not self._over.is_set():
            news = self._news(db, known)
            if news is None:
                db.begin_epoch(self._stored_at(), known.offset, known.epoch)
                _log.warning("the database was started anew, is another one, or has less: a new epoch begins")
                known = Known(None, known.offset)
                continue
            self._tell_and_wait(news)
            if not news.entries:
                return
            known = Known(news.generations.present, news.entries[-1].position.offset)

    def _news(self, db: Database, known: Known) -> News | None:
        """None where an epoch has to begin first."""
        entries: Sequence[TailEntry] = ()
        with db.snapshot(asks_whether_same=True) as snapshot:
            generations = snapshot.generations
            has_less = generations.present == known.epoch and snapshot.head < known.offset
            is_other = known.epoch is not None and known.epoch not in generations
            if has_less or is_other or not snapshot.is_same:
                db.execute(b"COMMIT")
                return None
            missing = self._missing_in(snapshot)
            if known.offset < snapshot.head:
                try:
                    entries = outlined(snapshot, max(known.offset, snapshot.floor), snapshot.head, self._wanted)
                except EntriesMissing as error:
                    missing = missing or error.offset
        return News(entries, known.offset, snapshot.head, snapshot.floor, generations, missing, self._scrubber.rounds)

    def _missing_in(self, snapshot: Snapshot) -> int | None:
        """What was missing is looked for before anything else."""
        if self._missing is None or not lacks_entry(snapshot, self._missing):
            self._missing = self._scrubber.look(snapshot)
        return self._missing

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
