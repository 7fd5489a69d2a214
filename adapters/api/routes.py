"""The routes that Tornado's request handlers serve."""

from __future__ import annotations

from typing import Any, TypeAlias

import tornado.web

from adapters.api.backends import Backend
from adapters.api.connections import ConnectionsHandler
from adapters.api.deliveries import DeliveriesHandler
from adapters.api.erasures import ErasureHandler, ExportHandler, UserHandler
from adapters.api.health import LiveHandler, Readiness, ReadyHandler
from adapters.api.inbox import ACTIONS, ActionHandler, CountHandler, ListHandler, Users
from adapters.api.metrics import Expose, MetricsHandler
from adapters.api.nodes import NodesHandler, ReadRoll, SharedRoll
from adapters.api.notifications import NotificationHandler, RecipientsHandler
from adapters.api.publish import PublishRoute
from adapters.api.reload import Reload, ReloadHandler
from adapters.api.restrictions import BlockHandler, RevokeHandler
from adapters.api.topics import MemberHandler, MembersHandler
from adapters.api.user_inboxes import UserActionHandler, UserCountHandler, UserListHandler

Route: TypeAlias = tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]


def api_routes(
    *,
    backend: Backend,
    users: Users,
    readiness: Readiness,
    message_bytes: int,
    published: PublishRoute,
    batches: PublishRoute,
) -> list[Route]:
    """``published`` is the route by which notifications come, and ``batches`` that of many at once."""
    for_backends = {"backend": backend, "max_body": message_bytes}
    for_users = {"users": users, "max_body": message_bytes}
    actions = "|".join(ACTIONS)
    return [
        (r"/v1/notifications/([^/]+)", NotificationHandler, {**for_backends, "published": published}),
        (r"/v1/notifications/([^/]+)/recipients", RecipientsHandler, for_backends),
        (r"/v1/users/([^/]+)", UserHandler, for_backends),
        (r"/v1/users/([^/]+)/export", ExportHandler, for_backends),
        (r"/v1/erasures/([^/]+)", ErasureHandler, for_backends),
        (r"/v1/users/([^/]+)/inbox", UserListHandler, for_backends),
        (r"/v1/users/([^/]+)/inbox/count", UserCountHandler, for_backends),
        (rf"/v1/users/([^/]+)/inbox/({actions})", UserActionHandler, for_backends),
        (r"/v1/users/([^/]+)/connections", ConnectionsHandler, for_backends),
        (r"/v1/users/([^/]+)/revoke", RevokeHandler, for_backends),
        (r"/v1/users/([^/]+)/block", BlockHandler, for_backends),
        (r"/v1/users/([^/]+)/deliveries", DeliveriesHandler, for_backends),
        (r"/v1/topics/([^/]+)/members/([^/]+)", MemberHandler, for_backends),
        (r"/v1/topics/([^/]+)/members", MembersHandler, {**for_backends, "batches": batches}),
        (r"/v1/inbox", ListHandler, for_users),
        (r"/v1/inbox/count", CountHandler, for_users),
        (rf"/v1/inbox/({actions})", ActionHandler, for_users),
        *_health_routes(readiness),
    ]


def internal_routes(
    *,
    backend: Backend,
    readiness: Readiness,
    expose: Expose,
    message_bytes: int,
    read_roll: ReadRoll | None = None,
    reload: Reload | None = None,
) -> list[Route]:
    """Of the internal listener, for operators and the other nodes."""
    for_operators = {"backend": backend, "max_body": message_bytes}
    routes: list[Route] = [*_health_routes(readiness), (r"/metrics", MetricsHandler, {"expose": expose})]
    if read_roll is not None:
        routes.append((r"/admin/nodes", NodesHandler, {**for_operators, "read_roll": SharedRoll(read_roll)}))
    if reload is not None:
        routes.append((r"/admin/reload", ReloadHandler, {**for_operators, "reload": reload}))
    return routes


def _health_routes(readiness: Readiness) -> list[Route]:
    return [
        (r"/health/live", LiveHandler, {}),
        (r"/health/ready", ReadyHandler, {"readiness": readiness}),
    ]
