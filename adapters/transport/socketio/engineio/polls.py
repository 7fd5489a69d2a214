"""The polls of one session, and the answer to the last of them, kept until it is known that the client has it.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.transport.socketio.engineio.arrival import (
    ACKNOWLEDGED_WITHIN,
    PATIENCE,
    Again,
    Arrival,
    Delivery,
    has_failed,
    is_certainly_lost,
    judge,
)
from adapters.transport.socketio.engineio.batch import Batch

MAX_DELIVERIES = 4
"""Of one answer that are looked at when another poll comes."""


@dataclass(slots=True)
class Answer:
    """The last answer to a poll that held packets. Until another poll follows, the client may not have got it."""

    request: str
    batch: Batch
    ping: int | None
    """The number of the ping in it, if there is one."""
    deliveries: tuple[Delivery, ...] = ()
    """The last ones. There are more than one where the poll was sent again, and none where nothing is known but what
    the next request says."""
    is_lost: bool = False

    @property
    def delivery(self) -> Delivery | None:
        """The one that has most likely arrived, of several the last. A poll that was sent again can overtake the first
        one."""
        chances = (is_certainly_lost, has_failed)
        return min(reversed(self.deliveries), key=lambda it: sum(bad(it) for bad in chances), default=None)

    @property
    def has_failed(self) -> bool:
        return bool(self.deliveries) and all(map(has_failed, self.deliveries))


@dataclass(slots=True)
class Poll:
    """``is_repeat``: it gets the last answer again. ``again``: whether it is the one that was answered last.
    ``uncertain_until``: whether the last answer has arrived is not known, and this one waits for that."""

    request: str
    is_proxied: bool
    is_stamped: bool
    is_repeat: bool = False
    again: Again = Again.NO
    uncertain_until: float | None = None


class Polls:
    """``waiting`` is the poll without an answer so far, and ``answer`` the last answer while it may be wanted again."""

    __slots__ = ("_are_repeated", "answer", "waiting")

    def __init__(self) -> None:
        self.waiting: Poll | None = None
        self.answer: Answer | None = None
        self._are_repeated = False

    @property
    def are_repeated(self) -> bool:
        """Whether the client is known to send the same request twice without having lost an answer."""
        return self._are_repeated

    @property
    def size(self) -> int:
        """Bytes of the answer that is kept."""
        return self.answer.batch.size if self.answer is not None else 0

    @property
    def uncertain_until(self) -> float | None:
        return self.waiting.uncertain_until if self.waiting is not None else None

    @property
    def may_have_lost_answer(self) -> bool:
        """Whether that is likely, and not certain."""
        answer = self.answer
        return self.uncertain_until is not None or (answer is not None and not answer.is_lost and answer.has_failed)

    def take(self, poll: Poll, now: float, patience: float) -> bool:
        """A poll came, and waits. Whether it shows that the last answer has arrived; where that stays uncertain it
        waits for it, ``patience`` seconds at most."""
        self.waiting = poll
        answer = self.answer
        if answer is None:
            return False
        is_same_request = poll.request == answer.request
        if answer.is_lost:
            arrival = Arrival.LOST
        elif answer.delivery is None:
            arrival = Arrival.LOST if is_same_request else Arrival.ARRIVED
        else:
            poll.again = self._again(answer, is_same_request=is_same_request, is_stamped=poll.is_stamped)
            arrival = judge(answer.delivery, poll.again, is_proxied=poll.is_proxied, has_ping=answer.ping is not None)
        is_known_again = arrival is Arrival.UNCERTAIN and poll.again is Again.YES
        if arrival is not Arrival.LOST and is_same_request and not is_known_again:
            self._are_repeated = True
        if arrival is Arrival.LOST:
            self._answer_again(answer, poll)
        elif arrival is Arrival.UNCERTAIN:
            proof_within = PATIENCE if poll.is_proxied else ACKNOWLEDGED_WITHIN
            poll.uncertain_until = now + min(proof_within, patience)
        return arrival is Arrival.ARRIVED

    def _again(self, answer: Answer, *, is_same_request: bool, is_stamped: bool) -> Again:
        if not is_same_request:
            return Again.NO
        # An HTTP client sends a request again once, and not for ever.
        was_given_again = len(answer.deliveries) > 1
        return Again.YES if is_stamped and not self._are_repeated and not was_given_again else Again.MAYBE

    def _answer_again(self, answer: Answer, poll: Poll) -> None:
        poll.uncertain_until = None
        poll.is_repeat = True
        answer.request = poll.request

    def reconsider(self, now: float, *, answers_pings: bool) -> Arrival | None:
        """Whether the last answer has arrived, for the poll that waits to know: UNCERTAIN once the time for that is
        over and nothing more will be known. None where no poll waits for it, or more may be known.

        ``answers_pings``: the client has answered one before.
        """
        poll, answer = self.waiting, self.answer
        if poll is None or poll.uncertain_until is None or answer is None or answer.delivery is None:
            return None
        has_ping = answer.ping is not None
        arrival = judge(answer.delivery, poll.again, is_proxied=poll.is_proxied, has_ping=has_ping)
        if arrival is Arrival.UNCERTAIN:
            if now < poll.uncertain_until:
                return None
            arrival = _decide(answer.delivery, is_proxied=poll.is_proxied, answers_pings=answers_pings)
        if arrival is Arrival.ARRIVED:
            self._are_repeated = self._are_repeated or poll.request == answer.request
        elif arrival is Arrival.LOST:
            self._answer_again(answer, poll)
        return arrival

    def take_answer(self) -> Answer | None:
        """The answer is kept no longer, and no poll waits to know whether it has arrived."""
        answer, self.answer = self.answer, None
        if self.waiting is not None:
            self.waiting.uncertain_until = None
        return answer

    def answer_given(self, delivery: Delivery) -> None:
        """How the last answer is delivered."""
        if self.answer is not None:
            self.answer.deliveries = (*self.answer.deliveries[1 - MAX_DELIVERIES :], delivery)

    def lose_answer(self, delivery: Delivery | None) -> bool:
        """The last answer could not be written; with a ``delivery``, that one seems to have failed. Whether no other
        of it may have arrived."""
        answer = self.answer
        if answer is None or (delivery is not None and not (delivery in answer.deliveries and answer.has_failed)):
            return False
        answer.is_lost = answer.is_lost or delivery is None or all(map(is_certainly_lost, answer.deliveries))
        return True

    def is_proven_by(self, pongs: int) -> bool:
        """Whether so many pongs prove that the last answer has arrived, by the ping in it."""
        return self.answer is not None and self.answer.ping is not None and pongs >= self.answer.ping

    def is_of_answer(self, delivery: Delivery) -> bool:
        """Whether the last answer was delivered so."""
        return self.answer is not None and delivery in self.answer.deliveries


def _decide(delivery: Delivery, *, is_proxied: bool, answers_pings: bool) -> Arrival:
    """Nothing more will be known."""
    has_evidence = delivery.is_confirmed and delivery.is_witnessed
    if has_evidence and not is_proxied and not delivery.is_acknowledged:
        return Arrival.LOST
    if has_evidence and not is_proxied and not answers_pings:
        # Of a client that has never answered a ping, no pong says nothing.
        return Arrival.ARRIVED
    return Arrival.UNCERTAIN
