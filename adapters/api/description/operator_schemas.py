"""Who is connected, what stands against users, and whether it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.api.description.schema_parts import (
    COUNT,
    CURSOR,
    CURSOR_EXAMPLE,
    DEVICE,
    DISCONNECTED,
    ID_EXAMPLE,
    IDENTIFIER,
    TIME,
    TIME_EXAMPLE,
    Schema,
    name,
    object_of,
    or_null,
)
from domain.model import ROLES_MOST, AudienceKind, LeftIn, NotificationState, Outcome
from domain.policy import AUDIENCE_MAX_USERS, REASON_MAX_LENGTH

OPERATORS: Final[Mapping[str, Schema]] = {
    "Connections": object_of(
        {
            "connections": {
                "type": "array",
                "items": object_of(
                    {
                        "device": or_null(DEVICE),
                        "role": name("Their role."),
                        "roles": {
                            "type": "array",
                            "description": "All that the token gives; `role` is the first.",
                            "minItems": 1,
                            "maxItems": ROLES_MOST,
                            "items": name("A role."),
                        },
                        "transport": {"type": "string"},
                        "remote_address": {"type": "string"},
                        "since": TIME,
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
                        "roles": ["freelance"],
                        "transport": "websocket",
                        "remote_address": "192.0.2.7",
                        "since": TIME_EXAMPLE,
                    }
                ]
            }
        ],
    ),
    "Deliveries": object_of(
        {
            "user": name("The user's id."),
            "deliveries": {
                "type": "array",
                "items": object_of(
                    {
                        "id": {"type": "string"},
                        "cursor": CURSOR,
                        "stored_at": TIME,
                        "audience": {"enum": [kind.value for kind in AudienceKind]},
                        "outcome": {
                            "enum": [outcome.value for outcome in Outcome],
                            "description": "What became of it for this user.",
                        },
                        "sentence": {"type": "string", "description": "The same, to be read aloud."},
                        "connections": {
                            "type": "array",
                            "description": "Those that were sent it, or were there while it waited.",
                            "items": object_of(
                                {
                                    "since": TIME,
                                    "until": or_null(TIME),
                                    "device": or_null(DEVICE),
                                    "transport": {"type": "string"},
                                    "ended": or_null({"type": "string"}),
                                    "sent_at": or_null(TIME),
                                    "received_at": or_null(TIME),
                                }
                            ),
                        },
                        "read_at": or_null(TIME),
                        "read_by": or_null(DEVICE),
                    }
                ),
            },
            "scheduled": {
                **or_null(
                    object_of(
                        {
                            "id": {"type": "string"},
                            "state": {"enum": [NotificationState.SCHEDULED.value, NotificationState.CANCELLED.value]},
                            "deliver_at": {**TIME, "description": "When it is sent, or was to be."},
                            "audience": {"enum": [kind.value for kind in AudienceKind]},
                            "sentence": {"type": "string", "description": "The same, to be read aloud."},
                        }
                    )
                ),
                "description": "The one with the `id`, where it waits for its time or was cancelled.",
            },
            "next": or_null({"type": "string", "description": "The `page` that follows."}),
        },
        examples=[
            {
                "user": "42",
                "deliveries": [
                    {
                        "id": ID_EXAMPLE,
                        "cursor": CURSOR_EXAMPLE,
                        "stored_at": TIME_EXAMPLE,
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
                                "sent_at": TIME_EXAMPLE,
                                "received_at": None,
                            }
                        ],
                        "read_at": None,
                        "read_by": None,
                    }
                ],
                "scheduled": None,
                "next": None,
            }
        ],
    ),
    "Disconnected": object_of(
        {
            "disconnected": COUNT,
            "tokens_revoked": {"const": False, "description": "Their tokens stay good: this is no ban."},
        },
        examples=[{"disconnected": 2, "tokens_revoked": False}],
    ),
    "Revocation": object_of(
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
    "Revoked": object_of(
        {"issued_before": TIME, "disconnected": DISCONNECTED},
        examples=[{"issued_before": TIME_EXAMPLE, "disconnected": 2}],
    ),
    "Members": object_of(
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
    "Block": object_of(
        {
            "until": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "To come; without it: until the block is taken back.",
            },
            "reason": or_null(name("For operators.", max_length=REASON_MAX_LENGTH)),
        },
        optional=("until", "reason"),
        examples=[{}, {"until": "2130-01-31T12:00:00Z", "reason": "abuse, ticket 4711"}],
    ),
    "Blocked": object_of(
        {
            "blocked": {"type": "boolean"},
            "until": or_null(TIME),
            "reason": or_null({"type": "string"}),
            "disconnected": DISCONNECTED,
        },
        examples=[
            {"blocked": True, "until": TIME_EXAMPLE, "reason": "abuse, ticket 4711", "disconnected": 2},
            {"blocked": False, "until": None, "reason": None, "disconnected": 0},
        ],
    ),
    "Erasure": object_of(
        {
            "id": IDENTIFIER,
            "user": or_null(name("Only while it runs.")),
            "state": {"enum": ["running", "done"]},
            "begun_at": TIME,
            "done_at": or_null(TIME),
            "left_in": {
                "type": "array",
                "items": {"enum": [place.value for place in LeftIn]},
                "description": "Where bytes are left in files of the database, until an operator overwrites them.",
            },
        },
        examples=[
            {
                "id": ID_EXAMPLE,
                "user": "42",
                "state": "running",
                "begun_at": TIME_EXAMPLE,
                "done_at": None,
                "left_in": [],
            },
            {
                "id": ID_EXAMPLE,
                "user": None,
                "state": "done",
                "begun_at": TIME_EXAMPLE,
                "done_at": TIME_EXAMPLE,
                "left_in": ["unused_space", "write_ahead_log"],
            },
        ],
    ),
    "Live": object_of({"status": {"const": "live"}}, examples=[{"status": "live"}]),
    "NotReady": object_of(
        {
            "status": {"const": "not ready"},
            "failures": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        examples=[{"status": "not ready", "failures": {"store": "store_unavailable"}}],
    ),
    "Ready": object_of({"status": {"const": "ready"}}, examples=[{"status": "ready"}]),
}
