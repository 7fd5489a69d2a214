"""What backends ask."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from adapters.api.bodies import NDJSON
from adapters.api.description.erasure_paths import paths_of_erasing
from adapters.api.description.inbox_parameters import list_parameters, mark_body, mark_summary, marking
from adapters.api.description.operations import BACKEND, OF_BODIES, OF_CALLERS, Errors, Operation, operation
from adapters.api.description.schema_parts import IDENTIFIER, PAGE, PLACE, Schema, name, ref
from adapters.api.inbox import ACTIONS
from adapters.api.notifications import MERGE_PATCH
from adapters.api.notifications import READ_SCOPE as NOTIFICATIONS_READ
from adapters.api.notifications import WRITE_SCOPE as NOTIFICATIONS_WRITE
from adapters.api.publish import JSON
from adapters.api.topics import SCOPE as TOPICS_WRITE
from adapters.api.user_inboxes import READ_SCOPE as INBOX_READ
from adapters.api.user_inboxes import WRITE_SCOPE as INBOX_WRITE
from adapters.api.users import InvalidUser
from domain.errors import (
    InvalidArgument,
    InvalidPublication,
    NotificationDeleted,
    NotificationExpired,
    NotificationRecalled,
    NotificationSent,
    PublicationConflict,
    PublicationTooLarge,
    RateLimited,
    ShuttingDown,
    StoreUnavailable,
    SynkroneError,
    TooManyRestrictions,
    TooManyScheduled,
    TooManyTopics,
    UnknownNotification,
)
from domain.policy import BATCH_MAX_ITEMS, BATCH_MAX_RECIPIENTS


def _of_topics() -> dict[str, Any]:
    topic = {"name": "topic", "in": "path", "required": True, "schema": name("The topic's name.")}
    user = {"name": "user", "in": "path", "required": True, "schema": name("The user's id.")}

    def changing(
        identifier: str,
        summary: str,
        description: str,
        *,
        body: Mapping[str, Schema] | None = None,
        of_body: Errors = (),
    ) -> Operation:
        return operation(
            identifier,
            summary,
            f"{description} Needs the scope `{TOPICS_WRITE}`.",
            tag="backends",
            security=BACKEND,
            body=body,
            is_body_required=False,
            answers={HTTPStatus.NO_CONTENT: None},
            errors=(
                *OF_CALLERS,
                InvalidUser,
                InvalidArgument,
                *of_body,
                TooManyTopics,
                RateLimited,
                StoreUnavailable,
            ),
            statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
        )

    return {
        "/v1/topics/{topic}/members": {
            "parameters": [topic],
            "post": changing(
                "changeMembers",
                "Have users in a topic, and others not",
                "All or none. Who is already as asked stays so.",
                body={JSON: ref("Members")},
                of_body=OF_BODIES,
            ),
        },
        "/v1/topics/{topic}/members/{user}": {
            "parameters": [topic, user],
            "put": changing(
                "addMember",
                "Have a user in a topic",
                "They are given what is published for it from now on, and nothing of before.",
            ),
            "delete": changing(
                "removeMember",
                "Have a user in a topic no more",
                "They keep what they were given while they were in it.",
            ),
        },
    }


def paths_of_backends() -> dict[str, Any]:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "For callers without ids of their own: the same key with the same content is stored once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\u0020-\u007e\u0080-\u00ff]+$"},
    }
    publishing: Errors = (
        *OF_CALLERS,
        *OF_BODIES,
        InvalidArgument,
        InvalidPublication,
        PublicationConflict,
        PublicationTooLarge,
        TooManyScheduled,
        RateLimited,
        StoreUnavailable,
        ShuttingDown,
    )
    user = {"name": "id", "in": "path", "required": True, "schema": name("The user's id.")}
    role = {
        "name": "role",
        "in": "query",
        "schema": name(
            "A role in which the user has come: what they have in the sets of roles that hold it. Without it what they "
            "have in any."
        ),
    }
    return {
        "/v1/notifications": {
            "post": operation(
                "publish",
                "Publish a notification",
                "Stored when it is answered, and delivered to whoever is connected. Needs the scope `publish`.",
                tag="backends",
                security=BACKEND,
                parameters=[key],
                body={JSON: ref("Publication")},
                answers={HTTPStatus.CREATED: "Published"},
                errors=publishing,
            )
        },
        "/v1/notifications/batch": {
            "post": operation(
                "publishBatch",
                "Publish a batch",
                f"All or none of up to {BATCH_MAX_ITEMS:,} notifications, which name at most {BATCH_MAX_RECIPIENTS:,} "
                "recipients in all. Needs the scope `publish`.",
                tag="backends",
                security=BACKEND,
                parameters=[key],
                body={
                    JSON: ref("Batch"),
                    NDJSON: {"type": "string", "description": "A `Publication` a line."},
                },
                answers={HTTPStatus.OK: "BatchPublished"},
                errors=publishing,
            )
        },
        **_of_topics(),
        **_of_reports(),
        **_of_user_inboxes(user, role),
        "/v1/users/{id}/connections": {
            "parameters": [user],
            "get": operation(
                "connections",
                "A user's live connections",
                "Needs the scope `connections:read`.",
                tag="backends",
                security=BACKEND,
                answers={HTTPStatus.OK: "Connections"},
                errors=(*OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
            "delete": operation(
                "disconnect",
                "Close a user's connections",
                "Whoever holds a good token may connect again: closing is no ban. Needs the scope `connections:write`.",
                tag="backends",
                security=BACKEND,
                parameters=[
                    {
                        "name": "reconnect",
                        "in": "query",
                        "description": "Whether the clients are to come back by themselves.",
                        "schema": {"type": "boolean", "default": False},
                    }
                ],
                answers={HTTPStatus.OK: "Disconnected"},
                errors=(*OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
        },
        **paths_of_erasing(user, role),
        "/v1/users/{id}/revoke": {
            "parameters": [user],
            "post": _restriction(
                "revokeTokens",
                "Revoke a user's tokens",
                "Those that were issued at or before a time are refused everywhere, and so are those that do not say "
                "when they were. Connections that came with one end, and come back with another.",
                answer="Revoked",
                body=ref("Revocation"),
                errors=(TooManyRestrictions,),
            ),
        },
        "/v1/users/{id}/block": {
            "parameters": [user],
            "get": _restriction("blockOf", "Whether a user is blocked", "", answer="Blocked"),
            "post": _restriction(
                "block",
                "Block a user",
                "Every token of the user is refused, until a time or until the block is taken back, and their clients "
                "stay away.",
                answer="Blocked",
                body=ref("Block"),
                errors=(TooManyRestrictions,),
            ),
            "delete": _restriction("unblock", "Take a block back", "", answer="Blocked"),
        },
        "/v1/users/{id}/deliveries": {
            "parameters": [user],
            "get": operation(
                "deliveries",
                "Why a user got a notification, or did not",
                "What became of one, or of those since a time that were neither taken back nor replaced, newest first. "
                "With `id` and `since` both hold. Needs the scope `deliveries:read`.",
                tag="backends",
                security=BACKEND,
                parameters=[
                    {"name": "id", "in": "query", "description": "Of one notification.", "schema": IDENTIFIER},
                    {
                        "name": "since",
                        "in": "query",
                        "description": "Of those that were stored from then on.",
                        "schema": {"type": "string", "format": "date-time"},
                    },
                    {"name": "page", "in": "query", "schema": PAGE},
                ],
                answers={HTTPStatus.OK: "Deliveries"},
                errors=(*OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
        },
    }


def _of_reports() -> dict[str, Any]:
    identifier = {"name": "id", "in": "path", "required": True, "schema": IDENTIFIER}
    needs = f"Needs the scope `{NOTIFICATIONS_READ}`."
    return {
        "/v1/notifications/{id}": {
            "parameters": [identifier],
            "get": operation(
                "notification",
                "What became of a notification",
                f"What was published, for whom, and how many received, saw, read, archived and deleted it. {needs}",
                tag="backends",
                security=BACKEND,
                answers={HTTPStatus.OK: "NotificationReport"},
                errors=(*OF_CALLERS, InvalidArgument, UnknownNotification, RateLimited, StoreUnavailable),
            ),
            "patch": operation(
                "revise",
                "Give a notification other content",
                "Its place in lists and what users have done to it stay. Whoever has it is given the new content, by "
                "`notification.revised`, and whoever has not is given nothing else. One that was not sent yet can be "
                f"given another time as well. Needs the scope `{NOTIFICATIONS_WRITE}`.",
                tag="backends",
                security=BACKEND,
                body={MERGE_PATCH: ref("Patch"), JSON: ref("Patch")},
                answers={HTTPStatus.OK: "Amended"},
                errors=(
                    *OF_CALLERS,
                    *OF_BODIES,
                    InvalidArgument,
                    UnknownNotification,
                    NotificationRecalled,
                    NotificationDeleted,
                    NotificationExpired,
                    NotificationSent,
                    InvalidPublication,
                    PublicationTooLarge,
                    RateLimited,
                    StoreUnavailable,
                ),
            ),
            "delete": operation(
                "recall",
                "Take a notification back",
                "Whoever has it is told, by `notification.deleted`; whoever has not received it never does. It leaves "
                f"lists and counts, and its content is erased. Needs the scope `{NOTIFICATIONS_WRITE}`.",
                tag="backends",
                security=BACKEND,
                answers={HTTPStatus.OK: "Amended"},
                errors=(
                    *OF_CALLERS,
                    InvalidArgument,
                    UnknownNotification,
                    NotificationRecalled,
                    RateLimited,
                    StoreUnavailable,
                ),
            ),
        },
        "/v1/notifications/{id}/recipients": {
            "parameters": [identifier],
            "get": operation(
                "recipients",
                "What became of a notification with each recipient",
                "Of one that was not sent yet, or was cancelled, these are the users `to` names, and for a role, a "
                f"topic or everyone there are none. {needs}",
                tag="backends",
                security=BACKEND,
                parameters=[{"name": "page", "in": "query", "schema": PLACE}],
                answers={HTTPStatus.OK: "Recipients"},
                errors=(*OF_CALLERS, InvalidArgument, UnknownNotification, StoreUnavailable),
            ),
        },
    }


def _of_user_inboxes(user: Schema, role: Schema) -> dict[str, Any]:
    errors: Errors = (*OF_CALLERS, InvalidUser, InvalidArgument, RateLimited, StoreUnavailable)
    statuses: Mapping[type[SynkroneError], HTTPStatus] = {InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY}
    reads, writes = f"Needs the scope `{INBOX_READ}`.", f"Needs the scope `{INBOX_WRITE}`."
    return {
        "/v1/users/{id}/inbox": {
            "parameters": [user],
            "get": operation(
                "listInboxOf",
                "A user's inbox",
                f"The newest first. {reads}",
                tag="backends",
                security=BACKEND,
                parameters=[*list_parameters(), role],
                answers={HTTPStatus.OK: "Listing"},
                errors=errors,
                statuses=statuses,
            ),
        },
        "/v1/users/{id}/inbox/count": {
            "parameters": [user],
            "get": operation(
                "countInboxOf",
                "What is unread and unseen of a user",
                f"Of what is not archived. {reads}",
                tag="backends",
                security=BACKEND,
                parameters=[role],
                answers={HTTPStatus.OK: "Counted"},
                errors=errors,
                statuses=statuses,
            ),
        },
        **{
            f"/v1/users/{{id}}/inbox/{action}": {
                "parameters": [user],
                "post": operation(
                    f"{marking(action)}Of",
                    f"{mark_summary(action)}, for a user",
                    f"On every device of the user. {writes}",
                    tag="backends",
                    security=BACKEND,
                    parameters=[role],
                    body=mark_body(action),
                    is_body_required=action != "read_all",
                    answers={HTTPStatus.OK: "Marked"},
                    errors=(*errors, *OF_BODIES),
                    statuses=statuses,
                ),
            }
            for action in ACTIONS
        },
    }


def _restriction(
    identifier: str, summary: str, description: str, *, answer: str, body: Schema | None = None, errors: Errors = ()
) -> Operation:
    of_body: Errors = OF_BODIES if body is not None else ()
    return operation(
        identifier,
        summary,
        f"{description} Needs the scope `users:write`.".strip(),
        tag="backends",
        security=BACKEND,
        body={JSON: body} if body is not None else None,
        is_body_required=False,
        answers={HTTPStatus.OK: answer},
        errors=(*OF_CALLERS, InvalidUser, InvalidArgument, *of_body, *errors, StoreUnavailable),
        statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
    )
