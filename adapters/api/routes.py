"""The HTTP routes beside the transport's own."""

from __future__ import annotations

from typing import Any, TypeAlias

import tornado.web

from adapters.api.handlers import Backend
from adapters.api.health import LiveHandler, Readiness, ReadyHandler
from adapters.api.publish import BatchHandler, NotificationsHandler

Route: TypeAlias = tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]


def api_routes(*, backend: Backend, readiness: Readiness, publish_bytes: int, batch_bytes: int) -> list[Route]:
    return [
        (r"/v1/notifications", NotificationsHandler, {"backend": backend, "max_body": publish_bytes}),
        (r"/v1/notifications/batch", BatchHandler, {"backend": backend, "max_body": batch_bytes}),
        (r"/health/live", LiveHandler, {}),
        (r"/health/ready", ReadyHandler, {"readiness": readiness}),
    ]
