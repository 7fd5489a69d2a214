"""Erasing a user, and giving them what is stored of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from adapters.api.bodies import NDJSON
from adapters.api.description.operations import BACKEND, OF_CALLERS, operation
from adapters.api.description.schema_parts import IDENTIFIER, Schema
from adapters.api.erasures import ERASE_SCOPE, EXPORT_SCOPE
from adapters.api.users import InvalidUser
from domain.errors import InvalidArgument, RateLimited, StoreUnavailable, UnknownErasure


def paths_of_erasing(user: Schema, role: Schema) -> dict[str, Any]:
    """``user`` is the parameter of the path, ``role`` that of what is asked about their inbox."""
    erasing = f"Needs the scope `{ERASE_SCOPE}`."
    exported = operation(
        "exportUser",
        "What is stored of a user",
        "Lines of JSON: the first is about the user, and says in which topics they are and were. Each that follows "
        "holds a notification with its state, the newest first: those that they have snoozed, and then their inbox "
        "in all roles in which they have come. "
        f"Needs the scope `{EXPORT_SCOPE}`.",
        tag="backends",
        security=BACKEND,
        parameters=[role],
        answers={},
        errors=(*OF_CALLERS, InvalidUser, InvalidArgument, RateLimited, StoreUnavailable),
        statuses={InvalidArgument: HTTPStatus.UNPROCESSABLE_ENTITY},
    )
    lines = {"type": "string", "description": "A JSON object a line."}
    exported["responses"]["200"] = {"description": "OK", "content": {NDJSON: {"schema": lines}}}
    return {
        "/v1/users/{id}": {
            "parameters": [user],
            "delete": operation(
                "eraseUser",
                "Erase a user",
                "They have nothing from then on, and whoever comes back is a new user. The bytes go in small steps "
                "behind the answer: what is stored of them before it is gone once that erasure is done. If they are "
                "going already, and nothing of the user has come since, the erasure that runs is answered with. "
                f"{erasing}",
                tag="backends",
                security=BACKEND,
                answers={HTTPStatus.ACCEPTED: "Erasure"},
                errors=(*OF_CALLERS, InvalidArgument, StoreUnavailable),
            ),
        },
        "/v1/users/{id}/export": {"parameters": [user], "get": exported},
        "/v1/erasures/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": IDENTIFIER}],
            "get": operation(
                "erasure",
                "How far the erasure of a user is",
                f"`user` is named only while it runs. {erasing}",
                tag="backends",
                security=BACKEND,
                answers={HTTPStatus.OK: "Erasure"},
                errors=(*OF_CALLERS, InvalidArgument, UnknownErasure, StoreUnavailable),
            ),
        },
    }
