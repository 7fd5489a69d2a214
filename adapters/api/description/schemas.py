"""The public JSON as JSON Schema (2020-12), with the bounds of what reads and writes it, and an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from adapters.api.description.problems import codes
from adapters.api.erasures import ERASE_SCOPE, EXPORT_SCOPE
from adapters.api.notifications import READ_SCOPE as NOTIFICATIONS_READ
from adapters.api.notifications import WRITE_SCOPE as NOTIFICATIONS_WRITE
from adapters.api.publish import SCOPE as PUBLISH
from adapters.api.restrictions import SCOPE as USERS_WRITE
from adapters.api.topics import SCOPE as TOPICS_WRITE
from adapters.api.user_inboxes import READ_SCOPE as INBOX_READ
from adapters.api.user_inboxes import WRITE_SCOPE as INBOX_WRITE
from adapters.contract.commands import IDS_MAX, LIST_MAX, LISTED_STATES
from adapters.contract.connect_requests import DEVICE_MAX_LENGTH
from adapters.contract.recipients import PAGE_MAX_LENGTH
from domain.errors import ERRORS_MAX
from domain.model import (
    CURSOR_MAX_LENGTH,
    ROLES_MOST,
    AudienceKind,
    InboxQuery,
    NotificationState,
    Outcome,
    RecoveryReason,
)
from domain.policy import (
    AUDIENCE_MAX_GROUPS,
    AUDIENCE_MAX_USERS,
    BATCH_MAX_ITEMS,
    NAME_MAX_LENGTH,
    NO_IDS,
    REASON_MAX_LENGTH,
)

Schema: TypeAlias = dict[str, Any]

SCOPES: Final = (
    PUBLISH,
    NOTIFICATIONS_READ,
    NOTIFICATIONS_WRITE,
    "connections:read",
    "connections:write",
    "deliveries:read",
    INBOX_READ,
    INBOX_WRITE,
    TOPICS_WRITE,
    USERS_WRITE,
    ERASE_SCOPE,
    EXPORT_SCOPE,
)

_CURSOR: Final = "6f1ce3a9d5b04c27:1184"
_LATER_CURSOR: Final = "6f1ce3a9d5b04c27:1190"
_TIME: Final = "2030-01-31T12:00:00.000Z"
_ID: Final = "mission-7.assigned"


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Mapping[str, Schema], *, optional: Sequence[str] = (), **more: Any) -> Schema:
    """One with these members and no others; all of them required but the optional ones."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        **more,
    }


