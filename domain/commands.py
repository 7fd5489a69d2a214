"""What clients may ask for, and how their arguments are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from domain.errors import InvalidArgument, UnknownEvent
from domain.model import Action, Ambiguous, InboxQuery, ItemState, Position
from domain.model.value import value
from domain.policy import NAME_MAX_LENGTH, REPEATED, is_name, name_fault

REFRESH = "auth.refresh"
IDS_MAX = 500
LIST_MAX = 100
_PAGE = re.compile(r"[1-9][0-9]{0,17}")
_LISTED_STATES = (ItemState.UNREAD, ItemState.READ, ItemState.ARCHIVED, ItemState.ALL)


@value
class Mark:
    action: Action
    ids: tuple[str, ...]


@value
class MarkAllRead:
    """Everything, or what lies at or before ``up_to``."""

    up_to: Position | None


@value
class ListInbox:
    query: InboxQuery


@value
class CountInbox:
    pass


@value
class RefreshToken:
    token: str


InboxCommand: TypeAlias = Mark | MarkAllRead | ListInbox | CountInbox
Command: TypeAlias = InboxCommand | RefreshToken


def read_command(event: str, argument: object, token_bytes: int) -> Command:
    """``argument`` is whatever the client sent: any JSON value; a token in it has at most ``token_bytes``.

    Raises UnknownEvent or InvalidArgument.
    """
    if event == REFRESH:
        return _refresh(_members(argument), token_bytes)
    reader = _READERS.get(event)
    if reader is None:
        raise UnknownEvent
    return reader(_members(argument))


def _members(argument: object) -> Mapping[str, object]:
    if argument is None:
        return {}
    if not isinstance(argument, dict):
        raise InvalidArgument("argument", "must be an object")
    if isinstance(argument, Ambiguous):
        raise InvalidArgument(_shown(argument.repeated), REPEATED)
    return argument


def _only(members: Mapping[str, object], names: Collection[str]) -> None:
    for name in members:
        if name not in names:
            raise InvalidArgument(_shown(name), "is not known")


def _shown(name: str) -> str:
    """A member's name; what cannot be shown is not repeated."""
    shown = name[:NAME_MAX_LENGTH]
    return shown if is_name(shown) else "argument"


def _mark(action: Action) -> Callable[[Mapping[str, object]], Mark]:
    def read(members: Mapping[str, object]) -> Mark:
        _only(members, ("ids",))
        ids = members.get("ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= IDS_MAX:
            raise InvalidArgument("ids", f"must be a list of 1 to {IDS_MAX} ids")
        for index, identifier in enumerate(ids):
            if not is_name(identifier):
                raise InvalidArgument(f"ids[{index}]", name_fault(identifier))
        return Mark(action, tuple(dict.fromkeys(ids)))

    return read


def _mark_all_read(members: Mapping[str, object]) -> MarkAllRead:
    _only(members, ("up_to",))
    cursor = members.get("up_to")
    if cursor is None:
        return MarkAllRead(None)
    position = Position.parse(cursor)
    if position is None:
        raise InvalidArgument("up_to", "must be a cursor")
    return MarkAllRead(position)


def _list(members: Mapping[str, object]) -> ListInbox:
    _only(members, ("limit", "page", "state", "type"))
    limit = members.get("limit")
    if limit is None:
        limit = InboxQuery().limit
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= LIST_MAX:
        raise InvalidArgument("limit", f"must be a whole number from 1 to {LIST_MAX}")
    page = members.get("page")
    if page is not None and not (isinstance(page, str) and _PAGE.fullmatch(page)):
        raise InvalidArgument("page", "must be what a list gave as next")
    state = members.get("state")
    states = {known.value: known for known in _LISTED_STATES}
    if state is not None and (not isinstance(state, str) or state not in states):
        raise InvalidArgument("state", f"must be one of {', '.join(states)}")
    kind = members.get("type")
    if kind is not None and not is_name(kind):
        raise InvalidArgument("type", name_fault(kind))
    return ListInbox(
        InboxQuery(
            limit=limit,
            before=int(page) if page is not None else None,
            state=states[state] if state is not None else ItemState.CURRENT,
            type=kind,
        )
    )


def _count(members: Mapping[str, object]) -> CountInbox:
    _only(members, ())
    return CountInbox()


def _refresh(members: Mapping[str, object], token_bytes: int) -> RefreshToken:
    _only(members, ("token",))
    token = members.get("token")
    if not isinstance(token, str) or not 0 < len(token) <= token_bytes:
        raise InvalidArgument("token", f"must be a string of 1 to {token_bytes} characters")
    return RefreshToken(token)


_READERS: Mapping[str, Callable[[Mapping[str, object]], Command]] = {
    "notification.read": _mark(Action.READ),
    "notification.unread": _mark(Action.UNREAD),
    "notification.seen": _mark(Action.SEEN),
    "notification.archive": _mark(Action.ARCHIVE),
    "notification.unarchive": _mark(Action.UNARCHIVE),
    "notification.delete": _mark(Action.DELETE),
    "notification.read_all": _mark_all_read,
    "inbox.list": _list,
    "inbox.count": _count,
}
