"""Requests that Tornado's routing finds a handler for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine
from tornado.routing import Router
from tornado.util import ObjectDict
from tornado.web import RequestHandler

from adapters.http.exchange import Exchange, MessageHandler
from adapters.http.messages import RequestHead
from adapters.http.service import Service

TORNADO_SECONDS = 0.0002
"""What a request handler of Tornado's takes, in a task that runs behind the turn that it was begun in."""

_ADDED_AS_READ: Final = ("host", "content-length")
"""Of an absolute target the host is another, and a length may have been written with zeros in front."""


class TornadoRouting:
    """By a router that has a handler for every request."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def open(
        self, service: Service, head: RequestHead, exchange: Exchange
    ) -> MessageHandler | Awaitable[MessageHandler]:
        headers = HTTPHeaders()
        for name, value in head.headers.get_all():
            if name not in _ADDED_AS_READ:
                headers.add(name, value)
        headers.add("Host", head.host)
        if head.content_length:
            headers.add("Content-Length", str(head.content_length))
        start_line = RequestStartLine(head.method, head.target, head.version)
        request = HTTPServerRequest(
            connection=exchange, server_connection=service, start_line=start_line, headers=headers
        )
        delegate = self._router.find_handler(request)
        if delegate is None:
            raise LookupError("the router has no rule for everything else")
        handler = _TornadoHandler(delegate)
        received = delegate.headers_received(start_line, headers)
        return handler if received is None else _when_done(received, handler)


class _TornadoHandler:
    """What Tornado's routing found for a request."""

    __slots__ = ("_delegate", "data_received", "finish")

    def __init__(self, delegate: HTTPMessageDelegate) -> None:
        self._delegate = delegate
        self.data_received = delegate.data_received
        self.finish = delegate.finish

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
        handler = getattr(self._delegate, "handler", None)
        if isinstance(handler, RequestHandler):
            # What Tornado has for templates makes a cycle of each handler, which it breaks where an answer is finished.
            handler.ui = ObjectDict()
            asyncio.get_running_loop().call_soon(_forget_error, handler.request)

    def body_too_large(self) -> None:
        """Tornado leaves the answer to the connection."""


def _forget_error(request: HTTPServerRequest) -> None:
    """That its client left was raised in the handler, whose frame the error holds, and the request the error."""
    told = vars(request).get("_body_future")
    if told is not None and told.done() and (error := told.exception()) is not None and error.__traceback__ is not None:
        del vars(request)["_body_future"]


async def _when_done(received: Awaitable[None], handler: MessageHandler) -> MessageHandler:
    await received
    return handler
