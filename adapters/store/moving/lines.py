"""An export of a store: lines of JSON, of which each says what it is, which one it is, and that it is whole.

The first is the ``Header``, the last the ``End``. Between them are the generations, then the log in the order of its
offsets, an entry before its contents, then what changes. Offsets are those of the log, times microseconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Any, BinaryIO, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from adapters.store.served import StoreUnusable

FORMAT: Final = 1
PRODUCT: Final = "synkrone-socket"

LINE_BYTES: Final = 64 * 1024 * 1024
"""No line is longer: the longest hold a notification for ten thousand users."""

_CHECK_DIGITS: Final = 16
_CHECK: Final = re.compile(rb',"check":"[0-9a-f]{%d}"}\n\Z' % _CHECK_DIGITS)
_CHECK_BYTES: Final = len(',"check":""}\n') + _CHECK_DIGITS
_FIELD: Final = re.compile(r" - at `\$\.(?P<field>\w+).*`\Z")

Offset: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Time: TypeAlias = Annotated[int, Meta(ge=-62_135_596_800_000_000, lt=253_402_300_800_000_000)]
"""Of the years 1 to 9999."""
Form: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 15)]
Hex: TypeAlias = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]
Uuid: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class BadFile(StoreUnusable):
    """The message is one line: which file, which line of it, and what is wrong there."""


class Line(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True):
    """``line`` is its number in the file, from 1 on."""

    line: int


class Header(Line, tag="export"):
    """``name`` is that of the export; ``epoch`` the present one, in which ``head`` is the offset of the last entry.

    Up to ``floor`` everything has left the log, though not every inbox. With ``secret`` pids are made.
    """

    product: str
    format: int
    version: str
    name: Uuid
    store: Literal["sqlite", "postgresql"]
    epoch: str
    head: Offset
    floor: Offset
    floor_stored_at: Time
    secret: Hex


class Epoch(Line, tag="epoch"):
    number: Annotated[int, Meta(ge=0, lt=1 << 31)]
    epoch: str
    first: Offset
    opened_at: Time


class LoggedEntry(Line, tag="entry"):
    """Of a notification the form, the rooms and the payload are with its contents. ``about`` is the offset of the
    notification that it revises or takes back."""

    offset: Offset
    epoch: str
    stored_at: Time
    event: str
    form: Form | None
    rooms: list[str] | None
    payload: str | None
    about: Offset | None = None
    expires_at: Time | None = None


class Contents(Line, tag="contents"):
    """Of a notification. A payload that is null was erased. ``key`` and ``digest`` are by what a retry is known.
    ``recalled`` are the rooms of one that was taken back, and ``revised`` is the offset of the last entry that revises
    it. The ``id`` of one that was erased is no more than its offset behind a control character."""

    offset: Offset
    stored_at: Time
    expires_at: Time | None
    id: str
    type: str
    form: Form
    rooms: list[str] | None
    payload: str | None
    key: str | None
    digest: Hex | None
    recalled: list[str] | None = None
    revised: Offset | None = None


class SourceCheckpoint(Line, tag="checkpoint"):
    source: str
    resume_id: str


class Trimmed(Line, tag="trimmed"):
    """The last entry that a room lost for good."""

    room: str
    offset: Offset


class Start(Line, tag="start"):
    """What lies at or below it in the room does not exist for the user."""

    user: str
    room: str
    offset: Offset


class Mark(Line, tag="mark"):
    """The highest position that a user in a role is known to have received."""

    user: str
    role: str
    offset: Offset


class ReadUpTo(Line, tag="read_up_to"):
    """A user has read everything before an entry."""

    user: str
    offset: Offset
    read_at: Time
    read_by: str | None


class State(Line, tag="state"):
    """What a user has done to one notification. ``raised`` is the offset of the entry by which it is new once more."""

    user: str
    offset: Offset
    read_at: Time | None
    seen_at: Time | None
    archived_at: Time | None
    deleted: bool
    read_by: str | None
    deleted_at: Time | None
    snoozed_until: Time | None = None
    raised: Offset | None = None


class Scheduled(Line, tag="scheduled"):
    """A notification that comes into the log when it is due. ``rooms`` are their names, one a line. One that was
    cancelled has no payload any more, and a time at which it ``ended``; where all whom it was for were erased it has no
    rooms either."""

    number: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
    due: Time
    ended: Time | None
    expires_at: Time | None
    id: str
    key: str | None
    digest: Hex | None
    type: str
    form: Form
    rooms: str | None
    payload: str | None


class Membership(Line, tag="membership"):
    """A stay of a user in a topic: what came to it beyond an entry, up to another; null: they are still there."""

    user: str
    room: str
    after: Offset
    upto: Offset | None


class Restricted(Line, tag="restriction"):
    """What stands against a user: ``offset`` is that of the control that was the last to change it."""

    user: str
    offset: Offset
    issued_before: Time | None
    blocked: bool
    until: Time | None
    reason: str | None


class Collapsing(Line, tag="collapsing"):
    """Where a notification with a collapse key is, or was until it was taken back. ``superseded``: a later one with the
    key is in the same room."""

    key: str
    room: str
    offset: Offset
    superseded: bool


class Erased(Line, tag="erasure"):
    """Of a user, as of an entry. ``who`` is a seal of their id, which is there itself only while something is left of
    what was theirs. What is scheduled under a number up to ``waits_upto`` may name the user still; 0: nothing does."""

    id: str
    who: Hex
    user: str | None
    offset: Offset
    begun_at: Time
    done_at: Time | None
    waits_upto: Offset


class Tombstone(Line, tag="tombstone"):
    """Of what was for somebody who was erased: a seal of its id, or of its key, and one of its digest. ``offset`` is
    below 0 of what was scheduled: then it is the number of that."""

    name: Hex
    offset: Annotated[int, Meta(ge=-(1 << 63) + 1, le=(1 << 63) - 1)]
    digest: Hex | None


class End(Line, tag="end"):
    """How many lines there are of each kind, and the SHA-256 of all lines before this one."""

    counts: dict[str, int]
    digest: str


AnyLine: TypeAlias = (
    Header
    | Epoch
    | LoggedEntry
    | Contents
    | SourceCheckpoint
    | Trimmed
    | Start
    | Mark
    | ReadUpTo
    | State
    | Scheduled
    | Membership
    | Restricted
    | Collapsing
    | Erased
    | Tombstone
    | End
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(AnyLine).decode


class _Beginning(msgspec.Struct):
    """What the first line of any export has, also of one that a later program made."""

    kind: Literal["export"]
    product: Literal["synkrone-socket"]
    format: int


_decode_beginning: Final = msgspec.json.Decoder(_Beginning).decode


def kind_of(line: Line) -> str:
    return str(line.__struct_config__.tag)


class Digests:
    """How many lines there were of each kind, and a number that is made of them, whatever their order."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.sums: dict[str, int] = {}

    def add(self, line: Line) -> None:
        kind = kind_of(line)
        number, line.line = line.line, 0
        octets = sha256(_encode(line)).digest()[:8]
        line.line = number
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.sums[kind] = self.sums.get(kind, 0) + int.from_bytes(octets, "big")


