"""What is said over Socket.IO, and by the stream of Server-Sent Events, as AsyncAPI 3.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapters.api.description.schema_parts import Schema, ref
from adapters.api.description.schemas import SCHEMAS, components
from adapters.contract import session_events
from domain.model import NOTIFICATION_DELETED, NOTIFICATION_NEW, NOTIFICATION_REVISED, NOTIFICATION_UPDATED, Action

SENT: Final[Mapping[str, tuple[str, bool, str]]] = {
    session_events.READY: ("SessionReady", True, "First, once a connection."),
    NOTIFICATION_NEW: ("Notification", True, "It was published to this user; its three times are null."),
    NOTIFICATION_UPDATED: ("Updated", True, "A device of the user changed the state of these."),
    NOTIFICATION_REVISED: (
        "Notification",
        True,
        (
            "Its publisher gave it other content: all of it, with `revised_at`. Without that it takes the place "
            "of those with its `collapse_key`."
        ),
    ),
    NOTIFICATION_DELETED: ("Deleted", True, "A device of the user deleted these, or their publisher took them back."),
    session_events.COUNTS: ("Counts", False, "After a change, at most once a second."),
    session_events.EXPIRING: ("Expiring", False, "60 to 120 s before the token expires; a short one at half its life."),
    session_events.CLOSING: ("Closing", False, "Before the server closes the connection."),
}
"""What clients hear: the schema of its first argument, whether a cursor follows, and when it comes."""

ASKED: Final[Mapping[str, tuple[str, str]]] = {
    **{f"notification.{action.value}": ("Marks", "Marked") for action in Action},
    "notification.read_all": ("MarksOfAll", "Marked"),
    "notification.snooze": ("Snoozing", "Marked"),
    "inbox.list": ("ListRequest", "Listing"),
    "inbox.count": ("Nothing", "Counted"),
    "auth.refresh": ("TokenRequest", "Refreshed"),
}
"""What clients may ask for: the schemas of its argument, and of its acknowledgement where it is carried out."""


def asyncapi(version: str) -> dict[str, Any]:
    """The document."""
    sent = {_key(event): _sent(event, *what) for event, what in SENT.items()}
    asked = {_key(event): _asked(event, argument) for event, (argument, _) in ASKED.items()}
    answers = {f"{_key(event)}Answer": _answer(event, answer) for event, (_, answer) in ASKED.items()}
    messages = {**sent, **asked, **answers}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "synkrone-socket",
            "version": version,
            "license": {"name": "MIT"},
            "description": (
                "Events of Socket.IO (protocol 5, namespace `/`), which a client connects to with `auth`. A payload "
                "here is the list of an event's arguments, without its name. `GET /v1/stream` gives what the server "
                "sends, with the first argument as `data` and the cursor as `id`. Ignore what you do not know."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {
            "connection": {
                "address": "/socket.io/",
                "title": "A connection",
                "description": "With `auth` as the payload of CONNECT.",
                "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in messages},
            }
        },
        "operations": {**_deliveries(sent), **_requests()},
        "components": {"messages": messages, "schemas": components()},
    }


def _deliveries(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"send{key[0].upper()}{key[1:]}": {
            "action": "send",
            "channel": {"$ref": "#/channels/connection"},
            "summary": message["summary"],
            "messages": [_in_channel(key)],
        }
        for key, message in sent.items()
    }


def _requests() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for event in ASKED:
        key = _key(event)
        operations[f"receive{key[0].upper()}{key[1:]}"] = {
            "action": "receive",
            "channel": {"$ref": "#/channels/connection"},
            "summary": f"A client asks for `{event}`.",
            "messages": [_in_channel(key)],
            "reply": {
                "channel": {"$ref": "#/channels/connection"},
                "messages": [_in_channel(f"{key}Answer")],
            },
        }
    return operations


def _in_channel(key: str) -> dict[str, str]:
    return {"$ref": f"#/channels/connection/messages/{key}"}


def _sent(event: str, schema: str, has_cursor: bool, when: str) -> dict[str, Any]:  # noqa: FBT001
    cursor = "6f1ce3a9d5b04c27:1184"
    arguments: list[Schema] = [ref(schema), *([{"type": "string"}] if has_cursor else [])]
    examples = [[value, *([cursor] if has_cursor else [])] for value in SCHEMAS[schema]["examples"]]
    return {
        "name": event,
        "title": event,
        "summary": when,
        "payload": _arguments(arguments),
        "examples": [{"payload": example} for example in examples],
    }


def _asked(event: str, schema: str) -> dict[str, Any]:
    return {
        "name": event,
        "title": event,
        "summary": SCHEMAS[schema].get("description", f"Ask for `{event}`."),
        "payload": _arguments([ref(schema)]),
        "examples": [{"payload": [value]} for value in SCHEMAS[schema]["examples"]],
    }


def _answer(event: str, schema: str) -> dict[str, Any]:
    examples = [*SCHEMAS[schema]["examples"], *SCHEMAS["Refused"]["examples"]]
    return {
        "name": f"{event} answered",
        "title": f"The acknowledgement of {event}",
        "summary": "Every event up to `as_of` comes before it, and every later one after it.",
        "payload": _arguments([{"oneOf": [ref(schema), ref("Refused")]}]),
        "examples": [{"payload": [value]} for value in examples],
    }


def _arguments(schemas: list[Schema]) -> Schema:
    return {"type": "array", "prefixItems": schemas, "minItems": len(schemas), "maxItems": len(schemas)}


def _key(event: str) -> str:
    """``notification.read_all`` as ``notificationReadAll``."""
    first, *others = event.replace("_", ".").split(".")
    return first + "".join(word.capitalize() for word in others)
