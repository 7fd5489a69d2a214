"""The services of the domain, put together: all that an entrypoint or a test needs beside the adapters."""

from __future__ import annotations

from domain.policy import ConnectionPolicy
from domain.ports import Clock, Inbox, Pids, Randomness, Telemetry, TokenVerifier, Transport
from domain.services.connections import ConnectionService
from domain.services.counts import CountsService
from domain.services.delivery import DeliveryService
from domain.services.inboxes import InboxService
from domain.services.recovery import RecoveryService


class Application:
    """One server's worth of services. Nothing runs by itself: see what each asks to have called."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        inbox: Inbox,
        transport: Transport,
        pids: Pids,
        clock: Clock,
        randomness: Randomness,
        telemetry: Telemetry,
        policy: ConnectionPolicy | None = None,
    ) -> None:
        policy = policy if policy is not None else ConnectionPolicy()
        self.recovery = RecoveryService(inbox=inbox, pids=pids, policy=policy)
        self.inboxes = InboxService(verifier=verifier, inbox=inbox, policy=policy, clock=clock)
        self.counts = CountsService(inbox=inbox, transport=transport, clock=clock)
        self.connections = ConnectionService(
            verifier=verifier,
            inbox=inbox,
            transport=transport,
            recovery=self.recovery,
            inboxes=self.inboxes,
            counts=self.counts,
            policy=policy,
            clock=clock,
            telemetry=telemetry,
        )
        self.delivery = DeliveryService(
            inbox=inbox,
            transport=transport,
            counts=self.counts,
            policy=policy,
            clock=clock,
            randomness=randomness,
            telemetry=telemetry,
        )
