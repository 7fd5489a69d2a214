"""What is served on which listener."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

import tornado.web

from adapters.api.handlers import NotFound
from adapters.api.ops.console import Console
from adapters.api.ops.routes import ops_files, ops_routes
from adapters.api.reload import Reload
from adapters.api.routes import internal_routes
from adapters.cluster.node import Forwarding
from adapters.http.exchange import Route
from adapters.http.listening import Listener
from adapters.system.nodes import Registry
from adapters.transport.served import ServedTransport
from entrypoints.building.limits import http_limits
from entrypoints.container import Container
from entrypoints.internal import Internal
from entrypoints.settings import Settings
from entrypoints.tls import Certificate

_log = logging.getLogger("synkrone.server")


def public_listener(
    container: Container,
    settings: Settings,
    sockets: Sequence[socket.socket],
    certificate: Certificate,
    readiness: Callable[[], Awaitable[Mapping[str, str | None]]],
    *,
    inherited: bool,
) -> Listener:
    """For clients and backends."""
    transports: Sequence[ServedTransport] = container.transports()
    of_transports = {path: route for transport in transports for path, route in transport.routes.items()}
    forwarding: Forwarding | None = container.forwarding()
    if forwarding is not None:
        of_transports |= dict.fromkeys(container.socketio().routes, forwarding.route)

    def refuse_at_once(head: bytes) -> bytes | None:
        answers = (transport.refuse_at_once(head) for transport in transports)
        return next((answer for answer in answers if answer is not None), None)

    api = tornado.web.Application(
        container.routes(readiness=readiness),
        default_handler_class=NotFound,
        log_function=_log_request,
    )
    listener = Listener(
        sockets,
        api,
        routes={**container.publish_routes(), **container.file_routes(), **of_transports},
        tls=certificate.context,
        limits=http_limits(settings),
        taken_over=lambda: (
            sum(transport.open_sockets for transport in transports)
            + (forwarding.open_sockets if forwarding is not None else 0)
        ),
        give_up_place=lambda: any(transport.give_up_place() for transport in transports),
        refuse_at_once=refuse_at_once,
        clock=container.clock(),
        randomness=container.randomness(),
        inherited=inherited,
    )
    certificate.follow(listener.prove_by)
    return listener


def internal_listener(
    container: Container,
    settings: Settings,
    internal: Internal,
    readiness: Callable[[], Awaitable[Mapping[str, str | None]]],
    console: Console | None,
    reload: Reload | None,
) -> Listener:
    """For the other nodes and operators."""
    registry: Registry | None = container.registry()
    forwarding: Forwarding | None = container.forwarding()
    router = tornado.web.Application(
        [
            *internal_routes(
                backend=container.backend(),
                readiness=readiness,
                expose=container.exposition().expose,
                message_bytes=settings.limits.message_bytes,
                read_roll=registry.roll if registry is not None else None,
                reload=reload,
            ),
            *(ops_routes(console) if console is not None else ()),
        ],
        default_handler_class=NotFound,
        log_function=_log_request,
    )
    of_nodes: Mapping[str, Route] = container.contact_routes()
    return internal.listener(
        router,
        {
            **of_nodes,
            **(forwarding.internal_routes if forwarding is not None else {}),
            **(ops_files() if console is not None else {}),
        },
        clock=container.clock(),
        randomness=container.randomness(),
        taken_over=lambda: forwarding.open_links if forwarding is not None else 0,
    )


def _log_request(handler: tornado.web.RequestHandler) -> None:
    request = handler.request
    caller = getattr(handler, "caller", None)
    _log.debug(
        "request",
        extra={
            "method": request.method,
            "path": request.path,
            "status": handler.get_status(),
            "seconds": request.request_time(),
            "caller": caller.name if caller is not None else None,
        },
    )
