"""What connections are served by, and the policy for them."""

from __future__ import annotations

from adapters.api.pacing import RequestPace
from adapters.http.peer import PeerPolicy
from adapters.transport.arrivals import Arrivals
from adapters.transport.socketio.transport import SocketIoTransport
from adapters.transport.sse.transport import SseTransport
from domain.model import Rate
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Randomness, Telemetry
from entrypoints.building.limits import socketio_limits, sse_limits
from entrypoints.settings import REPLAY_BYTES, LimitSettings, Settings


def build_policy(settings: Settings, randomness: Randomness) -> ConnectionPolicy:
    limits = settings.limits
    return ConnectionPolicy(
        leeway=settings.auth.leeway,
        token_bytes=settings.auth.token_bytes,
        replays_undelivered=settings.replay == "undelivered",
        connections=limits.connections,
        connections_per_user=limits.connections_per_user,
        topics_per_user=limits.topics_per_user,
        requests_waiting=limits.events_burst,
        notification_bytes=limits.notification_bytes,
        schedule_ahead=limits.schedule_ahead,
        # Below what may wait at all, or a slow but steady reader would be cut in its replay.
        replay_bytes=min(REPLAY_BYTES, limits.queue_bytes // 2),
        drain=limits.drain_time,
        drain_rate=limits.drain_rate,
        uniform=randomness.uniform,
    )


def build_peers(settings: Settings, telemetry: Telemetry) -> PeerPolicy:
    return PeerPolicy(trusted_proxies=settings.trusted_proxies, origins=settings.cors_origins, telemetry=telemetry)


def build_sse(settings: Settings, clock: Clock, peers: PeerPolicy, arrivals: Arrivals) -> SseTransport:
    return SseTransport(clock=clock, peers=peers, arrivals=arrivals, limits=sse_limits(settings))


def build_socketio(settings: Settings, clock: Clock, peers: PeerPolicy, arrivals: Arrivals) -> SocketIoTransport:
    return SocketIoTransport(clock=clock, peers=peers, arrivals=arrivals, limits=socketio_limits(settings))


def build_request_pace(limits: LimitSettings, clock: Clock) -> RequestPace:
    return RequestPace(Rate(limits.requests_per_second, limits.requests_burst), clock)
