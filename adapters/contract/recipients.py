"""What was published and what became of it, as backends read it, and pages of its recipients."""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime

import msgspec

from adapters.contract.json_text import timestamp
from domain.errors import InvalidArgument
from domain.model import (
    Audience,
    AudienceKind,
    NotificationReport,
    PublishedNotification,
    Recipient,
    RecipientPlace,
    RecipientsPage,
    ScheduledNotification,
    UserId,
)
from domain.policy import is_name

PAGE_MAX_LENGTH = 1024

_PLACE = re.compile(r"(0|[1-9][0-9]{0,17}):(.+)", re.DOTALL)


def report_object(report: NotificationReport) -> dict[str, object]:
    """``{notification, to, state, counts: {recipients, received, seen, read, archived, deleted}}``; of one that was not
    sent yet, or was cancelled, with ``deliver_at``."""
    notification, tally = report.notification, report.tally
    return {
        "notification": msgspec.Raw(notification.payload) if notification.payload is not None else None,
        "to": audience_object(notification.audience),
        **_state_of(notification),
        "counts": {
            "recipients": report.recipients,
            "received": tally.received,
            "seen": tally.seen,
            "read": tally.read,
            "archived": tally.archived,
            "deleted": tally.deleted,
        },
    }


def _state_of(notification: PublishedNotification | ScheduledNotification) -> dict[str, str]:
    state = {"state": notification.state.value}
    if isinstance(notification, ScheduledNotification):
        state["deliver_at"] = timestamp(notification.due)
    return state


def audience_object(audience: Audience) -> dict[str, object]:
    """As it is published; of a single user always ``{user}``, and of a single group ``{role}`` or ``{topic}``."""
    match audience.kind:
        case AudienceKind.USER:
            names = sorted(room.partition(":")[2] for room in audience.rooms)
            return {"user": names[0]} if len(names) == 1 else {"users": names}
        case AudienceKind.ROLE | AudienceKind.TOPIC:
            (first, *_) = audience.rooms
            groups: list[dict[str, object]] = [
                {kind: name}
                for kind, _, name in sorted(
                    room.partition(":") for room in (first.parts if first.is_all else audience.rooms)
                )
            ]
            return groups[0] if len(groups) == 1 else {"all_of" if first.is_all else "any_of": groups}
        case AudienceKind.EVERYONE:
            return {"everyone": True}


def recipients_object(page: RecipientsPage) -> dict[str, object]:
    """``{recipients: [{user, received, received_at, seen_at, read_at, archived_at, deleted, deleted_at}], next}``"""
    return {
        "recipients": [_recipient(one) for one in page.recipients],
        "next": _page_token(page.next) if page.next is not None else None,
    }


def _recipient(one: Recipient) -> dict[str, object]:
    return {
        "user": one.user,
        "received": one.is_received,
        "received_at": _or_null(one.received_at),
        "seen_at": _or_null(one.seen_at),
        "read_at": _or_null(one.read_at),
        "archived_at": _or_null(one.archived_at),
        "deleted": one.is_deleted,
        "deleted_at": _or_null(one.deleted_at),
    }


def _or_null(at: datetime | None) -> str | None:
    return timestamp(at) if at is not None else None


def _page_token(place: RecipientPlace) -> str:
    return urlsafe_b64encode(f"{place.start}:{place.user}".encode()).rstrip(b"=").decode()


def read_place(page: str) -> RecipientPlace:
    """What an answer gave as ``next``. Raises InvalidArgument."""
    try:
        text = urlsafe_b64decode(page + "=" * (-len(page) % 4)).decode() if len(page) <= PAGE_MAX_LENGTH else ""
    except (binascii.Error, ValueError):
        text = ""
    match = _PLACE.fullmatch(text)
    if match is None or not is_name(match[2]):
        raise InvalidArgument("page", "must be what an answer gave as next")
    return RecipientPlace(int(match[1]), UserId(match[2]))
