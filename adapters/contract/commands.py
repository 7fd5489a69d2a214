"""What clients may ask for: events by their names, and the members of their arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from adapters.contract.json_text import parse_timestamp
from domain.model import Action, Ambiguous, InboxQuery, ItemState, Position
from domain.policy import NAME_MAX_LENGTH, REPEATED, is_name, name_fault
from domain.requests import (
    Asked,
    Command,
    CountInbox,
    ListInbox,
    Malformed,
    Mark,
    MarkAllRead,
    RefreshToken,
    Snooze,
    UnknownCommand,
)

IDS_MAX = 500
LIST_MAX = 100
_PAGE = re.compile(r"[1-9][0-9]{0,17}")
LISTED_STATES = (ItemState.UNREAD, ItemState.READ, ItemState.ARCHIVED, ItemState.ALL, ItemState.SNOOZED)


def read_command(event: str, argument: object) -> Asked:
    """``argument`` is whatever the client sent: any JSON value."""
    reader = _READERS.get(event)
    if reader is None:
        return UnknownCommand()
    try:
        return reader(_members(argument))
    except _Bad as bad:
        return Malformed(bad.path, bad.reason)


class _Bad(Exception):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


def is_page(text: str) -> bool:
    """Whether it can be what an answer gave as ``next``."""
    return _PAGE.fullmatch(text) is not None


def _members(argument: object) -> Mapping[str, object]:
    if argument is None:
        return {}
    if not isinstance(argument, dict):
        raise _Bad("argument", "must be an object")
    if isinstance(argument, Ambiguous):
        raise _Bad(_shown(argument.repeated), REPEATED)
    return argument


def _only(members: Mapping[str, object], names: Collection[str]) -> None:
    for name in members:
        if name not in names:
            raise _Bad(_shown(name), "is not known")


def _shown(name: str) -> str:
    """A member's name; what cannot be shown is not repeated."""
    shown = name[:NAME_MAX_LENGTH]
    return shown if is_name(shown) else "argument"


def _ids(members: Mapping[str, object]) -> tuple[str, ...]:
    ids = members.get("ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= IDS_MAX:
        raise _Bad("ids", f"must be a list of 1 to {IDS_MAX} ids")
    for index, identifier in enumerate(ids):
        if not is_name(identifier):
            raise _Bad(f"ids[{index}]", name_fault(identifier))
    return tuple(dict.fromkeys(ids))


def _mark(action: Action) -> Callable[[Mapping[str, object]], Mark]:
    def read(members: Mapping[str, object]) -> Mark:
        _only(members, ("ids",))
        return Mark(action, _ids(members))

    return read


def _snooze(members: Mapping[str, object]) -> Snooze:
    _only(members, ("ids", "until"))
    try:
        return Snooze(_ids(members), parse_timestamp(members.get("until")))
    except ValueError as error:
        raise _Bad("until", str(error)) from None


def _mark_all_read(members: Mapping[str, object]) -> MarkAllRead:
    _only(members, ("up_to",))
    cursor = members.get("up_to")
    if cursor is None:
        return MarkAllRead(None)
    position = Position.parse(cursor)
    if position is None:
        raise _Bad("up_to", "must be a cursor")
    return MarkAllRead(position)


def _list(members: Mapping[str, object]) -> ListInbox:
    _only(members, ("limit", "page", "state", "type"))
    limit = members.get("limit")
    if limit is None:
        limit = InboxQuery().limit
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 < limit <= LIST_MAX:
        raise _Bad("limit", f"must be a whole number from 1 to {LIST_MAX}")
    page = members.get("page")
    if page is not None and not (isinstance(page, str) and is_page(page)):
        raise _Bad("page", "must be what a list gave as next")
    state = members.get("state")
    states = {known.value: known for known in LISTED_STATES}
    if state is not None and (not isinstance(state, str) or state not in states):
        raise _Bad("state", f"must be one of {', '.join(states)}")
    kind = members.get("type")
    if kind is not None and not is_name(kind):
        raise _Bad("type", name_fault(kind))
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


def _refresh(members: Mapping[str, object]) -> RefreshToken:
    _only(members, ("token",))
    token = members.get("token")
    if not isinstance(token, str) or not token:
        raise _Bad("token", "must be a string that is not empty")
    return RefreshToken(token)


_READERS: Mapping[str, Callable[[Mapping[str, object]], Command]] = {
    "notification.read": _mark(Action.READ),
    "notification.unread": _mark(Action.UNREAD),
    "notification.seen": _mark(Action.SEEN),
    "notification.archive": _mark(Action.ARCHIVE),
    "notification.unarchive": _mark(Action.UNARCHIVE),
    "notification.delete": _mark(Action.DELETE),
    "notification.snooze": _snooze,
    "notification.read_all": _mark_all_read,
    "inbox.list": _list,
    "inbox.count": _count,
    "auth.refresh": _refresh,
}
