"""What connected clients ask for: carried out one after the other, and answered between two events."""

from __future__ import annotations

from typing import Final

from domain.errors import (
    ConnectionGone,
    CursorRefused,
    IdentityMismatch,
    InvalidArgument,
    SlowConsumer,
    StoreUnavailable,
    SynkroneError,
    Unavailable,
)
from domain.model import AckId, Answer, Failed, Listing, Refreshed, Reply, Subscriber
from domain.policy import ConnectionPolicy
from domain.ports import Clock, TokenVerifier
from domain.requests import InboxCommand, Mark, MarkAllRead, RefreshToken, Snooze
from domain.services.admission import Admission
from domain.services.catching_up import CatchingUp
from domain.services.connections import Connection, Connections, Request
from domain.services.inboxes import InboxService

LISTED_MOST: Final = 10
"""So often is it listed for one answer."""


class RequestService:
    def __init__(
        self,
        *,
        connections: Connections,
        verifier: TokenVerifier,
        admission: Admission,
        inboxes: InboxService,
        catching_up: CatchingUp,
        policy: ConnectionPolicy,
        clock: Clock,
    ) -> None:
        self._connections = connections
        self._verifier = verifier
        self._admission = admission
        self._inboxes = inboxes
        self._catching_up = catching_up
        self._policy = policy
        self._clock = clock

    async def carry_out(self, connection: Connection, subscriber: Subscriber) -> None:
        """Whatever waits, to the last, though the connection ends meanwhile."""
        try:
            while connection.requests:
                await self._carry_out(connection, subscriber, connection.requests[0])
                del connection.requests[0]
        finally:
            connection.is_working = False
            self._connections.done(connection)

    async def _carry_out(self, connection: Connection, subscriber: Subscriber, request: Request) -> None:
        try:
            command = self._policy.command(request.asked)
            if not connection.subscription.is_open:
                await self._perform_for_nobody(connection, subscriber, command)
            elif isinstance(command, RefreshToken):
                self._answer(connection, request.ack, await self._refresh(connection, command.token))
            else:
                await self._answer_in_order(connection, subscriber, request.ack, command)
        except ConnectionGone:
            return
        except SynkroneError as error:
            self._answer(connection, request.ack, Failed(error.problem))

    async def _perform_for_nobody(
        self, connection: Connection, subscriber: Subscriber, command: InboxCommand | RefreshToken
    ) -> None:
        """Whoever asked has left: only what changes something is worth doing."""
        if isinstance(command, Mark | MarkAllRead | Snooze):
            await self._inboxes.perform(subscriber, command, connection.device)

    async def _answer_in_order(
        self, connection: Connection, subscriber: Subscriber, ack: AckId | None, command: InboxCommand
    ) -> None:
        """Answer between two events: all up to the answer's ``as_of`` come before it, and all others after.

        Where something of the former has been revised since it was listed, its new content is told, and no list of
        before may come behind that: it is listed again.
        """
        subscription = connection.subscription
        upto = subscription.pause()
        answer: Answer = Failed(StoreUnavailable("what is listed is revised again and again").problem)
        try:
            for _ in range(LISTED_MOST):
                try:
                    found = await self._inboxes.perform(subscriber, command, connection.device)
                except (InvalidArgument, Unavailable) as error:
                    answer = Failed(error.problem)
                    break
                if found.as_of.offset > upto.offset:
                    upto = await self._catching_up.replay_until(
                        subscription, subscriber, upto, found.as_of, as_it_was=isinstance(found, Listing)
                    )
                if upto.offset >= found.as_of.offset:
                    answer = found
                    break
            self._answer(connection, ack, answer)
            await self._catching_up.go_live(subscription, subscriber, upto)
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            # Closing makes the client return with its last cursor: the log is then read from there.
            self._connections.close(connection, error)

    async def _refresh(self, connection: Connection, token: str) -> Refreshed:
        identity = await self._verifier.verify(token)
        self._connections.ensure_open(connection)
        before = connection.identity
        if before is None or (identity.issuer, identity.user, identity.role, identity.role_set) != (
            before.issuer,
            before.user,
            before.role,
            before.role_set,
        ):
            raise IdentityMismatch
        self._admission.check(identity)
        connection.identity = identity
        connection.lasts(self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic()))
        return Refreshed(identity.expires_at)

    def _answer(self, connection: Connection, ack: AckId | None, answer: Answer) -> None:
        if ack is not None:
            connection.subscription.send(Reply(ack, answer))
