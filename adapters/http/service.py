"""What serves connections of HTTP, and is told what each of them waits for."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from adapters.http.exchange import DateField, Exchange, MessageHandler
from adapters.http.messages import BadRequest, RequestHead
from adapters.http.turns import Turns

if TYPE_CHECKING:
    from adapters.http.connection import HttpServerConnection


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection. Tornado reads these names."""

    remote_ip: str
    protocol: str

    def __str__(self) -> str:
        return self.remote_ip


class Stage(Enum):
    """What a connection waits for, each for its own time at most."""

    FIRST_HEAD = auto()
    NEXT_HEAD = auto()
    REST_OF_HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    END = auto()


class Service(Protocol):
    """What serves connections. ``head_bytes`` and ``body_bytes`` are the most that a head and a body may have; routes
    may set another limit for their bodies. ``keeps_alive``: whether connections stay open behind their answers."""

    head_bytes: int
    body_bytes: int
    keeps_alive: bool
    date: DateField
    turns: Turns

    def open(self, head: RequestHead, exchange: Exchange) -> MessageHandler | Awaitable[MessageHandler]:
        """A request has begun. Raises HTTPInputError: it is answered with 400."""

    def connection_waits(self, connection: HttpServerConnection, stage: Stage) -> None:
        """What it waits for from now on, with the whole time for that. Told again where some of it has come."""

    def connection_ended(self, connection: HttpServerConnection) -> None:
        """It is closed, or was handed over. The last that is told of it."""

    def request_refused(self, connection: HttpServerConnection, error: BadRequest) -> tuple[str, bytes]:
        """A request is answered with an error before anybody has handled it: the answer's media type and body."""
