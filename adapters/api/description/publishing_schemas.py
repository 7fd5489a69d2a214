"""What backends publish, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.api.description.schema_parts import (
    CONTENT,
    COUNT,
    CURSOR,
    ID_EXAMPLE,
    IDENTIFIER,
    NOTIFICATION_EXAMPLE,
    PLACE,
    PUBLICATION_EXAMPLE,
    RESULT_EXAMPLE,
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
from domain.model import AudienceKind, NotificationState
from domain.policy import AUDIENCE_MAX_GROUPS, AUDIENCE_MAX_USERS, BATCH_MAX_ITEMS, NO_IDS


def _groups(description: str) -> Schema:
    return {
        "type": "array",
        "description": description,
        "minItems": 1,
        "maxItems": AUDIENCE_MAX_GROUPS,
        "items": {"oneOf": [object_of({"role": name("A role.")}), object_of({"topic": name("A topic.")})]},
    }


PUBLISHING: Final[Mapping[str, Schema]] = {
    "Audience": {
        "description": "Exactly one of these.",
        "oneOf": [
            object_of({"user": name("The user's id.")}),
            object_of(
                {
                    "users": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": AUDIENCE_MAX_USERS,
                        "items": name("A user's id."),
                    }
                }
            ),
            object_of({"role": name("Whoever has this role.")}),
            object_of({"topic": name("Whoever is in this topic by then.")}),
            object_of({"any_of": _groups("Whoever is in one of these, each once.")}),
            object_of({"all_of": _groups("Whoever is in each of these by then.")}),
            object_of({"everyone": TRUE}),
        ],
        "examples": [
            {"user": "42"},
            {"users": ["42", "43"]},
            {"role": "company"},
            {"topic": "project-17"},
            {"any_of": [{"role": "admin"}, {"topic": "project-17"}]},
            {"all_of": [{"role": "admin"}, {"topic": "project-17"}]},
            {"everyone": True},
        ],
    },
    "Publication": object_of(
        {
            "to": ref("Audience"),
            "type": TYPE,
            **CONTENT,
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
            PUBLICATION_EXAMPLE,
            {**PUBLICATION_EXAMPLE, "id": ID_EXAMPLE, "data": {"mission": 7}, "expires_at": "2030-01-31T12:00:00Z"},
            {**PUBLICATION_EXAMPLE, "collapse_key": "mission-7"},
        ],
    ),
    "Published": object_of(
        {
            "id": {"type": "string"},
            "cursor": or_null({**CURSOR, "description": "Null as long as it is not due."}),
            "duplicate": {"type": "boolean", "description": "Whether it had been published before."},
        },
        description="Stored. It says nothing about whether the user exists.",
        examples=[RESULT_EXAMPLE],
    ),
    "Batch": {
        "type": "array",
        "minItems": 1,
        "maxItems": BATCH_MAX_ITEMS,
        "items": ref("Publication"),
        "examples": [[PUBLICATION_EXAMPLE]],
    },
    "BatchPublished": object_of(
        {
            "accepted": COUNT,
            "duplicates": COUNT,
            "results": {"type": "array", "items": ref("Published"), "description": "In the order of the batch."},
        },
        examples=[{"accepted": 1, "duplicates": 0, "results": [RESULT_EXAMPLE]}],
    ),
    "NotificationReport": object_of(
        {
            "notification": {
                **or_null(ref("Notification")),
                "description": "Null once it was taken back or cancelled, and soon after the last of all whom it names "
                "has deleted it: its content is gone.",
            },
            "to": ref("Audience"),
            "state": {"enum": [state.value for state in NotificationState], "description": "There may be more."},
            "deliver_at": {**TIME, "description": "When it is sent, or was to be, where it is scheduled or cancelled."},
            "counts": object_of(
                {
                    "recipients": or_null({**COUNT, "description": "Null where they are not named."}),
                    "received": {**COUNT, "description": "Whose devices are known to have had it."},
                    "seen": COUNT,
                    "read": COUNT,
                    "archived": COUNT,
                    "deleted": COUNT,
                },
                description="Each for itself: who has read it and then deleted it is in both.",
            ),
        },
        optional=("deliver_at",),
        description="What was published, and with how many of its recipients it stands how.",
        examples=[
            {
                "notification": NOTIFICATION_EXAMPLE,
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
    "Recipients": object_of(
        {
            "recipients": {
                "type": "array",
                "items": object_of(
                    {
                        "user": name("The user's id."),
                        "received": {"type": "boolean"},
                        "received_at": or_null(TIME),
                        "seen_at": or_null(TIME),
                        "read_at": or_null(TIME),
                        "archived_at": or_null(TIME),
                        "deleted": {"type": "boolean"},
                        "deleted_at": or_null(TIME),
                    }
                ),
            },
            "next": or_null({**PLACE, "description": "The `page` that follows; null where this is the last."}),
        },
        description="Whom it names; of a role or everyone, who was there as it was published.",
        examples=[
            {
                "recipients": [
                    {
                        "user": "42",
                        "received": True,
                        "received_at": "2030-01-24T09:30:01.000Z",
                        "seen_at": TIME_EXAMPLE,
                        "read_at": TIME_EXAMPLE,
                        "archived_at": None,
                        "deleted": False,
                        "deleted_at": None,
                    }
                ],
                "next": None,
            }
        ],
    ),
    "Notification": object_of(
        {
            "id": {"type": "string"},
            "type": TYPE,
            **CONTENT,
            "created_at": TIME,
            "expires_at": or_null(TIME),
            "audience": {"enum": [kind.value for kind in AudienceKind]},
            "collapse_key": {
                **IDENTIFIER,
                "description": "Drop whatever else is held with this key: this one takes its place, unread.",
            },
            "revised_at": {**TIME, "description": "When it got its present content, if it had another before."},
            "read_at": or_null(TIME),
            "seen_at": or_null(TIME),
            "archived_at": or_null(TIME),
            "snoozed_until": {**TIME, "description": "Only in lists of what is snoozed, and in exports."},
        },
        optional=("collapse_key", "revised_at", "snoozed_until"),
        examples=[
            NOTIFICATION_EXAMPLE,
            {**NOTIFICATION_EXAMPLE, "title": "Your mission is in Bergen", "revised_at": TIME_EXAMPLE},
            {**NOTIFICATION_EXAMPLE, "collapse_key": "mission-7"},
            {**NOTIFICATION_EXAMPLE, "snoozed_until": TIME_EXAMPLE},
        ],
    ),
    "Patch": object_of(
        {
            "type": TYPE,
            **CONTENT,
            "expires_at": or_null(TIME),
            "deliver_at": {
                **or_null(TIME),
                "description": "Of one that was not sent yet: when it is; if null or past, now.",
            },
        },
        optional=("type", "title", "body", "data", "expires_at", "deliver_at"),
        description="A JSON Merge Patch (RFC 7396): null takes a member away, in `data` too.",
        examples=[
            {"title": "Your mission is in Bergen", "data": {"city": "Bergen", "street": None}},
            {"deliver_at": TIME_EXAMPLE},
        ],
    ),
}
