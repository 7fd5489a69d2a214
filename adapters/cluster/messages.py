"""What two nodes say to each other over a link."""

from __future__ import annotations

from typing import Final, NewType, TypeAlias

import msgspec

from adapters.cluster.frames import BrokenLink

AnswerNumber = NewType("AnswerNumber", int)
"""By which an owner knows an answer whose arrival it wants to know of."""

_SPLICED: Final = b"\x00"
_MESSAGE: Final = b"\x01"


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What the forwarder has seen of an answer by now, in the words of ``adapters.http.delivery.Delivery``.

    ``is_written``: all of it was handed to the forwarder's system, or will never be. ``is_final``: nothing more will be
    said of it.
    """

    number: AnswerNumber
    is_written: bool
    was_followed: bool
    was_cut: bool
    was_cut_short: bool
    was_reset: bool
    is_acknowledged: bool
    is_final: bool


class Request(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """A request, as it came in: its head, its body, and who has sent it. ``seen`` is of earlier answers to the same
    session."""

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]
    host: str
    content_length: int | None
    remote_ip: str
    protocol: str
    address: str
    may_talk: bool
    body: bytes
    seen: list[Seen]


class Told(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """The forwarder says what has become of an answer."""

    seen: Seen


class ClientLeft(msgspec.Struct, frozen=True, array_like=True, tag="client left"):
    """The client has closed its connection before the answer."""


class Release(msgspec.Struct, frozen=True, array_like=True, tag="release"):
    """The forwarder is about to stop: a poll is to be answered now, with nothing if need be."""


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """The answer to the request. With a number, the owner is to be told what becomes of it."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    number: AnswerNumber | None


class NoAnswer(msgspec.Struct, frozen=True, array_like=True, tag="no answer"):
    """There will be none: the client has left, or its connection is to be closed."""


class Spliced(msgspec.Struct, frozen=True, array_like=True, tag="spliced"):
    """The connection of the client is out of HTTP's hands: from now on its bytes go both ways over this link."""


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """Of a spliced connection: what was sent is all, and the connection is to be closed in good order."""


ToOwner: TypeAlias = Request | Told | ClientLeft | Release
FromOwner: TypeAlias = Answer | NoAnswer | Spliced | End

_encoder: Final = msgspec.msgpack.Encoder()
_to_owner: Final = msgspec.msgpack.Decoder(ToOwner)
_from_owner: Final = msgspec.msgpack.Decoder(FromOwner)


def encode(message: ToOwner | FromOwner) -> bytes:
    return _MESSAGE + _encoder.encode(message)


def encode_spliced(octets: bytes) -> bytes:
    return _SPLICED + octets


def decode_to_owner(content: bytes) -> ToOwner | bytes:
    """A message, or bytes of a spliced connection. Raises BrokenLink."""
    if content[:1] == _SPLICED:
        return content[1:]
    try:
        message: ToOwner = _to_owner.decode(_body(content))
    except msgspec.DecodeError:
        raise _not_a_message() from None
    return message


def decode_from_owner(content: bytes) -> FromOwner | bytes:
    """A message, or bytes of a spliced connection. Raises BrokenLink."""
    if content[:1] == _SPLICED:
        return content[1:]
    try:
        message: FromOwner = _from_owner.decode(_body(content))
    except msgspec.DecodeError:
        raise _not_a_message() from None
    return message


def _body(content: bytes) -> bytes:
    if content[:1] != _MESSAGE:
        raise _not_a_message()
    return content[1:]


def _not_a_message() -> BrokenLink:
    return BrokenLink("a frame that is no message")
