"""Routes on a port of their own, served as the server serves them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import tornado.web
from tornado.routing import Router

from adapters.http.exchange import Route
from adapters.http.listening import HttpLimits, Listener
from adapters.http.turns import Turns
from adapters.system.clock import SystemClock
from tests.doubles import FixedRandomness

SWEEP_SECONDS = 0.1


class Port:
    """Where ``listener`` listens on 127.0.0.1, on a socket of its own or on one that it was given."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        router: Router | None = None,
        tls: ssl.SSLContext | None = None,
        send_buffer: int | None = None,
        taken_over: Callable[[], int] = lambda: 0,
        given: socket.socket | None = None,
        **limits: Any,
    ) -> None:
        listening = given if given is not None else socket.create_server(("127.0.0.1", 0))
        if send_buffer is not None:
            # Connections inherit it, so that what a client does not take soon waits in the server.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.number: int = listening.getsockname()[1]
        defaults = {
            "head_bytes": 16_384,
            "body_bytes": 65_536,
            "request_timeout": 15.0,
            "keepalive_timeout": 75.0,
            "send_timeout": 45.0,
            "connections": 1_000,
        }
        self.listener = Listener(
            [listening],
            router or tornado.web.Application(),
            routes=routes,
            tls=tls,
            limits=HttpLimits(**(defaults | limits)),
            taken_over=taken_over,
            give_up_place=lambda: False,
            refuse_at_once=lambda _: None,
            clock=SystemClock(),
            randomness=FixedRandomness(),
            inherited=given is not None,
        )

    @property
    def turns(self) -> Turns:
        return self.listener.turns


@asynccontextmanager
async def on_port(routes: Mapping[str, Route], **options: Any) -> AsyncIterator[Port]:
    """Served, and swept ten times a second; ``options`` are those of Port."""
    port = Port(routes, **options)
    port.listener.start()

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            port.listener.sweep()

    sweeping = asyncio.create_task(sweep())
    try:
        yield port
    finally:
        sweeping.cancel()
        await port.listener.close()
