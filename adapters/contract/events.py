"""What recipients are told of notifications: the first arguments of the log's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from adapters.contract.json_text import parse_timestamp, timestamp, to_json
from domain.model import AudienceKind, Item, Json, Notification


def notification_json(notification: Notification, revised_at: datetime | None = None) -> Json:
    """The object recipients get. The publisher's ``data`` goes in as it came. Of one that was not revised there is no
    ``revised_at``, and of one without a collapse key no ``collapse_key``."""
    revised = {} if revised_at is None else {"revised_at": timestamp(revised_at)}
    collapsing = {} if notification.collapse_key is None else {"collapse_key": notification.collapse_key}
    return to_json(
        {
            "id": notification.id,
            "type": notification.type,
            "title": notification.title,
            "body": notification.body,
            "data": msgspec.Raw(notification.data) if notification.data is not None else None,
            "created_at": timestamp(notification.created_at),
            "expires_at": timestamp(notification.expires_at) if notification.expires_at is not None else None,
            "audience": notification.audience.value,
            **collapsing,
            **revised,
            "read_at": None,
            "seen_at": None,
            "archived_at": None,
        }
    )


class _Told(msgspec.Struct):
    id: str
    type: str
    title: str | None
    body: str | None
    data: msgspec.Raw
    created_at: str
    audience: str
    collapse_key: str | None = None


_told = msgspec.json.Decoder(_Told)


def read_notification(payload: Json, expires_at: datetime | None) -> Notification:
    """What ``notification_json`` was made of. When it expires is known more exactly than it says."""
    told = _told.decode(payload)
    data = bytes(told.data)
    return Notification(
        id=told.id,
        type=told.type,
        title=told.title,
        body=told.body,
        data=Json(data) if data != b"null" else None,
        audience=AudienceKind(told.audience),
        created_at=parse_timestamp(told.created_at),
        expires_at=expires_at,
        collapse_key=told.collapse_key,
    )


_ID = b'{"id":"'
_NO_STATE = b'"read_at":null,"seen_at":null,"archived_at":null}'


def is_notification_json(payload: bytes) -> bool:
    """Whether it is what ``notification_json`` gives, as far as can be told at a glance."""
    return payload.startswith(_ID) and payload.endswith(_NO_STATE)


def may_have_collapse_key(payload: bytes) -> bool:
    """Whether what ``notification_json`` gave has one, as far as can be told at a glance."""
    return b'"collapse_key":"' in payload


def item_json(item: Item) -> Json:
    """A notification as it lies in its user's inbox: the bytes of ``notification.new`` with the three times, and
    where it is snoozed with ``snoozed_until``.

    Raises ValueError where the store gave something else: nothing is put into the middle of what is not understood.
    """
    if not is_notification_json(item.payload):
        raise ValueError(f"what is stored at offset {item.offset} is no notification")
    times = {"read_at": item.read_at, "seen_at": item.seen_at, "archived_at": item.archived_at}
    if item.snoozed_until is not None:
        times["snoozed_until"] = item.snoozed_until
    elif item.read_at is None and item.seen_at is None and item.archived_at is None:
        return item.payload
    state = to_json(_times(times))
    return Json(item.payload.removesuffix(_NO_STATE) + state[1:])


def updated_json(ids: Sequence[str] | None, change: Mapping[str, datetime | None]) -> Json:
    """The first argument of ``notification.updated``: ``{ids, change}``, or ``{all: true, change}`` without ids.

    A time of ``change`` is set where there is none; null takes one away.
    """
    which: dict[str, object] = {"all": True} if ids is None else {"ids": ids}
    return to_json(which | {"change": _times(change)})


def deleted_json(ids: Sequence[str]) -> Json:
    """The first argument of ``notification.deleted``: ``{ids}``."""
    return to_json({"ids": ids})


def recalled_json(id_: str, collapse_key: str | None = None) -> Json:
    """The same for a notification that its publisher took back: ``{ids, by: "publisher", collapse_key?}``.

    With a key, all that there was with it before is gone, too, for those whom it was for.
    """
    collapsing = {} if collapse_key is None else {"collapse_key": collapse_key}
    return to_json({"ids": [id_], "by": "publisher", **collapsing})


def _times(times: Mapping[str, datetime | None]) -> dict[str, str | None]:
    return {name: timestamp(time) if time is not None else None for name, time in times.items()}
