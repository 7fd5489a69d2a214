"""What became of notifications for a user, as backends and operators read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from adapters.contract.commands import is_page
from adapters.contract.json_text import parse_timestamp, timestamp
from domain.errors import InvalidArgument
from domain.model import Attempt, DeliveriesPage, DeliveriesQuery, DeliveryReport, ScheduledReport, UserId
from domain.policy import IDENTIFIER_RULE, is_identifier

_ARGUMENTS = ("id", "since", "page")


def read_query(given: Mapping[str, str]) -> DeliveriesQuery:
    """``id``, ``since`` and ``page``: each narrows what the others leave. Raises InvalidArgument."""
    unknown = next((name for name in given if name not in _ARGUMENTS), None)
    if unknown is not None:
        raise InvalidArgument(unknown, "is not known")
    id_, since, page = (given.get(name) for name in _ARGUMENTS)
    if id_ is not None and not is_identifier(id_):
        raise InvalidArgument("id", IDENTIFIER_RULE)
    if page is not None and not is_page(page):
        raise InvalidArgument("page", "must be what an answer gave as next")
    return DeliveriesQuery(
        id=id_,
        since=_time(since) if since is not None else None,
        before=int(page) if page is not None else None,
    )


def _time(text: str) -> datetime:
    """Raises InvalidArgument."""
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise InvalidArgument("since", str(error)) from None


def deliveries_object(user: UserId, page: DeliveriesPage) -> dict[str, object]:
    """``{user, deliveries: [...], scheduled, next}``"""
    return {
        "user": user,
        "deliveries": [_report(report) for report in page.reports],
        "scheduled": _scheduled(page.scheduled) if page.scheduled is not None else None,
        "next": str(page.next) if page.next is not None else None,
    }


def _scheduled(report: ScheduledReport) -> dict[str, object]:
    notification = report.notification
    return {
        "id": notification.id,
        "state": notification.state.value,
        "deliver_at": timestamp(notification.due),
        "audience": notification.audience.kind.value,
        "sentence": report.sentence,
    }


def _report(report: DeliveryReport) -> dict[str, object]:
    notification = report.notification
    return {
        "id": notification.id,
        "cursor": str(notification.position),
        "stored_at": timestamp(notification.stored_at),
        "audience": notification.audience.value,
        "outcome": report.outcome.value,
        "sentence": report.sentence,
        "connections": [_attempt(attempt) for attempt in report.attempts],
        "read_at": _or_null(notification.read_at),
        "read_by": notification.read_by,
    }


def _attempt(attempt: Attempt) -> dict[str, object]:
    connection = attempt.connection
    return {
        "since": timestamp(connection.since),
        "until": _or_null(connection.until),
        "device": connection.device,
        "transport": connection.transport,
        "ended": connection.ended,
        "sent_at": _or_null(attempt.sent_at),
        "received_at": _or_null(attempt.received_at),
    }


def _or_null(at: datetime | None) -> str | None:
    return timestamp(at) if at is not None else None
