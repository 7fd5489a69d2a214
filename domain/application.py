"""The services of the domain, put together: all that an entrypoint or a test needs beside the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from domain.delivery.hub import WINDOW_BYTES, Hub
from domain.policy import ConnectionPolicy
from domain.ports import Clock, Pids, Presence, Randomness, Store, Telemetry, TokenVerifier, Transport
from domain.services.admission import LONGEST_LIFE, Admission
from domain.services.admission import MOST as MOST_RESTRICTIONS
from domain.services.catching_up import CatchingUp
from domain.services.connecting import ConnectionService
from domain.services.connections import Connections
from domain.services.counts import CountsService
from domain.services.deliveries import DeliveryLedger
from domain.services.delivering import DeliveryService
from domain.services.directory import DirectoryService
from domain.services.due import DueService
from domain.services.editing import EditingService
from domain.services.erasing import ErasureService
from domain.services.expiry import ExpiryService
from domain.services.exporting import ExportService
from domain.services.inboxes import InboxService
from domain.services.lookups import LookupService
from domain.services.notification_reports import NotificationReportService
from domain.services.publishing import PublishingService
from domain.services.recovery import RecoveryService
from domain.services.requests import RequestService
from domain.services.topics import TopicService
from domain.services.user_access import UserAccessService
from domain.services.user_inboxes import UserInboxService


class Application:
    """One server's worth of services. Nothing runs by itself: see what each asks to have called."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        store: Store,
        presence: Presence,
        transports: Sequence[Transport[Any, Any]],
        pids: Pids,
        clock: Clock,
        randomness: Randomness,
        telemetry: Telemetry,
        policy: ConnectionPolicy | None = None,
        window_bytes: int = WINDOW_BYTES,
        longest_life: timedelta = LONGEST_LIFE,
        most_restrictions: int = MOST_RESTRICTIONS,
        keeps_deliveries: object = True,
    ) -> None:
        policy = policy if policy is not None else ConnectionPolicy()
        self.hub = Hub(log=store, policy=policy, clock=clock, telemetry=telemetry, window_bytes=window_bytes)
        self.connections = Connections(policy, presence, telemetry)
        self.hub.obey(self.connections.carry_out)
        self.admission = Admission(
            restrictions=store,
            hub=self.hub,
            clock=clock,
            policy=policy,
            longest_life=longest_life,
            most=most_restrictions,
        )
        self.access = UserAccessService(
            log=store,
            restrictions=store,
            presence=presence,
            admission=self.admission,
            connections=self.connections,
            policy=policy,
            clock=clock,
        )
        self.hub.obey(self.access.carry_out)
        self.directory = DirectoryService(log=store, presence=presence, connections=self.connections)
        self.ledger = DeliveryLedger(
            ledger=store,
            schedule=store,
            restrictions=store,
            hub=self.hub,
            clock=clock,
            is_kept=bool(keeps_deliveries),
        )
        self.recovery = RecoveryService(log=store, subscribers=store, pids=pids, policy=policy)
        self.due = DueService(schedule=store, clock=clock, telemetry=telemetry)
        self.inboxes = InboxService(
            verifier=verifier,
            admission=self.admission,
            subscribers=store,
            inboxes=store,
            due=self.due,
            policy=policy,
            clock=clock,
        )
        self.user_inboxes = UserInboxService(subscribers=store, inboxes=self.inboxes, policy=policy)
        self.reports = NotificationReportService(recipients=store, schedule=store, deliveries=self.ledger)
        self.lookups = LookupService(subscribers=store, inboxes=store)
        self.counts = CountsService(inboxes=store, hub=self.hub, clock=clock)
        self.topics = TopicService(topics=store, connections=self.connections, counts=self.counts, policy=policy)
        self.hub.obey(self.topics.carry_out)
        self.expiry = ExpiryService(connections=self.connections, policy=policy, clock=clock)
        self.delivery = DeliveryService(
            log=store,
            hub=self.hub,
            admission=self.admission,
            connections=self.connections,
            recovery=self.recovery,
            counts=self.counts,
        )
        catching_up = CatchingUp(self.recovery, self.access)
        self.connecting = ConnectionService(
            hub=self.hub,
            connections=self.connections,
            presence=presence,
            verifier=verifier,
            admission=self.admission,
            recovery=self.recovery,
            catching_up=catching_up,
            requests=RequestService(
                connections=self.connections,
                verifier=verifier,
                admission=self.admission,
                inboxes=self.inboxes,
                catching_up=catching_up,
                policy=policy,
                clock=clock,
            ),
            counts=self.counts,
            ledger=self.ledger,
            policy=policy,
            clock=clock,
            telemetry=telemetry,
        )
        self.publishing = PublishingService(
            log=store,
            checkpoints=store,
            hub=self.hub,
            due=self.due,
            policy=policy,
            clock=clock,
            randomness=randomness,
            telemetry=telemetry,
        )
        self.erasing = ErasureService(
            erasures=store,
            hub=self.hub,
            recovery=self.recovery,
            ledger=self.ledger,
            clock=clock,
            randomness=randomness,
        )
        self.exports = ExportService(subscribers=store, inboxes=store, ledger=store, erasures=store)
        # After the connections, whose ends it would hear of otherwise.
        self.hub.obey(self.erasing.carry_out)
        self.editing = EditingService(
            amendments=store, schedule=store, due=self.due, hub=self.hub, policy=policy, clock=clock
        )
        for transport in transports:
            transport.bind(self.connecting)
