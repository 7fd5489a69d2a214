"""What the log says of a change to notifications: event names, and first arguments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from adapters.contract.events import deleted_json, updated_json
from domain.model import NOTIFICATION_DELETED, NOTIFICATION_UPDATED, Action, Json
from domain.rules.item_state import IDS_PER_ENTRY, change_of


def change_events(action: Action, ids: Sequence[str], at: datetime) -> list[tuple[str, Json]]:
    """Of an action at the notifications with these ids, as many as it takes."""
    named = [ids[first : first + IDS_PER_ENTRY] for first in range(0, len(ids), IDS_PER_ENTRY)]
    if action is Action.DELETE:
        return [(NOTIFICATION_DELETED, deleted_json(some)) for some in named]
    change = change_of(action, at)
    return [(NOTIFICATION_UPDATED, updated_json(some, change)) for some in named]


def snooze_events(ids: Sequence[str], until: datetime) -> list[tuple[str, Json]]:
    """Of those that are to come back then, which are no more than an entry names."""
    return [(NOTIFICATION_UPDATED, updated_json(ids, {"snoozed_until": until}))] if ids else []


def all_read_event(at: datetime) -> tuple[str, Json]:
    return NOTIFICATION_UPDATED, updated_json(None, change_of(Action.READ, at))
