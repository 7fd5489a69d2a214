"""At the owner: what is known of answers that other nodes have written to their clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

from adapters.cluster.messages import AnswerNumber, Seen

MAX_DELIVERIES: Final = 65_536
"""Of which more may still be told; of the oldest beyond that nothing more is known."""


class ForwardedDelivery:
    """The DeliveryEvidence of an answer that went by another node: what that node has told of it.

    Before it has said a first word, whether it has the answer at all is not known; and if it is gone before it has
    written the whole of it, neither is what came of that.
    """

    __slots__ = (
        "_is_written", "_told", "is_acknowledged", "is_confirmed", "is_witnessed", "number", "was_cut", "was_cut_short",
        "was_followed", "was_reset",
    )  # fmt: skip

    def __init__(self, number: AnswerNumber) -> None:
        self.number = number
        self.is_confirmed = False
        self.is_witnessed = True
        self._is_written = False
        self.was_followed = self.was_cut = self.was_cut_short = self.was_reset = self.is_acknowledged = False
        self._told: Callable[[], None] | None = None

    def watch(self, told: Callable[[], None]) -> None:
        self._told = told

    def tell(self, seen: Seen) -> None:
        """The forwarder has said more. What it said before, and may come later over another link, stays true."""
        self.is_confirmed = True
        self._is_written = self._is_written or seen.is_written
        self.was_followed = self.was_followed or seen.was_followed
        self.was_cut = self.was_cut or seen.was_cut
        self.was_cut_short = self.was_cut_short or seen.was_cut_short
        self.was_reset = self.was_reset or seen.was_reset
        self.is_acknowledged = (self.is_acknowledged or seen.is_acknowledged) and not self.was_cut
        self._tell_watcher(is_last=seen.is_final)

    def never_sent(self) -> None:
        """The link was closed before: the answer has not even left this node."""
        self.is_confirmed = self.was_cut = self.was_cut_short = True

    def lost_sight(self) -> None:
        """The forwarder will say no more."""
        self.is_witnessed = False
        self.is_confirmed = self._is_written
        self._tell_watcher(is_last=True)

    def _tell_watcher(self, *, is_last: bool) -> None:
        told = self._told
        if is_last:
            self._told = None
        if told is not None:
            told()


class Deliveries:
    """Those of which more may be told, by their numbers: over whatever link."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._open: OrderedDict[AnswerNumber, ForwardedDelivery] = OrderedDict()

    def new(self) -> ForwardedDelivery:
        delivery = ForwardedDelivery(AnswerNumber(next(self._numbers)))
        self._open[delivery.number] = delivery
        if len(self._open) > MAX_DELIVERIES:
            self._open.popitem(last=False)[1].lost_sight()
        return delivery

    def tell(self, seen: Seen) -> None:
        delivery = self._open.get(seen.number)
        if delivery is not None:
            if seen.is_final:
                del self._open[seen.number]
            delivery.tell(seen)

    def lose_sight(self, numbers: Iterable[AnswerNumber]) -> None:
        """The link over which the forwarder would have told of these is closed."""
        for number in numbers:
            delivery = self._open.pop(number, None)
            if delivery is not None:
                delivery.lost_sight()

    def is_open(self, number: AnswerNumber) -> bool:
        return number in self._open
