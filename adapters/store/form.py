"""The form in which payloads lie in a store: as they are sent, and no other is."""

from __future__ import annotations

import logging
from typing import Final

from adapters.contract.events import is_notification_json
from domain.errors import StoreUnavailable
from domain.model import Json

FORM: Final = 1
"""The first arguments of events, as clients get them."""

_log = logging.getLogger("synkrone.store")


class UnknownForm(StoreUnavailable):
    """A payload is not as this program stores them: a later one did, or the file is damaged."""


def other_form(form: str, offset: str) -> str:
    """An expression for the first offset of another form; NULL where there is none."""
    return f"min(CASE WHEN {form} <> {FORM} THEN {offset} END)"


def notification(offset: int, payload: bytes) -> Json:
    """What is stored of one, if it is what is expected. Raises UnknownForm."""
    if not is_notification_json(payload):
        raise unknown_form(offset)
    return Json(payload)


def change(offset: int, payload: bytes) -> Json:
    """As ``notification``, of any other event."""
    if not (payload.startswith(b"{") and payload.endswith(b"}")):
        raise unknown_form(offset)
    return Json(payload)


def unknown_form(offset: int) -> UnknownForm:
    """Logged, as nothing else says which it is."""
    message = f"what is stored at offset {offset} is of no form that this program knows"
    _log.error(message)
    return UnknownForm(message)
