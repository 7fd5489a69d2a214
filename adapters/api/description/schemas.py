"""The public JSON as JSON Schema (2020-12), with the bounds of what reads and writes it, and an example of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.api.description.client_schemas import CLIENTS
from adapters.api.description.operator_schemas import OPERATORS
from adapters.api.description.problems import codes
from adapters.api.description.publishing_schemas import PUBLISHING
from adapters.api.description.schema_parts import Schema
from adapters.api.erasures import ERASE_SCOPE, EXPORT_SCOPE
from adapters.api.notifications import READ_SCOPE as NOTIFICATIONS_READ
from adapters.api.notifications import WRITE_SCOPE as NOTIFICATIONS_WRITE
from adapters.api.publish import SCOPE as PUBLISH
from adapters.api.restrictions import SCOPE as USERS_WRITE
from adapters.api.topics import SCOPE as TOPICS_WRITE
from adapters.api.user_inboxes import READ_SCOPE as INBOX_READ
from adapters.api.user_inboxes import WRITE_SCOPE as INBOX_WRITE

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


def components() -> dict[str, Schema]:
    """All of them, with the codes that there are."""
    code = {
        "type": "string",
        "description": "Stable: what programs decide by.",
        "examples": [each.code for each in codes()],
    }
    problem = SCHEMAS["Problem"]
    return {**SCHEMAS, "Problem": {**problem, "properties": {**problem["properties"], "code": code}}}


SCHEMAS: Final[Mapping[str, Schema]] = {**PUBLISHING, **CLIENTS, **OPERATORS}
