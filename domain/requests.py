"""What clients ask for, as read: to connect, and about their inboxes."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from domain.model import Action, InboxQuery, Position, ResumeRequest
from domain.model.value import value


@value
class NoToken:
    """A client sent nothing that could be a token. ``reason`` is for operators."""

    reason: str


@value
class Malformed:
    """A client sent what cannot be read: the path of what is bad, and what is wrong with it."""

    path: str
    reason: str


@value
class UnknownCommand:
    """A client sent an event that nobody knows."""


@value
class Credentials:
    """Who a connecting client says it is. ``resume_request`` is about an earlier connection."""

    token: str
    resume_request: ResumeRequest
    device: str | None


@value
class ConnectRequest:
    """What a transport knows when a client asks to connect. ``transport`` is what carries it, for operators."""

    credentials: Credentials | NoToken | Malformed
    remote_address: str
    transport: str


@value
class Mark:
    action: Action
    ids: tuple[str, ...]


@value
class MarkAllRead:
    """Everything, or what lies at or before ``up_to``."""

    up_to: Position | None


@value
class Snooze:
    """They are to come back at a time; one that has passed is now."""

    ids: tuple[str, ...]
    until: datetime


@value
class ListInbox:
    query: InboxQuery


@value
class CountInbox:
    pass


@value
class RefreshToken:
    token: str


InboxCommand: TypeAlias = Mark | MarkAllRead | Snooze | ListInbox | CountInbox
Command: TypeAlias = InboxCommand | RefreshToken
Asked: TypeAlias = Command | Malformed | UnknownCommand
"""What came of a request when it was read."""
