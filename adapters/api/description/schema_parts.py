"""What schemas are made of: values that many have, and those of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from adapters.contract.commands import LIST_MAX, LISTED_STATES
from adapters.contract.connect_requests import DEVICE_MAX_LENGTH
from adapters.contract.recipients import PAGE_MAX_LENGTH
from domain.model import CURSOR_MAX_LENGTH, InboxQuery
from domain.policy import NAME_MAX_LENGTH

Schema: TypeAlias = dict[str, Any]
CURSOR_EXAMPLE: Final = "6f1ce3a9d5b04c27:1184"
LATER_CURSOR_EXAMPLE: Final = "6f1ce3a9d5b04c27:1190"
TIME_EXAMPLE: Final = "2030-01-31T12:00:00.000Z"
ID_EXAMPLE: Final = "mission-7.assigned"


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Mapping[str, Schema], *, optional: Sequence[str] = (), **more: Any) -> Schema:
    """One with these members and no others; all of them required but the optional ones."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        **more,
    }


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def name(description: str, *, max_length: int = NAME_MAX_LENGTH) -> Schema:
    """Of a user, a role, a type or a device."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": max_length,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$",
        "description": description,
    }


CURSOR: Final[Schema] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9._~-]+:(0|[1-9][0-9]{0,17})(~[0-9a-f]{1,16}(\.[0-9a-f]{1,16})*-?)?$",
    "maxLength": CURSOR_MAX_LENGTH,
    "description": "A place in the log; opaque to clients.",
    "examples": [CURSOR_EXAMPLE],
}
PAGE: Final[Schema] = {
    "type": "string",
    "pattern": "^[1-9][0-9]{0,17}$",
    "description": "What the page before gave as `next`.",
}
PLACE: Final[Schema] = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_-]+$",
    "maxLength": PAGE_MAX_LENGTH,
    "description": "What the page before gave as `next`.",
}
IDENTIFIER: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": InboxQuery().limit}
STATE: Final[Schema] = {
    "type": "string",
    "enum": [state.value for state in LISTED_STATES],
    "description": "Without it: what is not archived. What is snoozed is in no list but that of `snoozed`.",
}
TYPE: Final = name("What kind of notification it is.")
DEVICE: Final = name("The name of this device for operators.", max_length=DEVICE_MAX_LENGTH)
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
DISCONNECTED: Final[Schema] = {**COUNT, "description": "How many connections that ends."}
TRUE: Final[Schema] = {"const": True}
CONTENT: Final[dict[str, Schema]] = {
    "title": {"type": ["string", "null"]},
    "body": {"type": ["string", "null"]},
    "data": {
        "type": ["object", "null"],
        "description": "Given to clients as it came. The component of pages reads `url`, `image` and `actions`.",
    },
}
NOTIFICATION_EXAMPLE: Final[Schema] = {
    "id": "mission-7.assigned",
    "type": "mission.assigned",
    "title": "You have a new mission",
    "body": "Oslo, from Monday on",
    "data": {"mission": 7},
    "created_at": "2030-01-24T09:30:00.000Z",
    "expires_at": TIME_EXAMPLE,
    "audience": "user",
    "read_at": None,
    "seen_at": None,
    "archived_at": None,
}
COUNTS_EXAMPLE: Final[Schema] = {"unread": 3, "unseen": 1, "total": 12}
PUBLICATION_EXAMPLE: Final[Schema] = {
    "to": {"user": "42"},
    "type": "mission.assigned",
    "title": "You have a new mission",
}
RESULT_EXAMPLE: Final[Schema] = {"id": ID_EXAMPLE, "cursor": CURSOR_EXAMPLE, "duplicate": False}