class Writer:
    """Raises OSError."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = sha256()
        self.counts: dict[str, int] = {}
        self.lines = self.bytes = 0

    def put(self, line: Line) -> None:
        self.lines += 1
        line.line = self.lines
        octets = _encode(line)[:-1]
        self._hash.update(octets)
        check = b',"check":"%s"}\n' % self._hash.hexdigest()[:_CHECK_DIGITS].encode()
        self._hash.update(check)
        self._out.write(octets)
        self._out.write(check)
        self.bytes += len(octets) + len(check)
        kind = kind_of(line)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def end(self) -> None:
        self.put(End(0, dict(self.counts), self._hash.hexdigest()))


class Reader:
    """All lines behind the first one, each looked at: whether it says what such a line says, is the next one, and is
    as it was written. Raises BadFile and OSError."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source = source
        self._name = name
        self._hash = sha256()
        self._number = 0
        self.bytes = 0

    def header(self) -> Header:
        """To be asked for once, before the lines."""
        octets = self._octets()
        if octets is None:
            raise BadFile(f"{self._name} is empty")
        try:
            beginning = _decode_beginning(octets)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise BadFile(f"{self._name} is no export of {PRODUCT}: its first line is not that of one") from None
        if beginning.format != FORMAT:
            raise BadFile(
                f"{self._name} is of format {beginning.format}, and this program knows format {FORMAT}: "
                "use the newer program that made it"
            )
        header = self._line(octets)
        if not isinstance(header, Header):
            raise self.bad("kind: is not that of a first line")
        return header

    def __iter__(self) -> Iterator[AnyLine]:
        """Up to and with the ``End``."""
        while True:
            upto_here = self._hash.hexdigest()
            octets = self._octets()
            if octets is None:
                raise BadFile(f"{self._name} is cut short: it ends with line {self._number}, which is not the last")
            line = self._line(octets)
            if isinstance(line, End) and line.digest != upto_here:
                raise self.bad("digest: is not that of the lines before it")
            if isinstance(line, End) and self._source.read(1):
                raise self.bad("kind: says that it is the last line, and more follows")
            yield line
            if isinstance(line, End):
                return

    def bad(self, what: str) -> BadFile:
        """Of the line that was read last."""
        return BadFile(f"{self._name}: line {self._number}: {what}")

    def _octets(self) -> bytes | None:
        """None at the end of the file."""
        octets = self._source.readline(LINE_BYTES)
        if not octets:
            return None
        self._number += 1
        self.bytes += len(octets)
        if not octets.endswith(b"\n"):
            is_too_long = len(octets) == LINE_BYTES
            raise self.bad(f"is longer than {LINE_BYTES} bytes" if is_too_long else "is cut short, and so is the file")
        return octets

    def _line(self, octets: bytes) -> AnyLine:
        if _CHECK.search(octets, len(octets) - _CHECK_BYTES) is None:
            raise self.bad("check: is not at its end, as it is of every line")
        said, check = octets[:-_CHECK_BYTES], octets[-_CHECK_BYTES:]
        try:
            line: AnyLine = _decode(said + b"}")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self.bad(_fault(error)) from None
        if line.line != self._number:
            what = "the one before it is missing" if line.line > self._number else "it was there before"
            raise self.bad(f"line: is {line.line}: {what}")
        self._hash.update(said)
        if check[len(',"check":"') :][:_CHECK_DIGITS].decode() != self._hash.hexdigest()[:_CHECK_DIGITS]:
            raise self.bad("check: is another one: the line, or one before it, is not as it was exported")
        self._hash.update(check)
        return line


def _fault(error: Exception) -> str:
    """With the field first. It quotes nothing of the line."""
    if not isinstance(error, msgspec.ValidationError):
        return "is no JSON object"
    said = str(error)
    found = _FIELD.search(said)
    if found is None:
        return said
    field: Any = found["field"]
    return f"{field}: {said[: found.start()]}"
