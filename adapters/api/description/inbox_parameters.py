"""What is asked of an inbox, by its user or by a backend."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.api.description.operations import or_null
from adapters.api.description.schema_parts import Schema, ref
from adapters.api.description.schemas import SCHEMAS
from adapters.api.publish import JSON


def list_parameters() -> list[Schema]:
    query = SCHEMAS["ListRequest"]["properties"]
    return [{"name": member, "in": "query", "schema": schema} for member, schema in query.items()]


def marking(action: str) -> str:
    """The identifier of the operation."""
    return f"{action}Notifications" if action != "read_all" else "readAllNotifications"


def mark_summary(action: str) -> str:
    if action == "snooze":
        return "Snooze"
    return "Mark everything as read" if action == "read_all" else f"Mark as: {action}"


def mark_body(action: str) -> Mapping[str, Schema]:
    if action == "snooze":
        return {JSON: ref("Snoozing")}
    return {JSON: or_null("MarksOfAll") if action == "read_all" else ref("Marks")}
