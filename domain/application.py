"""The services of the domain, put together: all that an entrypoint or a test needs beside the adapters."""

from __future__ import annotations

from domain.policy import ConnectionPolicy
from domain.ports import Clock, Pids, Randomness, Store, Telemetry, TokenVerifier, Transport
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
        store: Store,
        transport: Transport,
        pids: Pids,
        clock: Clock,
        randomness: Randomness,
        telemetry: Telemetry,
        policy: ConnectionPolicy | None = None,
    ) -> None:
        policy = policy if policy is not None else ConnectionPolicy()
        self.recovery = RecoveryService(log=store, subscribers=store, pids=pids, policy=policy)
        self.inboxes = InboxService(verifier=verifier, subscribers=store, inboxes=store, policy=policy, clock=clock)
        self.counts = CountsService(inboxes=store, transport=transport, clock=clock)
        self.connections = ConnectionService(
            verifier=verifier,
            subscribers=store,
            inboxes=store,
            transport=transport,
            recovery=self.recovery,
            requests=self.inboxes,
            counts=self.counts,
            policy=policy,
            clock=clock,
            telemetry=telemetry,
        )
        self.delivery = DeliveryService(
            log=store,
            checkpoints=store,
            transport=transport,
            counts=self.counts,
            policy=policy,
            clock=clock,
            randomness=randomness,
            telemetry=telemetry,
        )
