"""What becomes of an answer once it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from adapters.http.connection import HttpServerConnection


class DeliveryEvidence(Protocol):
    """What is known of whether an answer has arrived: see ``Delivery``."""

    @property
    def is_confirmed(self) -> bool: ...

    @property
    def is_witnessed(self) -> bool: ...

    @property
    def was_followed(self) -> bool: ...

    @property
    def was_cut(self) -> bool: ...

    @property
    def was_cut_short(self) -> bool: ...

    @property
    def was_reset(self) -> bool: ...

    @property
    def is_acknowledged(self) -> bool: ...

    def watch(self, told: Callable[[], None]) -> None: ...


class Delivery:
    """What is known of whether an answer has arrived: evidence of HTTP and of TCP.

    A client reads an answer before it sends its next request on the same connection (RFC 9112, section 9.3.2, leaves it
    free to send more than one; none that polls does). Behind a proxy, that client is the proxy.
    """

    __slots__ = ("_connection", "_requests")

    def __init__(self, connection: HttpServerConnection | None) -> None:
        # None where it can go nowhere.
        self._connection = connection if connection is not None and not connection.stream.is_closed else None
        self._requests = connection.requests if connection is not None else 0

    @property
    def is_confirmed(self) -> bool:
        """Whether it is known if all of it was written: of an answer that is written here it always is."""
        return True

    @property
    def is_witnessed(self) -> bool:
        """Whether what becomes of it can still be known: of an answer that is written here it always can."""
        return True

    @property
    def was_followed(self) -> bool:
        """Whether another request has come behind it on its connection."""
        return self._connection is not None and self._connection.requests > self._requests

    @property
    def was_cut(self) -> bool:
        """Whether its connection was closed before the other side's system had acknowledged all of it."""
        return self._connection is None or self._connection.stream.was_cut

    @property
    def was_cut_short(self) -> bool:
        """Whether its connection was closed before all of it was handed to this side's system."""
        return self._connection is None or self._connection.stream.was_cut_short

    @property
    def was_reset(self) -> bool:
        """Whether its connection ended with an error, as that of a client does that had not read all of it."""
        return self._connection is not None and self._connection.stream.was_reset

    @property
    def is_acknowledged(self) -> bool:
        """Whether the other side's system has it."""
        return not self.was_cut and self._connection is not None and not self._connection.stream.unacknowledged_bytes()

    def watch(self, told: Callable[[], None] | None) -> None:
        """Have it called when the connection closes. One is told at a time, of the last answer."""
        if self._connection is not None:
            self._connection.when_closed(told)

    def when_written(self, told: Callable[[], None]) -> None:
        """Have it called once all of it was handed to this side's system, or the connection is closed."""
        if self._connection is not None:
            self._connection.when_written(told)
        else:
            told()

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be known."""
        return self._connection is None or self._connection.stream.is_closed or self.was_followed
