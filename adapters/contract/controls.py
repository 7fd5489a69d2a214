"""What the log says to servers alone: the events of its controls, and their first arguments."""

from __future__ import annotations

import json

from adapters.contract.json_text import to_json
from domain.model import Control, DisconnectUser, Json, UserId

DISCONNECT_USER = "user.disconnect"


def control_event(control: Control) -> tuple[str, Json]:
    """``{user, reconnect}`` of one that disconnects."""
    return DISCONNECT_USER, to_json({"user": control.user, "reconnect": control.reconnect})


def read_control(event: str, payload: Json) -> Control | None:
    """None where it is no control that this program knows: a later one may have written it."""
    if event != DISCONNECT_USER:
        return None
    members = json.loads(payload)
    return DisconnectUser(UserId(members["user"]), members["reconnect"])
