"""At the forwarder: the connection of a client, from the upgrade on spliced with a link, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

from adapters.cluster.wire import Outgoing, Wire
from adapters.http.streams import Stream

LINGER_SECONDS = 5.0


class Splice:
    """Owns both the client's stream and the link. While one side takes nothing, nothing is read of the other.

    What ends one ends the other; what the owner has sent before its end still goes to the client.
    """

    def __init__(self, stream: Stream, wire: Wire, ended: Callable[[Splice], None]) -> None:
        self._stream = stream
        self._wire = wire
        self._ended = ended
        self._outgoing = Outgoing(stream)

    def open(self, early: bytes) -> None:
        self._stream.open(self, early)

    def close(self) -> None:
        self._stream.close()
        self._wire.close()

    # the owner's side

    def received(self, octets: bytes) -> None:
        self._outgoing.write(octets)
        if self._outgoing.unsent:
            self._wire.pause()

    def drained(self, unsent: int) -> None:
        if not unsent:
            self._stream.resume()

    def ended(self) -> None:
        self._stream.linger(LINGER_SECONDS)

    def closed(self) -> None:
        self._stream.linger(LINGER_SECONDS)

    # StreamEvents: the client's side

    def stream_received(self, octets: bytes) -> None:
        if self._wire.pass_on(octets):
            self._stream.pause()

    def stream_drained(self, unsent: int) -> None:
        self._outgoing.drained(unsent)
        if not self._outgoing.unsent:
            self._wire.resume()

    def stream_ended(self) -> None:
        self._stream.close()

    def stream_closed(self) -> None:
        self._wire.close()
        self._ended(self)
