"""What became of notifications for a user, as backends and operators read it."""

from __future__ import annotations

from datetime import datetime

from adapters.contract.json_text import timestamp
from domain.model import Attempt, DeliveriesPage, DeliveryReport, UserId


def deliveries_object(user: UserId, page: DeliveriesPage) -> dict[str, object]:
    """``{user, deliveries: [...], next}``"""
    return {
        "user": user,
        "deliveries": [_report(report) for report in page.reports],
        "next": str(page.next) if page.next is not None else None,
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