def _or_null(schema: Schema) -> Schema:
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
    "examples": [_CURSOR],
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
    "description": "Without it: what is not archived.",
}
TYPE: Final = name("What kind of notification it is.")
DEVICE: Final = name("The name of this device for operators.", max_length=DEVICE_MAX_LENGTH)
_TIME_SCHEMA: Final[Schema] = {"type": "string", "format": "date-time"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_DISCONNECTED: Final[Schema] = {**_COUNT, "description": "How many connections that ends."}
_TRUE: Final[Schema] = {"const": True}

_CONTENT: Final[dict[str, Schema]] = {
    "title": {"type": ["string", "null"]},
    "body": {"type": ["string", "null"]},
    "data": {
        "type": ["object", "null"],
        "description": "Given to clients as it came. The component of pages reads `url`, `image` and `actions`.",
    },
}
_NOTIFICATION: Final[Schema] = {
    "id": "mission-7.assigned",
    "type": "mission.assigned",
    "title": "You have a new mission",
    "body": "Oslo, from Monday on",
    "data": {"mission": 7},
    "created_at": "2030-01-24T09:30:00.000Z",
    "expires_at": _TIME,
    "audience": "user",
    "read_at": None,
    "seen_at": None,
    "archived_at": None,
}
_COUNTS: Final[Schema] = {"unread": 3, "unseen": 1, "total": 12}
_TO_EXAMPLE: Final[Schema] = {"to": {"user": "42"}, "type": "mission.assigned", "title": "You have a new mission"}
_RESULT: Final[Schema] = {"id": _ID, "cursor": _CURSOR, "duplicate": False}


def components() -> dict[str, Schema]:
    """All of them, with the codes that there are."""
    code = {
        "type": "string",
        "description": "Stable: what programs decide by.",
        "examples": [each.code for each in codes()],
    }
    problem = SCHEMAS["Problem"]
    return {**SCHEMAS, "Problem": {**problem, "properties": {**problem["properties"], "code": code}}}


SCHEMAS: Final[Mapping[str, Schema]] = {
    "Audience": {
        "description": "Exactly one of these.",
        "oneOf": [
            _object({"user": name("The user's id.")}),
            _object(
                {
                    "users": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": AUDIENCE_MAX_USERS,
                        "items": name("A user's id."),
                    }
                }
            ),
            _object({"role": name("Whoever has this role.")}),
            _object({"topic": name("Whoever is in this topic by then.")}),
            _object(
                {
                    "any_of": {
                        "type": "array",
                        "description": "Whoever is in one of these, each once.",
                        "minItems": 1,
                        "maxItems": AUDIENCE_MAX_GROUPS,
                        "items": {
                            "oneOf": [_object({"role": name("A role.")}), _object({"topic": name("A topic.")})],
                        },
                    }
                }
            ),
            _object({"everyone": _TRUE}),
        ],
        "examples": [
            {"user": "42"},
            {"users": ["42", "43"]},
            {"role": "company"},
            {"topic": "project-17"},
            {"any_of": [{"role": "admin"}, {"topic": "project-17"}]},
            {"everyone": True},
        ],
    },
    "Publication": _object(
        {
            "to": ref("Audience"),
            "type": TYPE,
            **_CONTENT,
            "id": {
                "type": ["string", "null"],
                "pattern": "^[A-Za-z0-9._:-]{1,128}$",
                "not": {"enum": sorted(NO_IDS)},
                "description": "Makes a retry safe: the same id with the same content is stored once.",
            },
            "expires_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "From then on it is not delivered, listed or counted.",
            },
            "deliver_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "Until then nobody has it, and it can be changed or cancelled; if past, now.",
            },
            "collapse_key": {
                "type": ["string", "null"],
                "pattern": IDENTIFIER["pattern"],
                "description": "It takes the place of those before it with the same key, with each of its recipients.",
            },
        },
        optional=("title", "body", "data", "id", "expires_at", "deliver_at", "collapse_key"),
        examples=[
            _TO_EXAMPLE,
            {**_TO_EXAMPLE, "id": _ID, "data": {"mission": 7}, "expires_at": "2030-01-31T12:00:00Z"},
            {**_TO_EXAMPLE, "collapse_key": "mission-7"},
        ],
    ),
    "Published": _object(
        {
            "id": {"type": "string"},
            "cursor": _or_null({**CURSOR, "description": "Null as long as it is not due."}),
            "duplicate": {"type": "boolean", "description": "Whether it had been published before."},
        },
        description="Stored. It says nothing about whether the user exists.",
        examples=[_RESULT],
    ),
    "Batch": {
        "type": "array",
        "minItems": 1,
        "maxItems": BATCH_MAX_ITEMS,
        "items": ref("Publication"),
        "examples": [[_TO_EXAMPLE]],
    },
    "BatchPublished": _object(
        {
            "accepted": _COUNT,
            "duplicates": _COUNT,
            "results": {"type": "array", "items": ref("Published"), "description": "In the order of the batch."},
        },
        examples=[{"accepted": 1, "duplicates": 0, "results": [_RESULT]}],
    ),
    "NotificationReport": _object(
        {
            "notification": {
                **_or_null(ref("Notification")),
                "description": "Null once it was taken back: its content is gone.",
            },
            "to": ref("Audience"),
            "state": {"enum": [state.value for state in NotificationState], "description": "There may be more."},
            "deliver_at": {**_TIME_SCHEMA, "description": "When it is sent, as long as it is scheduled."},
            "counts": _object(
                {
                    "recipients": _or_null({**_COUNT, "description": "Null where they are not named."}),
                    "received": {**_COUNT, "description": "Whose devices are known to have had it."},
                    "seen": _COUNT,
                    "read": _COUNT,
                    "archived": _COUNT,
                    "deleted": _COUNT,
                },
                description="Each for itself: who has read it and then deleted it is in both.",
            ),
        },
        optional=("deliver_at",),
        description="What was published, and with how many of its recipients it stands how.",
        examples=[
            {
                "notification": _NOTIFICATION,
                "to": {"users": ["42", "43"]},
                "state": "sent",
                "counts": {"recipients": 2, "received": 2, "seen": 1, "read": 1, "archived": 0, "deleted": 0},
            },
            {
                "notification": None,
                "to": {"role": "freelance"},
                "state": "recalled",
                "counts": {"recipients": None, "received": 2, "seen": 1, "read": 1, "archived": 0, "deleted": 0},
            },
        ],
    ),
    "Recipients": _object(
        {
            "recipients": {
                "type": "array",
                "items": _object(
                    {
                        "user": name("The user's id."),
                        "received": {"type": "boolean"},
                        "received_at": _or_null(_TIME_SCHEMA),
                        "seen_at": _or_null(_TIME_SCHEMA),
                        "read_at": _or_null(_TIME_SCHEMA),
                        "archived_at": _or_null(_TIME_SCHEMA),
                        "deleted": {"type": "boolean"},
                        "deleted_at": _or_null(_TIME_SCHEMA),
                    }
                ),
            },
            "next": _or_null({**PLACE, "description": "The `page` that follows; null where this is the last."}),
        },
        description="Whom it names; of a role or everyone, who was there as it was published.",
        examples=[
            {
                "recipients": [
                    {
                        "user": "42",
                        "received": True,
                        "received_at": "2030-01-24T09:30:01.000Z",
                        "seen_at": _TIME,
                        "read_at": _TIME,
                        "archived_at": None,
                        "deleted": False,
                        "deleted_at": None,
                    }
                ],
                "next": None,
            }
        ],
    ),
    "Notification": _object(
        {
            "id": {"type": "string"},
            "type": TYPE,
            **_CONTENT,
            "created_at": _TIME_SCHEMA,
            "expires_at": _or_null(_TIME_SCHEMA),
            "audience": {"enum": [kind.value for kind in AudienceKind]},
            "collapse_key": {
                **IDENTIFIER,
                "description": "Drop whatever else is held with this key: this one takes its place, unread.",
            },
            "revised_at": {**_TIME_SCHEMA, "description": "When it got its present content, if it had another before."},
            "read_at": _or_null(_TIME_SCHEMA),
            "seen_at": _or_null(_TIME_SCHEMA),
            "archived_at": _or_null(_TIME_SCHEMA),
        },
        optional=("collapse_key", "revised_at"),
        examples=[
            _NOTIFICATION,
            {**_NOTIFICATION, "title": "Your mission is in Bergen", "revised_at": _TIME},
            {**_NOTIFICATION, "collapse_key": "mission-7"},
        ],
    ),
    "Patch": _object(
        {"type": TYPE, **_CONTENT, "expires_at": _or_null(_TIME_SCHEMA)},
        optional=("type", "title", "body", "data", "expires_at"),
        description="A JSON Merge Patch (RFC 7396): null takes a member away, in `data` too.",
        examples=[{"title": "Your mission is in Bergen", "data": {"city": "Bergen", "street": None}}],
    ),
    "Counts": _object(
        {"unread": _COUNT, "unseen": _COUNT, "total": _COUNT},
        description="Of what is not archived.",
        examples=[_COUNTS],
    ),
    "Listing": _object(
        {
            "ok": _TRUE,
            "items": {"type": "array", "maxItems": LIST_MAX, "items": ref("Notification")},
            "next": _or_null({**PAGE, "description": "The `page` that follows; null where this is the last."}),
            "counts": ref("Counts"),
            "as_of": CURSOR,
        },
        description="The newest first.",
        examples=[{"ok": True, "items": [_NOTIFICATION], "next": None, "counts": _COUNTS, "as_of": _CURSOR}],
    ),
    "Counted": _object(
        {"ok": _TRUE, "counts": ref("Counts"), "as_of": CURSOR},
        examples=[{"ok": True, "counts": _COUNTS, "as_of": _CURSOR}],
    ),
    "Marked": _object(
        {
            "ok": _TRUE,
            "changed": {**_COUNT, "description": "How many really changed."},
            "counts": ref("Counts"),
            "as_of": CURSOR,
        },
        examples=[{"ok": True, "changed": 1, "counts": _COUNTS, "as_of": _LATER_CURSOR}],
    ),
    "Refreshed": _object({"ok": _TRUE, "expires_at": _TIME_SCHEMA}, examples=[{"ok": True, "expires_at": _TIME}]),
    "Refused": _object(
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
    "Marks": _object(
        {"ids": {"type": "array", "minItems": 1, "maxItems": IDS_MAX, "items": name("A notification's id.")}},
        description="Ids that are repeated, unknown, another user's or already so are no errors.",
        examples=[{"ids": [_ID]}],
    ),
    "Snoozing": _object(
        {
            "ids": {"type": "array", "minItems": 1, "maxItems": IDS_MAX, "items": name("A notification's id.")},
            "until": {**_TIME_SCHEMA, "description": "If past, those that are snoozed are back now."},
        },
        description="They are gone until then, and are new again: at the top, and unread.",
        examples=[{"ids": [_ID], "until": _TIME}],
    ),
    "MarksOfAll": _object(
        {"up_to": _or_null({**CURSOR, "description": "A cursor; without it everything."})},
        optional=("up_to",),
        examples=[{}, {"up_to": _CURSOR}],
    ),
    "ListRequest": _object(
        {"limit": LIMIT, "page": PAGE, "state": STATE, "type": TYPE},
        optional=("limit", "page", "state", "type"),
        examples=[{}, {"limit": 50, "state": "unread"}],
    ),
    "Nothing": _object({}, examples=[{}]),
    "TokenRequest": _object(
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
        "examples": [{"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", "device": "phone", "cursor": _CURSOR}],
    },
    "SessionReady": _object(
        {
            "user": _object(
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
            "expires_at": _TIME_SCHEMA,
            "server_time": _TIME_SCHEMA,
        },
        examples=[
            {
                "user": {"id": "42", "role": "freelance"},
                "recovered": False,
                "reason": None,
                "counts": _COUNTS,
                "expires_at": _TIME,
                "server_time": "2030-01-31T11:00:00.000Z",
            }
        ],
    ),
    "Change": {
        "type": "object",
        "properties": {
            **{member: _or_null(_TIME_SCHEMA) for member in ("read_at", "seen_at", "archived_at")},
            "snoozed_until": {**_TIME_SCHEMA, "description": "They are gone, and new again when it has come."},
        },
        "additionalProperties": False,
        "description": "A time is set where there was none; null takes one away.",
        "examples": [{"read_at": _TIME, "seen_at": _TIME}],
    },
    "Updated": {
        "oneOf": [
            _object({"ids": {"type": "array", "minItems": 1, "items": {"type": "string"}}, "change": ref("Change")}),
            _object({"all": _TRUE, "change": ref("Change")}),
        ],
        "description": "`all` are all that came before in the log.",
        "examples": [{"ids": [_ID], "change": {"read_at": _TIME, "seen_at": _TIME}}],
    },
    "Deleted": _object(
        {
            "ids": {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "by": {"const": "publisher", "description": "It was taken back. Without it a device of the user did it."},
            "collapse_key": {**IDENTIFIER, "description": "Whatever is held with this key is gone, too."},
        },
        optional=("by", "collapse_key"),
        examples=[
            {"ids": [_ID]},
            {"ids": [_ID], "by": "publisher"},
            {"ids": [_ID], "by": "publisher", "collapse_key": "mission-7"},
        ],
    ),
    "Amended": _object(
        {"id": IDENTIFIER, "cursor": _or_null(CURSOR)},
        description=(
            "Stored; the cursor is where the log says so. Where nothing changed it is where it did last, and null for "
            "what was not sent yet."
        ),
        examples=[{"id": _ID, "cursor": _LATER_CURSOR}],
    ),
    "Expiring": _object({"expires_at": _TIME_SCHEMA}, examples=[{"expires_at": _TIME}]),
    "Closing": _object(
        {
            "code": {"type": "string"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean"},
            "reconnect": {"type": "boolean", "description": "Whether the client is to come back by itself."},
            "retry_after_ms": _COUNT,
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
    "Problem": _object(
        {
            "code": {"type": "string"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean", "description": "Whether a retry can help."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "Over HTTP."},
            "errors": {
                "type": "array",
                "maxItems": ERRORS_MAX,
                "items": _object({"path": {"type": "string"}, "message": {"type": "string"}}),
            },
            "errors_total": {**_COUNT, "description": "How many bad fields there are; `errors` has the first ones."},
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
    "Connections": _object(
        {
            "connections": {
                "type": "array",
                "items": _object(
                    {
                        "device": _or_null(DEVICE),
                        "role": name("Their role."),
                        "transport": {"type": "string"},
                        "remote_address": {"type": "string"},
                        "since": _TIME_SCHEMA,
                    }
                ),
            }
        },
        examples=[
            {
                "connections": [
                    {
                        "device": "phone",
                        "role": "freelance",
                        "transport": "websocket",
                        "remote_address": "192.0.2.7",
                        "since": _TIME,
                    }
                ]
            }
        ],
    ),
    "Deliveries": _object(
        {
            "user": name("The user's id."),
            "deliveries": {
                "type": "array",
                "items": _object(
                    {
                        "id": {"type": "string"},
                        "cursor": CURSOR,
                        "stored_at": _TIME_SCHEMA,
                        "audience": {"enum": [kind.value for kind in AudienceKind]},
                        "outcome": {
                            "enum": [outcome.value for outcome in Outcome],
                            "description": "What became of it for this user.",
                        },
                        "sentence": {"type": "string", "description": "The same, to be read aloud."},
                        "connections": {
                            "type": "array",
                            "description": "Those that were sent it, or were there while it waited.",
                            "items": _object(
                                {
                                    "since": _TIME_SCHEMA,
                                    "until": _or_null(_TIME_SCHEMA),
                                    "device": _or_null(DEVICE),
                                    "transport": {"type": "string"},
                                    "ended": _or_null({"type": "string"}),
                                    "sent_at": _or_null(_TIME_SCHEMA),
                                    "received_at": _or_null(_TIME_SCHEMA),
                                }
                            ),
                        },
                        "read_at": _or_null(_TIME_SCHEMA),
                        "read_by": _or_null(DEVICE),
                    }
                ),
            },
            "next": _or_null({"type": "string", "description": "The `page` that follows."}),
        },
        examples=[
            {
                "user": "42",
                "deliveries": [
                    {
                        "id": _ID,
                        "cursor": _CURSOR,
                        "stored_at": _TIME,
                        "audience": "user",
                        "outcome": "sent",
                        "sentence": (
                            "It was sent to the device “phone” over websocket at 2030-01-31 12:00:00 UTC, but nothing "
                            "shows that it arrived: the connection ended at 2030-01-31 12:00:02 UTC, as the line was "
                            "cut. It is sent again when that client comes back."
                        ),
                        "connections": [
                            {
                                "since": "2030-01-31T11:58:00.000Z",
                                "until": "2030-01-31T12:00:02.000Z",
                                "device": "phone",
                                "transport": "websocket",
                                "ended": "transport_close",
                                "sent_at": _TIME,
                                "received_at": None,
                            }
                        ],
                        "read_at": None,
                        "read_by": None,
                    }
                ],
                "next": None,
            }
        ],
    ),
    "Disconnected": _object(
        {
            "disconnected": _COUNT,
            "tokens_revoked": {"const": False, "description": "Their tokens stay good: this is no ban."},
        },
        examples=[{"disconnected": 2, "tokens_revoked": False}],
    ),
    "Revocation": _object(
        {
            "issued_before": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "Tokens that were issued at or before it are not good any more; without it: now.",
            }
        },
        optional=("issued_before",),
        examples=[{}, {"issued_before": "2026-01-31T12:00:00Z"}],
    ),
    "Revoked": _object(
        {"issued_before": _TIME_SCHEMA, "disconnected": _DISCONNECTED},
        examples=[{"issued_before": _TIME, "disconnected": 2}],
    ),
    "Members": _object(
        {
            "add": {
                "type": ["array", "null"],
                "maxItems": AUDIENCE_MAX_USERS,
                "items": name("A user's id."),
                "description": f"With those to remove at most {AUDIENCE_MAX_USERS:,}.",
            },
            "remove": {"type": ["array", "null"], "maxItems": AUDIENCE_MAX_USERS, "items": name("A user's id.")},
        },
        optional=("add", "remove"),
        examples=[{"add": ["42", "43"], "remove": ["17"]}],
    ),
    "Block": _object(
        {
            "until": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "To come; without it: until the block is taken back.",
            },
            "reason": _or_null(name("For operators.", max_length=REASON_MAX_LENGTH)),
        },
        optional=("until", "reason"),
        examples=[{}, {"until": "2130-01-31T12:00:00Z", "reason": "abuse, ticket 4711"}],
    ),
    "Blocked": _object(
        {
            "blocked": {"type": "boolean"},
            "until": _or_null(_TIME_SCHEMA),
            "reason": _or_null({"type": "string"}),
            "disconnected": _DISCONNECTED,
        },
        examples=[
            {"blocked": True, "until": _TIME, "reason": "abuse, ticket 4711", "disconnected": 2},
            {"blocked": False, "until": None, "reason": None, "disconnected": 0},
        ],
    ),
    "Erasure": _object(
        {
            "id": IDENTIFIER,
            "user": _or_null(name("Only while it runs.")),
            "state": {"enum": ["running", "done"]},
            "begun_at": _TIME_SCHEMA,
            "done_at": _or_null(_TIME_SCHEMA),
        },
        examples=[
            {"id": _ID, "user": "42", "state": "running", "begun_at": _TIME, "done_at": None},
            {"id": _ID, "user": None, "state": "done", "begun_at": _TIME, "done_at": _TIME},
        ],
    ),
    "Live": _object({"status": {"const": "live"}}, examples=[{"status": "live"}]),
    "NotReady": _object(
        {
            "status": {"const": "not ready"},
            "failures": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        examples=[{"status": "not ready", "failures": {"store": "store_unavailable"}}],
    ),
    "Ready": _object({"status": {"const": "ready"}}, examples=[{"status": "ready"}]),
}
