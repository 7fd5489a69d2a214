"""At the forwarder: what becomes of the answers that were written here for other nodes."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from adapters.cluster.links import Link
from adapters.cluster.messages import AnswerNumber, Seen
from adapters.http.delivery import Delivery
from domain.ports import Clock

FIRST_LOOK_SECONDS: Final = 0.05
"""Behind an answer: by then most clients' systems have acknowledged it."""

WATCHED_SECONDS: Final = 60.0
MAX_WATCHED: Final = 65_536


class Witness:
    """Watches one answer, and tells its owner what is new of it."""

    __slots__ = ("_delivery", "_is_to_finish", "_is_written", "_link", "_number", "_said", "began", "sid")

    def __init__(self, sid: str, link: Link, number: AnswerNumber, delivery: Delivery, began: float) -> None:
        self.sid = sid
        self._link = link
        self._number = number
        self._delivery = delivery
        self._said: Seen | None = None
        self._is_written = False
        self._is_to_finish = False
        self.began = began
        link.unfinished += 1

    @property
    def is_final(self) -> bool:
        return self._said is not None and self._said.is_final

    def written(self) -> None:
        """All of it was handed to this side's system, or the connection is closed."""
        self._is_written = True
        self.look()
        if self._is_to_finish:
            self.finish()

    def look(self) -> None:
        for seen in self.news():
            self._link.tell(seen)

    def news(self) -> list[Seen]:
        """What the owner has not been told. It is to be told it, by whatever link."""
        seen = self._seen()
        if self.is_final or seen == self._said:
            return []
        self._say(seen)
        return [seen]

    def finish(self) -> None:
        """Tell the owner the last, as it is, once all of it is written."""
        self._is_to_finish = True
        if self._is_written and not self.is_final:
            seen = msgspec.structs.replace(self._seen(), is_final=True)
            self._say(seen)
            self._link.tell(seen)

    def _say(self, seen: Seen) -> None:
        self._said = seen
        if seen.is_final:
            self._link.unfinished -= 1

    def _seen(self) -> Seen:
        delivery = self._delivery
        return Seen(
            self._number,
            is_written=self._is_written,
            was_followed=delivery.was_followed,
            was_cut=delivery.was_cut,
            was_cut_short=delivery.was_cut_short,
            was_reset=delivery.was_reset,
            is_acknowledged=delivery.is_acknowledged,
            is_final=self._is_written and delivery.is_final,
        )


class Witnesses:
    """Of the answers that were written here. ``sweep`` is to be called about once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # In the order in which they were written.
        self._all: dict[Witness, None] = {}
        self._last_of: dict[str, Witness] = {}

    def watch(self, sid: str, link: Link, number: AnswerNumber, delivery: Delivery) -> None:
        """An answer has just been given to the connection of its client."""
        witness = Witness(sid, link, number, delivery, self._clock.monotonic())
        self._all[witness] = None
        self._last_of[sid] = witness
        delivery.when_written(witness.written)
        witness.look()
        delivery.watch(witness.look)
        asyncio.get_running_loop().call_later(FIRST_LOOK_SECONDS, witness.look)
        if len(self._all) > MAX_WATCHED:
            oldest = next(iter(self._all))
            oldest.finish()
            self._forget(oldest)

    def news_of(self, sid: str) -> list[Seen]:
        """What is to be told to the owner together with the next request of the session: of its last answer."""
        witness = self._last_of.get(sid)
        if witness is None:
            return []
        news = witness.news()
        if witness.is_final:
            self._forget(witness)
        return news

    def sweep(self) -> None:
        due = self._clock.monotonic() - WATCHED_SECONDS
        for witness in list(self._all):
            witness.look()
            if witness.began <= due:
                witness.finish()
            if witness.is_final or witness.began <= due:
                self._forget(witness)

    def _forget(self, witness: Witness) -> None:
        self._all.pop(witness, None)
        if self._last_of.get(witness.sid) is witness:
            del self._last_of[witness.sid]
