"""The limits of what listens and of what serves connections."""

from __future__ import annotations

from datetime import timedelta

from adapters.http.descriptors import affordable_connections
from adapters.http.listening import HttpLimits
from adapters.transport.socketio.transport import SocketIoLimits
from adapters.transport.sse.transport import SseLimits
from entrypoints.settings import HEAD_BYTES, Settings

STREAM_PING = timedelta(seconds=15)


def socketio_limits(settings: Settings) -> SocketIoLimits:
    limits = settings.limits
    return SocketIoLimits(
        message_bytes=limits.message_bytes,
        queue_bytes=limits.queue_bytes,
        connect_timeout=limits.connect_timeout.total_seconds(),
        connections=limits.connections,
        unauthenticated=limits.unauthenticated,
        events_per_second=limits.events_per_second,
        events_burst=limits.events_burst,
        ping_interval=limits.ping_interval.total_seconds(),
        ping_timeout=limits.ping_timeout.total_seconds(),
    )


def sse_limits(settings: Settings) -> SseLimits:
    limits = settings.limits
    return SseLimits(
        queue_bytes=limits.queue_bytes,
        connections=limits.connections,
        connecting=limits.unauthenticated,
        ping_interval=min(limits.ping_interval, STREAM_PING).total_seconds(),
    )


def http_limits(settings: Settings) -> HttpLimits:
    """Of the public listener. Routes that take larger bodies say so themselves, once they know who is sending."""
    limits = settings.limits
    return _http_limits(settings, settings.head_bytes, wanted=limits.connections + limits.unauthenticated)


def internal_http_limits(settings: Settings) -> HttpLimits:
    """Of the internal listener."""
    return _http_limits(settings, HEAD_BYTES, wanted=settings.limits.connections)


def _http_limits(settings: Settings, head_bytes: int, *, wanted: int) -> HttpLimits:
    limits = settings.limits
    return HttpLimits(
        head_bytes=head_bytes,
        body_bytes=limits.message_bytes,
        request_timeout=limits.request_timeout.total_seconds(),
        keepalive_timeout=limits.keepalive_timeout.total_seconds(),
        send_timeout=(limits.ping_interval + limits.ping_timeout).total_seconds(),
        connections=affordable_connections(wanted=wanted),
    )
