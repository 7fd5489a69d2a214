"""What is asked over HTTP, as OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from adapters.api.bodies import NDJSON
from adapters.api.description import schemas
from adapters.api.description.problems import bare_example, example
from adapters.api.description.schemas import SCHEMAS, Schema, components, name, ref
from adapters.api.inbox import ACTIONS, ForeignOrigin
from adapters.api.notifications import MERGE_PATCH
from adapters.api.notifications import READ_SCOPE as NOTIFICATIONS_READ
from adapters.api.notifications import WRITE_SCOPE as NOTIFICATIONS_WRITE
from adapters.api.publish import JSON
from adapters.api.user_inboxes import READ_SCOPE as INBOX_READ
from adapters.api.user_inboxes import WRITE_SCOPE as INBOX_WRITE
from adapters.api.users import InvalidUser
from adapters.contract.json_text import InvalidJson
from adapters.http.bearer import challenge
from adapters.http.problems import MEDIA_TYPE, BodyTooLarge, MethodNotAllowed, UnsupportedMediaType, status_of
from domain.errors import (
    DisconnectedByOperator,
    Forbidden,
    InvalidArgument,
    InvalidPublication,
    InvalidToken,
    KeysUnavailable,
    NotificationExpired,
    NotificationRecalled,
    PublicationConflict,
    PublicationTooLarge,
    RateLimited,
    ShuttingDown,
    StoreUnavailable,
    SynkroneError,
    TokenExpired,
    TokenRevoked,
    TooManyConnections,
    TooManyRestrictions,
    Unauthenticated,
    Unavailable,
    UnknownNotification,
    UserBlocked,
)
from domain.policy import BATCH_MAX_ITEMS, BATCH_MAX_RECIPIENTS

Operation: TypeAlias = dict[str, Any]
Errors: TypeAlias = Sequence[type[SynkroneError]]

_OF_CALLERS: Final[Errors] = (Unauthenticated, Forbidden, KeysUnavailable)
_OF_BODIES: Final[Errors] = (InvalidJson, BodyTooLarge, UnsupportedMediaType)
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
_BACKEND: Final[Sequence[Mapping[str, Sequence[str]]]] = [{"backend": []}]
_USER: Final[Sequence[Mapping[str, Sequence[str]]]] = [{"user": []}]
_TEXT: Final[Schema] = {"type": "string"}

_CHALLENGE: Final = challenge()[0]
_HEADERS: Final[Mapping[str, Schema]] = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    _CHALLENGE: {"description": "RFC 6750, section 3.", "schema": _TEXT},
    "Allow": {"description": "The methods there are.", "schema": _TEXT},
    "Accept-Encoding": {"description": "Where the body was compressed.", "schema": _TEXT},
    "ETag": {"schema": _TEXT},
    "Cache-Control": {"schema": _TEXT},
}
_HEADERS_OF: Final[Mapping[int, Sequence[str]]] = {
    status_of(Unauthenticated()): (_CHALLENGE,),
    status_of(MethodNotAllowed()): ("Allow",),
    status_of(UnsupportedMediaType()): ("Accept-Encoding",),
    status_of(Unavailable()): ("Retry-After",),
    status_of(RateLimited()): ("Retry-After",),
}


def openapi(version: str, *, pages: Sequence[str]) -> dict[str, Any]:
    """The document. ``pages`` are the paths of files, each answered with its file."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "synkrone-socket",
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": (
                "Backends publish and look after connections; users read and mark their inbox, and follow it by a "
                "stream of Server-Sent Events. What is said over Socket.IO is in `/asyncapi.json`.\n\n"
                "Failures are `application/problem+json` with a stable `code`. Ignore members that you do not know."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "backends", "description": "With an API key, or a service's access token (RFC 9068)."},
            {"name": "users", "description": "With the user's own token. Pages of `cors_origins` may use them."},
            {"name": "operators", "description": "Without a credential."},
            {"name": "files", "description": "What pages and people load, from every origin."},
        ],
        "paths": {**_of_backends(), **_of_users(), **_of_operators(), **{path: _file(path) for path in pages}},
        "components": {
            "schemas": components(),
            "headers": dict(_HEADERS),
            "securitySchemes": {
                "backend": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"An API key or an access token. Scopes: {', '.join(schemas.SCOPES)}.",
                },
                "user": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A user's token."},
            },
        },
    }


