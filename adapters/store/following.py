"""Notifications with a collapse key, as somebody reads them or follows the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from adapters.contract.events import read_notification, recalled_json
from domain.model import NOTIFICATION_NEW, Entry, Json, Room


def as_following(entry: Entry, key: str, follows: int | None) -> Entry:
    """One with a key, for somebody for whom ``follows`` was the first with it; None: it is that itself."""
    over = _over(entry, key) if follows is not None else None
    return replace(entry, collapse_key=key, earlier=None, follows=follows, over=over)


def as_followed(entry: Entry, key: str, earlier: Mapping[Room, int]) -> Entry:
    """One with a key, before which there were others in some rooms."""
    return replace(entry, collapse_key=key, earlier=earlier, over=_over(entry, key) if earlier else None)


def _over(entry: Entry, key: str) -> Json | None:
    if entry.expires_at is None or entry.event != NOTIFICATION_NEW or entry.about is not None:
        return None
    return recalled_json(read_notification(entry.payload, None).id, key)
