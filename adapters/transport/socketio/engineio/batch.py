"""What waits to be sent, shared by every session for which the same packets wait."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.transport.socketio.engineio.packet import EncodedPacket


class Batch:
    """An immutable sequence of packets, one longer than the batch it grew from.

    ``then`` gives the same successor for the same packet, so that the members of a room, sent the same, hold one and
    the same batch, and its bytes are joined once for all of them. Measured with 300 packets to each of 1,000
    sessions: 0.06 µs a packet and session, against 0.13 µs for lists of their own and a key to share by.
    """

    __slots__ = ("_after", "_body", "_frames", "before", "length", "mark", "packet", "size")

    def __init__(self, before: Batch | None = None, packet: EncodedPacket | None = None) -> None:
        self.before = before
        self.packet = packet
        self.size: int = 0
        """In bytes, as sent over WebSocket."""
        self.mark: object = None
        """The last mark of its packets."""
        self.length: int = 0
        """How many packets it has."""
        if before is not None and packet is not None:
            self.size = before.size + packet.size
            self.mark = packet.mark or before.mark
            self.length = before.length + 1
        self._after: Batch | None = None
        self._frames: bytes | None = None
        self._body: bytes | None = None

    def then(self, packet: EncodedPacket) -> Batch:
        after = self._after
        if after is None or after.packet is not packet:
            after = self._after = Batch(self, packet)
        return after

    def then_all(self, other: Batch) -> Batch:
        batch = self
        for packet in other:
            batch = batch.then(packet)
        return batch

    def forget_successors(self) -> None:
        """Keep those of this batch and of all it grew from no longer: else each holds the next, and is held by it, and
        all of it waits for the garbage collector. Who shares them still does."""
        batch: Batch | None = self
        while batch is not None:
            batch._after = None  # noqa: SLF001 (of the same class)
            batch = batch.before

    def __iter__(self) -> Iterator[EncodedPacket]:
        packets = []
        batch: Batch | None = self
        while batch is not None and batch.packet is not None:
            packets.append(batch.packet)
            batch = batch.before
        return reversed(packets)

    @property
    def frames(self) -> bytes:
        """All as WebSocket frames, one behind the other."""
        if self._frames is None:
            if self.packet is not None and self.packet.size == self.size:
                return self.packet.frame
            self._frames = b"".join([packet.frame for packet in self])
            self.forget_successors()
        return self._frames

    @property
    def body(self) -> bytes:
        """All as a payload of long-polling."""
        if self._body is None:
            self._body = b"\x1e".join([packet.text for packet in self])
            self.forget_successors()
        return self._body
