"""Whether the answer to a poll has arrived, told from evidence when the next poll comes.

A client polls again once it has the answer to its last poll. But HTTP sends a GET again by itself where a connection
that was kept alive breaks before the first byte of the answer (RFC 9112, section 9.3.1): browsers, aiohttp and
OkHttp do, and so do proxies. The two have to be told apart: an answer given again would come twice, one that is not
given again be lost.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

PATIENCE = 5.0
"""Seconds that are left to the pong of a ping in the answer, which proves that it has arrived."""

ACKNOWLEDGED_WITHIN = 2.0
"""Seconds that are left to the acknowledgement of TCP, which systems hold back for up to 0.2 s."""


class Delivery(Protocol):
    """What is known of how an answer was delivered."""

    @property
    def is_confirmed(self) -> bool:
        """It is known whether all of it was written. Of one that went by another node, that node has to say so."""

    @property
    def is_witnessed(self) -> bool:
        """What becomes of it can still be known: the node by which it went is there, or has seen its end."""

    @property
    def was_followed(self) -> bool:
        """Another request has come behind it on its connection."""

    @property
    def was_cut(self) -> bool:
        """Its connection was closed before the other side's system had acknowledged all of it."""

    @property
    def was_cut_short(self) -> bool:
        """Its connection was closed before all of it was sent."""

    @property
    def was_reset(self) -> bool:
        """Its connection ended with an error."""

    @property
    def is_acknowledged(self) -> bool:
        """The other side's system has all of it."""


class Arrival(Enum):
    ARRIVED = auto()
    LOST = auto()
    UNCERTAIN = auto()
    """A pong can tell, or an acknowledgement, or another node, that has not come yet."""


class Again(Enum):
    """Whether a poll is the one that was answered last, sent again."""

    NO = auto()
    """It is another request: one that is sent again is the same to the letter."""
    MAYBE = auto()
    """It is the same to the letter, of a client whose requests may be all the same."""
    YES = auto()
    """It is the same to the letter, of a client known to stamp each of its requests, which have all differed."""


def has_failed(delivery: Delivery) -> bool:
    """Whether it seems not to have arrived."""
    return delivery.was_cut and not delivery.was_followed


def is_certainly_lost(delivery: Delivery) -> bool:
    return delivery.was_cut_short and not delivery.was_followed


def judge(delivery: Delivery, again: Again, *, is_proxied: bool, has_ping: bool) -> Arrival:
    """Whether an answer has arrived, now that another poll has come.

    ``is_proxied``: that comes through a proxy, whose connections and acknowledgements say nothing of the client's.
    ``has_ping``: there was a ping in the answer, whose pong has not come.
    """
    if delivery.was_followed and not (is_proxied and again is not Again.NO):
        # Its reader had read it whole.
        return Arrival.ARRIVED
    if not delivery.is_confirmed:
        return Arrival.UNCERTAIN
    if again is Again.NO:
        # No client goes on without it. Where all of it was sent, a connection that was reset right behind its last
        # octet looks the same as one that was reset before it.
        return Arrival.LOST if is_certainly_lost(delivery) else Arrival.ARRIVED
    if again is Again.YES or has_failed(delivery):
        return Arrival.LOST
    if delivery.was_reset and not is_proxied:
        return Arrival.LOST
    is_known_to_be_acknowledged = delivery.is_acknowledged and not is_proxied
    return Arrival.ARRIVED if is_known_to_be_acknowledged and not has_ping else Arrival.UNCERTAIN
