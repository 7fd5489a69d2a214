"""What users ask, and the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from adapters.api.description.inbox_parameters import list_parameters, mark_body, mark_summary, marking
from adapters.api.description.operations import OF_BODIES, TEXT, Errors, Operation, operation
from adapters.api.description.schema_parts import CURSOR, DEVICE
from adapters.api.inbox import ACTIONS, ForeignOrigin
from domain.errors import (
    DisconnectedByOperator,
    Forbidden,
    InvalidArgument,
    InvalidToken,
    KeysUnavailable,
    RateLimited,
    ShuttingDown,
    StoreUnavailable,
    TokenExpired,
    TokenRevoked,
    TooManyConnections,
    Unauthenticated,
    UserBlocked,
)

_OF_USERS: Final[Errors] = (
    Unauthenticated,
    InvalidToken,
    TokenExpired,
    UserBlocked,
    RateLimited,
    ForeignOrigin,
    KeysUnavailable,
    StoreUnavailable,
    ShuttingDown,
)
_USER: Final[Sequence[Mapping[str, Sequence[str]]]] = [{"user": []}]


def paths_of_users() -> dict[str, Any]:
    marks = {
        f"/v1/inbox/{action}": {
            "post": operation(
                marking(action),
                mark_summary(action),
                "On every device of the user.",
                tag="users",
                security=_USER,
                body=mark_body(action),
                is_body_required=action != "read_all",
                answers={HTTPStatus.OK: "Marked"},
                errors=(*_OF_USERS, *OF_BODIES, InvalidArgument),
                statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
            )
        }
        for action in ACTIONS
    }
    return {
        "/v1/inbox": {
            "get": operation(
                "listInbox",
                "The user's inbox",
                "The newest first. A client that goes on from `as_of` misses nothing.",
                tag="users",
                security=_USER,
                parameters=list_parameters(),
                answers={HTTPStatus.OK: "Listing"},
                errors=(*_OF_USERS, InvalidArgument),
                statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
            )
        },
        "/v1/inbox/count": {
            "get": operation(
                "countInbox",
                "What is unread and unseen",
                "Of what is not archived.",
                tag="users",
                security=_USER,
                answers={HTTPStatus.OK: "Counted"},
                errors=(*_OF_USERS, InvalidArgument),
                statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
            )
        },
        **marks,
        "/v1/stream": {"get": _stream()},
    }


def _stream() -> Operation:
    cursor = CURSOR
    streaming = operation(
        "stream",
        "Follow the inbox",
        "Server-Sent Events: the events of `/asyncapi.json`, each with its cursor as its id.",
        tag="users",
        security=_USER,
        parameters=[
            {"name": "Last-Event-ID", "in": "header", "schema": cursor},
            {"name": "cursor", "in": "query", "schema": cursor, "description": "Counts until the client has its own."},
            {"name": "device", "in": "query", "schema": DEVICE},
        ],
        answers={},
        errors=(
            InvalidArgument,
            InvalidToken,
            TokenExpired,
            TokenRevoked,
            UserBlocked,
            Forbidden,
            TooManyConnections,
            DisconnectedByOperator,
            KeysUnavailable,
            StoreUnavailable,
            ShuttingDown,
        ),
        statuses={
            TokenRevoked: HTTPStatus.SERVICE_UNAVAILABLE,
            TooManyConnections: HTTPStatus.FORBIDDEN,
            DisconnectedByOperator: HTTPStatus.FORBIDDEN,
        },
    )
    event = 'event: inbox.counts\ndata: {"unread":3,"unseen":1,"total":12}\n\n'
    streaming["responses"]["200"] = {
        "description": "The stream. It ends with `session.closing`, or with the connection.",
        "content": {"text/event-stream": {"schema": TEXT, "example": event}},
    }
    return streaming
