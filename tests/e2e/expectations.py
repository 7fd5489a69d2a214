"""What a client has to see, member by member."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

CURSOR = re.compile(r"[A-Za-z0-9._:~-]{1,256}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def counts(unread: int, *, unseen: int | None = None, total: int | None = None) -> dict[str, int]:
    """The counts of an inbox; without the others, nothing in it was ever looked at."""
    return {
        "unread": unread,
        "unseen": unread if unseen is None else unseen,
        "total": unread if total is None else total,
    }


def assert_recent(time: str) -> None:
    """An RFC 3339 time in UTC, of the last minute."""
    assert TIME.fullmatch(time), time
    assert abs(datetime.now(UTC) - datetime.fromisoformat(time)) < timedelta(minutes=1), time


def assert_ready(
    arguments: list[Any],
    *,
    user: str,
    role: str,
    expires_at: int,
    recovered: bool = False,
    reason: str | None = None,
    unread: int = 0,
) -> None:
    """The arguments of ``session.ready``; ``expires_at`` is the token's ``exp``. Nothing in the inbox was seen."""
    first, cursor = arguments
    assert_recent(first["server_time"])
    assert first == {
        "user": {"id": user, "role": role},
        "recovered": recovered,
        "reason": reason,
        "counts": counts(unread),
        "expires_at": datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "server_time": first["server_time"],
    }
    assert CURSOR.fullmatch(cursor), cursor


def assert_notification(
    arguments: list[Any], published: Mapping[str, object], *, audience: str, **members: object
) -> None:
    """The arguments of ``notification.new`` for what was published with those members, and was answered so."""
    notification, cursor = arguments
    assert_recent(notification["created_at"])
    expected = {"title": None, "body": None, "data": None, "expires_at": None} | members
    assert notification == expected | {
        "id": published["id"],
        "created_at": notification["created_at"],
        "audience": audience,
        "read_at": None,
        "seen_at": None,
        "archived_at": None,
    }
    assert cursor == published["cursor"]
