"""Notifications with a collapse key, as somebody reads them."""

from __future__ import annotations

from dataclasses import replace

from adapters.contract.events import read_notification, recalled_json
from domain.model import NOTIFICATION_NEW, Entry


def as_following(entry: Entry, key: str, follows: int | None) -> Entry:
    """One with a key, for somebody for whom ``follows`` was the first with it; None: it is that itself."""
    over = None
    if follows is not None and entry.expires_at is not None and entry.event == NOTIFICATION_NEW and entry.about is None:
        over = recalled_json(read_notification(entry.payload, None).id, key)
    return replace(entry, collapse_key=key, earlier=None, follows=follows, over=over)
