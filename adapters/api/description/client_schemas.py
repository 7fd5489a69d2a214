"""What users and their devices ask, and are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.api.description.schema_parts import (
    COUNT,
    COUNTS_EXAMPLE,
    CURSOR,
    CURSOR_EXAMPLE,
    DEVICE,
    ID_EXAMPLE,
    IDENTIFIER,
    LATER_CURSOR_EXAMPLE,
    LIMIT,
    NOTIFICATION_EXAMPLE,
    PAGE,
    STATE,
    TIME,
    TIME_EXAMPLE,
    TRUE,
    TYPE,
    Schema,
    name,
    object_of,
    or_null,
    ref,
)
from adapters.contract.commands import IDS_MAX, LIST_MAX
from domain.errors import ERRORS_MAX
from domain.model import ROLES_MOST, RecoveryReason

CLIENTS: Final[Mapping[str, Schema]] = {
    "Counts": object_of(
        {"unread": COUNT, "unseen": COUNT, "total": COUNT},
        description="Of what is not archived.",
        examples=[COUNTS_EXAMPLE],
    ),
    "Listing": object_of(
        {
            "ok": TRUE,
            "items": {"type": "array", "maxItems": LIST_MAX, "items": ref("Notification")},
            "next": or_null({**PAGE, "description": "The `page` that follows; null where this is the last."}),
            "counts": ref("Counts"),
            "as_of": CURSOR,
        },
        description="The newest first.",
        examples=[
            {
                "ok": True,
                "items": [NOTIFICATION_EXAMPLE],
                "next": None,
                "counts": COUNTS_EXAMPLE,
                "as_of": CURSOR_EXAMPLE,
            }
        ],
    ),
    "Counted": object_of(
        {"ok": TRUE, "counts": ref("Counts"), "as_of": CURSOR},
        examples=[{"ok": True, "counts": COUNTS_EXAMPLE, "as_of": CURSOR_EXAMPLE}],
    ),
    "Marked": object_of(
        {
            "ok": TRUE,
            "changed": {**COUNT, "description": "How many really changed."},
            "counts": ref("Counts"),
            "as_of": CURSOR,
        },
        examples=[{"ok": True, "changed": 1, "counts": COUNTS_EXAMPLE, "as_of": LATER_CURSOR_EXAMPLE}],
    ),
    "Refreshed": object_of({"ok": TRUE, "expires_at": TIME}, examples=[{"ok": True, "expires_at": TIME_EXAMPLE}]),
    "Refused": object_of(
        {"ok": {"const": False}, "error": ref("Problem")},
        description="What a request over a connection is answered with where it is not carried out.",
        examples=[
            {
                "ok": False,
                "error": {
                    "code": "invalid_argument",
                    "title": "An argument is not valid.",
                    "detail": "limit: must be a whole number from 1 to 100",
                    "retryable": False,
                },
            }
        ],
    ),
    "Marks": object_of(
        {"ids": {"type": "array", "minItems": 1, "maxItems": IDS_MAX, "items": name("A notification's id.")}},
        description="Ids that are repeated, unknown, another user's or already so are no errors.",
        examples=[{"ids": [ID_EXAMPLE]}],
    ),
    "Snoozing": object_of(
        {
            "ids": {"type": "array", "minItems": 1, "maxItems": IDS_MAX, "items": name("A notification's id.")},
            "until": {**TIME, "description": "If past, those that are snoozed are back now."},
        },
        description="They are gone until then, and are new again: at the top, and unread.",
        examples=[{"ids": [ID_EXAMPLE], "until": TIME_EXAMPLE}],
    ),
    "MarksOfAll": object_of(
        {"up_to": or_null({**CURSOR, "description": "A cursor; without it everything."})},
        optional=("up_to",),
        examples=[{}, {"up_to": CURSOR_EXAMPLE}],
    ),
    "ListRequest": object_of(
        {"limit": LIMIT, "page": PAGE, "state": STATE, "type": TYPE},
        optional=("limit", "page", "state", "type"),
        examples=[{}, {"limit": 50, "state": "unread"}],
    ),
    "Nothing": object_of({}, examples=[{}]),
    "TokenRequest": object_of(
        {"token": {"type": "string", "minLength": 1}},
        description="Of the same issuer, user and role.",
        examples=[{"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"}],
    ),
    "Auth": {
        "type": "object",
        "properties": {
            "token": {"type": "string", "minLength": 1, "description": "The user's JWT."},
            "device": DEVICE,
            "cursor": {**CURSOR, "description": "Continue behind this place."},
            "pid": {"type": "string", "description": "Of the stock client's own recovery."},
            "offset": {"type": "string", "description": "Of the stock client's own recovery."},
        },
        "required": ["token"],
        "description": "What else is in it is ignored.",
        "examples": [{"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", "device": "phone", "cursor": CURSOR_EXAMPLE}],
    },
    "SessionReady": object_of(
        {
            "user": object_of(
                {
                    "id": name("The user's id."),
                    "role": name("Their role."),
                    "roles": {
                        "type": "array",
                        "description": "All of them, where the token may give several; `role` is the first.",
                        "minItems": 1,
                        "maxItems": ROLES_MOST,
                        "items": name("A role."),
                    },
                },
                optional=("roles",),
            ),
            "recovered": {"type": "boolean", "description": "Whether it continues where the client was."},
            "reason": {"enum": [*(reason.value for reason in RecoveryReason), None]},
            "counts": ref("Counts"),
            "expires_at": TIME,
            "server_time": TIME,
        },
        examples=[
            {
                "user": {"id": "42", "role": "freelance"},
                "recovered": False,
                "reason": None,
                "counts": COUNTS_EXAMPLE,
                "expires_at": TIME_EXAMPLE,
                "server_time": "2030-01-31T11:00:00.000Z",
            }
        ],
    ),
    "Change": {
        "type": "object",
        "properties": {
            **{member: or_null(TIME) for member in ("read_at", "seen_at", "archived_at")},
            "snoozed_until": {**TIME, "description": "They are gone, and new again when it has come."},
        },
        "additionalProperties": False,
        "description": "A time is set where there was none; null takes one away.",
        "examples": [{"read_at": TIME_EXAMPLE, "seen_at": TIME_EXAMPLE}],
    },
    "Updated": {
        "oneOf": [
            object_of({"ids": {"type": "array", "minItems": 1, "items": {"type": "string"}}, "change": ref("Change")}),
            object_of({"all": TRUE, "change": ref("Change")}),
        ],
        "description": "`all` are all that came before in the log.",
        "examples": [{"ids": [ID_EXAMPLE], "change": {"read_at": TIME_EXAMPLE, "seen_at": TIME_EXAMPLE}}],
    },
    "Deleted": object_of(
        {
            "ids": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "by": {"const": "publisher", "description": "It was taken back. Without it a device of the user did it."},
            "collapse_key": {**IDENTIFIER, "description": "Whatever is held with this key is gone, too."},
        },
        optional=("by", "collapse_key"),
        examples=[
            {"ids": [ID_EXAMPLE]},
            {"ids": [ID_EXAMPLE], "by": "publisher"},
            {"ids": [ID_EXAMPLE], "by": "publisher", "collapse_key": "mission-7"},
        ],
    ),
    "Amended": object_of(
        {"id": IDENTIFIER, "cursor": or_null(CURSOR)},
        description=(
            "Stored; the cursor is where the log says so. Where nothing changed it is where it did last, and null for "
            "what was not sent yet."
        ),
        examples=[{"id": ID_EXAMPLE, "cursor": LATER_CURSOR_EXAMPLE}],
    ),
    "Expiring": object_of({"expires_at": TIME}, examples=[{"expires_at": TIME_EXAMPLE}]),
    "Closing": object_of(
        {
            "code": {"type": "string"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean"},
            "reconnect": {"type": "boolean", "description": "Whether the client is to come back by itself."},
            "retry_after_ms": COUNT,
        },
        optional=("detail",),
        examples=[
            {
                "code": "shutting_down",
                "title": "The server is shutting down.",
                "retryable": True,
                "reconnect": True,
                "retry_after_ms": 3200,
            }
        ],
    ),
    "Problem": object_of(
        {
            "code": {"type": "string"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean", "description": "Whether a retry can help."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "Over HTTP."},
            "errors": {
                "type": "array",
                "maxItems": ERRORS_MAX,
                "items": object_of({"path": {"type": "string"}, "message": {"type": "string"}}),
            },
            "errors_total": {**COUNT, "description": "How many bad fields there are; `errors` has the first ones."},
        },
        optional=("detail", "status", "errors", "errors_total"),
        description="RFC 9457, with a code.",
        examples=[
            {
                "code": "invalid_notification",
                "title": "The notification is not valid.",
                "status": 422,
                "detail": "type: is required",
                "errors": [{"path": "type", "message": "is required"}],
                "errors_total": 1,
                "retryable": False,
            }
        ],
    ),
}