def _of_backends() -> dict[str, Any]:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "For callers without ids of their own: the same key with the same content is stored once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\u0020-\u007e\u0080-\u00ff]+$"},
    }
    publishing: Errors = (
        *_OF_CALLERS,
        *_OF_BODIES,
        InvalidArgument,
        InvalidPublication,
        PublicationConflict,
        PublicationTooLarge,
        RateLimited,
        StoreUnavailable,
        ShuttingDown,
    )
    user = {"name": "id", "in": "path", "required": True, "schema": name("The user's id.")}
    return {
        "/v1/notifications": {
            "post": _operation(
                "publish",
                "Publish a notification",
                "Stored when it is answered, and delivered to whoever is connected. Needs the scope `publish`.",
                tag="backends",
                security=_BACKEND,
                parameters=[key],
                body={JSON: ref("Publication")},
                answers={HTTPStatus.CREATED: "Published"},
                errors=publishing,
            )
        },
        "/v1/notifications/batch": {
            "post": _operation(
                "publishBatch",
                "Publish a batch",
                f"All or none of up to {BATCH_MAX_ITEMS:,} notifications, which name at most {BATCH_MAX_RECIPIENTS:,} "
                "recipients in all. Needs the scope `publish`.",
                tag="backends",
                security=_BACKEND,
                parameters=[key],
                body={
                    JSON: ref("Batch"),
                    NDJSON: {"type": "string", "description": "A `Publication` a line."},
                },
                answers={HTTPStatus.OK: "BatchPublished"},
                errors=publishing,
            )
        },
        **_of_reports(),
        **_of_user_inboxes(user),
        "/v1/users/{id}/connections": {
            "parameters": [user],
            "get": _operation(
                "connections",
                "A user's live connections",
                "Needs the scope `connections:read`.",
                tag="backends",
                security=_BACKEND,
                answers={HTTPStatus.OK: "Connections"},
                errors=(*_OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
            "delete": _operation(
                "disconnect",
                "Close a user's connections",
                "Whoever holds a good token may connect again: closing is no ban. Needs the scope `connections:write`.",
                tag="backends",
                security=_BACKEND,
                parameters=[
                    {
                        "name": "reconnect",
                        "in": "query",
                        "description": "Whether the clients are to come back by themselves.",
                        "schema": {"type": "boolean", "default": False},
                    }
                ],
                answers={HTTPStatus.OK: "Disconnected"},
                errors=(*_OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
        },
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
            "get": _operation(
                "deliveries",
                "Why a user got a notification, or did not",
                "What became of one, or of those since a time, newest first. With `id` and `since` both hold. "
                "Needs the scope `deliveries:read`.",
                tag="backends",
                security=_BACKEND,
                parameters=[
                    {"name": "id", "in": "query", "description": "Of one notification.", "schema": schemas.IDENTIFIER},
                    {
                        "name": "since",
                        "in": "query",
                        "description": "Of those that were stored from then on.",
                        "schema": {"type": "string", "format": "date-time"},
                    },
                    {"name": "page", "in": "query", "schema": schemas.PAGE},
                ],
                answers={HTTPStatus.OK: "Deliveries"},
                errors=(*_OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
        },
    }


def _of_reports() -> dict[str, Any]:
    identifier = {"name": "id", "in": "path", "required": True, "schema": schemas.IDENTIFIER}
    needs = f"Needs the scope `{NOTIFICATIONS_READ}`."
    return {
        "/v1/notifications/{id}": {
            "parameters": [identifier],
            "get": _operation(
                "notification",
                "What became of a notification",
                f"What was published, for whom, and how many received, saw, read, archived and deleted it. {needs}",
                tag="backends",
                security=_BACKEND,
                answers={HTTPStatus.OK: "NotificationReport"},
                errors=(*_OF_CALLERS, UnknownNotification, RateLimited, StoreUnavailable),
            ),
            "patch": _operation(
                "revise",
                "Give a notification other content",
                "Its place in lists and what users have done to it stay. Whoever has it is given the new content, by "
                "`notification.revised`, and whoever has not is given nothing else. Needs the scope "
                f"`{NOTIFICATIONS_WRITE}`.",
                tag="backends",
                security=_BACKEND,
                body={MERGE_PATCH: ref("Patch"), JSON: ref("Patch")},
                answers={HTTPStatus.OK: "Amended"},
                errors=(
                    *_OF_CALLERS,
                    *_OF_BODIES,
                    UnknownNotification,
                    NotificationRecalled,
                    NotificationExpired,
                    InvalidPublication,
                    PublicationTooLarge,
                    RateLimited,
                    StoreUnavailable,
                ),
            ),
            "delete": _operation(
                "recall",
                "Take a notification back",
                "Whoever has it is told, by `notification.deleted`; whoever has not received it never does. It leaves "
                f"lists and counts, and its content is erased. Needs the scope `{NOTIFICATIONS_WRITE}`.",
                tag="backends",
                security=_BACKEND,
                answers={HTTPStatus.OK: "Amended"},
                errors=(*_OF_CALLERS, UnknownNotification, NotificationRecalled, StoreUnavailable),
            ),
        },
        "/v1/notifications/{id}/recipients": {
            "parameters": [identifier],
            "get": _operation(
                "recipients",
                "What became of a notification with each recipient",
                needs,
                tag="backends",
                security=_BACKEND,
                parameters=[{"name": "page", "in": "query", "schema": schemas.PLACE}],
                answers={HTTPStatus.OK: "Recipients"},
                errors=(*_OF_CALLERS, InvalidArgument, UnknownNotification, StoreUnavailable),
            ),
        },
    }


def _of_user_inboxes(user: Schema) -> dict[str, Any]:
    role = {
        "name": "role",
        "in": "query",
        "schema": name("A role in which the user has come; without it what they have in any of them."),
    }
    errors: Errors = (*_OF_CALLERS, InvalidUser, InvalidArgument, RateLimited, StoreUnavailable)
    statuses: Mapping[type[SynkroneError], HTTPStatus] = {InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY}
    reads, writes = f"Needs the scope `{INBOX_READ}`.", f"Needs the scope `{INBOX_WRITE}`."
    return {
        "/v1/users/{id}/inbox": {
            "parameters": [user],
            "get": _operation(
                "listInboxOf",
                "A user's inbox",
                f"The newest first. {reads}",
                tag="backends",
                security=_BACKEND,
                parameters=[*_list_parameters(), role],
                answers={HTTPStatus.OK: "Listing"},
                errors=errors,
                statuses=statuses,
            ),
        },
        "/v1/users/{id}/inbox/count": {
            "parameters": [user],
            "get": _operation(
                "countInboxOf",
                "What is unread and unseen of a user",
                f"Of what is not archived. {reads}",
                tag="backends",
                security=_BACKEND,
                parameters=[role],
                answers={HTTPStatus.OK: "Counted"},
                errors=errors,
                statuses=statuses,
            ),
        },
        **{
            f"/v1/users/{{id}}/inbox/{action}": {
                "parameters": [user],
                "post": _operation(
                    f"{_marking(action)}Of",
                    f"{_mark_summary(action)}, for a user",
                    f"On every device of the user. {writes}",
                    tag="backends",
                    security=_BACKEND,
                    parameters=[role],
                    body=_mark_body(action),
                    is_body_required=action != "read_all",
                    answers={HTTPStatus.OK: "Marked"},
                    errors=(*errors, *_OF_BODIES),
                    statuses=statuses,
                ),
            }
            for action in ACTIONS
        },
    }


def _list_parameters() -> list[Schema]:
    query = SCHEMAS["ListRequest"]["properties"]
    return [{"name": member, "in": "query", "schema": schema} for member, schema in query.items()]


def _marking(action: str) -> str:
    """The identifier of the operation."""
    return f"{action}Notifications" if action != "read_all" else "readAllNotifications"


def _mark_summary(action: str) -> str:
    return "Mark everything as read" if action == "read_all" else f"Mark as: {action}"


def _mark_body(action: str) -> Mapping[str, Schema]:
    return {JSON: _or_null("MarksOfAll") if action == "read_all" else ref("Marks")}


def _restriction(
    identifier: str, summary: str, description: str, *, answer: str, body: Schema | None = None, errors: Errors = ()
) -> Operation:
    of_body: Errors = (*_OF_BODIES, InvalidArgument) if body is not None else ()
    return _operation(
        identifier,
        summary,
        f"{description} Needs the scope `users:write`.".strip(),
        tag="backends",
        security=_BACKEND,
        body={JSON: body} if body is not None else None,
        is_body_required=False,
        answers={HTTPStatus.OK: answer},
        errors=(*_OF_CALLERS, InvalidUser, *of_body, *errors, StoreUnavailable),
        statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
    )


def _of_users() -> dict[str, Any]:
    marks = {
        f"/v1/inbox/{action}": {
            "post": _operation(
                _marking(action),
                _mark_summary(action),
                "On every device of the user.",
                tag="users",
                security=_USER,
                body=_mark_body(action),
                is_body_required=action != "read_all",
                answers={HTTPStatus.OK: "Marked"},
                errors=(*_OF_USERS, *_OF_BODIES, InvalidArgument),
                statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
            )
        }
        for action in ACTIONS
    }
    return {
        "/v1/inbox": {
            "get": _operation(
                "listInbox",
                "The user's inbox",
                "The newest first. A client that goes on from `as_of` misses nothing.",
                tag="users",
                security=_USER,
                parameters=_list_parameters(),
                answers={HTTPStatus.OK: "Listing"},
                errors=(*_OF_USERS, InvalidArgument),
                statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
            )
        },
        "/v1/inbox/count": {
            "get": _operation(
                "countInbox",
                "What is unread and unseen",
                "Of what is not archived.",
                tag="users",
                security=_USER,
                answers={HTTPStatus.OK: "Counted"},
                errors=_OF_USERS,
            )
        },
        **marks,
        "/v1/stream": {"get": _stream()},
    }


def _stream() -> Operation:
    cursor = schemas.CURSOR
    operation = _operation(
        "stream",
        "Follow the inbox",
        "Server-Sent Events: the events of `/asyncapi.json`, each with its cursor as its id.",
        tag="users",
        security=_USER,
        parameters=[
            {"name": "Last-Event-ID", "in": "header", "schema": cursor},
            {"name": "cursor", "in": "query", "schema": cursor, "description": "Counts until the client has its own."},
            {"name": "device", "in": "query", "schema": schemas.DEVICE},
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
    operation["responses"]["200"] = {
        "description": "The stream. It ends with `session.closing`, or with the connection.",
        "content": {"text/event-stream": {"schema": _TEXT, "example": event}},
    }
    return operation


def _of_operators() -> dict[str, Any]:
    return {
        "/health/live": {
            "get": _operation(
                "live",
                "Whether the process answers",
                "",
                tag="operators",
                answers={HTTPStatus.OK: "Live"},
            )
        },
        "/health/ready": {
            "get": _operation(
                "ready",
                "Whether it can serve",
                "",
                tag="operators",
                answers={HTTPStatus.OK: "Ready", HTTPStatus.SERVICE_UNAVAILABLE: "NotReady"},
            )
        },
    }


def _file(path: str) -> dict[str, Any]:
    operation = _operation("file" + path.replace("/", "_").replace(".", "_"), path, "", tag="files", answers={})
    headers = {header: {"$ref": f"#/components/headers/{header}"} for header in ("ETag", "Cache-Control")}
    operation["parameters"] = [{"name": "If-None-Match", "in": "header", "schema": _TEXT}]
    operation["responses"]["200"] = {"description": "The file.", "headers": headers, "content": {"*/*": {}}}
    operation["responses"]["304"] = {"description": "It is what the client has.", "headers": headers}
    return {"get": operation}


def _operation(
    identifier: str,
    summary: str,
    description: str,
    *,
    tag: str,
    answers: Mapping[HTTPStatus, str],
    errors: Errors = (),
    statuses: Mapping[type[SynkroneError], HTTPStatus] | None = None,
    security: Sequence[Mapping[str, Sequence[str]]] = (),
    parameters: Sequence[Schema] = (),
    body: Mapping[str, Schema] | None = None,
    is_body_required: bool = True,
) -> Operation:
    """``answers`` are the names of their schemas; ``statuses`` are of errors that this route answers in its own way."""
    responses: dict[str, Any] = {
        str(int(status)): {
            "description": SCHEMAS[schema].get("description", status.phrase),
            "content": {JSON: {"schema": ref(schema), "examples": _examples(schema)}},
        }
        for status, schema in answers.items()
    }
    responses |= _failures(errors, statuses or {})
    operation: Operation = {
        "operationId": identifier,
        "summary": summary,
        "tags": [tag],
        "security": list(security),
        "responses": responses,
    }
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        content = {
            media_type: {"schema": schema, "examples": _body_examples(media_type, schema)}
            for media_type, schema in body.items()
        }
        operation["requestBody"] = {"required": is_body_required, "content": content}
    return operation


def _failures(errors: Errors, statuses: Mapping[type[SynkroneError], HTTPStatus]) -> dict[str, Any]:
    by_status: dict[int, dict[str, Any]] = {}
    for error in errors:
        status = int(statuses.get(error) or _status(error))
        by_status.setdefault(status, {})[error.code] = {"summary": error.title, "value": example(error, status)}
    failures = {str(status): _problem(status, by_status[status]) for status in sorted(by_status)}
    bare = {status.phrase.lower().replace(" ", "_"): {"value": bare_example(status)} for status in _ANY_ROUTE}
    return failures | {"default": {**_problem(0, bare), "description": "Any other failure of the request, or of ours."}}


_ANY_ROUTE: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.INTERNAL_SERVER_ERROR)


def _status(error: type[SynkroneError]) -> HTTPStatus:
    return HTTPStatus.FORBIDDEN if error is ForeignOrigin else status_of(error.__new__(error))


def _problem(status: int, examples: Mapping[str, Any]) -> dict[str, Any]:
    headers = {header: {"$ref": f"#/components/headers/{header}"} for header in _HEADERS_OF.get(status, ())}
    return {
        "description": ", ".join(f"`{code}`" for code in examples),
        **({"headers": headers} if headers else {}),
        "content": {MEDIA_TYPE: {"schema": ref("Problem"), "examples": dict(examples)}},
    }


def _examples(schema: str) -> dict[str, Any]:
    return {f"example{number}": {"value": value} for number, value in enumerate(SCHEMAS[schema]["examples"], start=1)}


def _body_examples(media_type: str, schema: Schema) -> dict[str, Any]:
    if media_type == NDJSON:
        return {"lines": {"value": '{"to":{"user":"42"},"type":"hello"}\n{"to":{"everyone":true},"type":"hello"}\n'}}
    (named, *_) = schema.get("anyOf", [schema])
    return _examples(named["$ref"].rpartition("/")[2])


def _or_null(schema: str) -> Schema:
    return {"anyOf": [ref(schema), {"type": "null"}]}
