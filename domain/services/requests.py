"""What connected clients ask for: carried out one after the other, and answered between two events."""

from __future__ import annotations

from domain.errors import (
    ConnectionGone,
    CursorRefused,
    IdentityMismatch,
    InvalidArgument,
    SlowConsumer,
    SynkroneError,
    Unavailable,
)
from domain.model import AckId, Answer, Failed, Refreshed, Reply, Subscriber
from domain.policy import ConnectionPolicy
from domain.ports import Clock, TokenVerifier
from domain.requests import InboxCommand, Mark, MarkAllRead, RefreshToken
from domain.services.catching_up import CatchingUp
from domain.services.inboxes import InboxService
from domain.services.sessions import Request, Session, Sessions


class RequestService:
    def __init__(
        self,
        *,
        sessions: Sessions,
        verifier: TokenVerifier,
        inboxes: InboxService,
        catching_up: CatchingUp,
        policy: ConnectionPolicy,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._verifier = verifier
        self._inboxes = inboxes
        self._catching_up = catching_up
        self._policy = policy
        self._clock = clock

    async def carry_out(self, session: Session, subscriber: Subscriber) -> None:
        """Whatever waits, to the last, though the connection ends meanwhile."""
        try:
            while session.requests:
                await self._carry_out(session, subscriber, session.requests[0])
                session.requests.popleft()
        finally:
            session.is_working = False
            self._sessions.done(session)

    async def _carry_out(self, session: Session, subscriber: Subscriber, request: Request) -> None:
        try:
            command = self._policy.command(request.asked)
            if not session.connection.is_open:
                await self._perform_for_nobody(subscriber, command)
            elif isinstance(command, RefreshToken):
                self._answer(session, request.ack, await self._refresh(session, command.token))
            else:
                await self._answer_in_order(session, subscriber, request.ack, command)
        except ConnectionGone:
            return
        except SynkroneError as error:
            self._answer(session, request.ack, Failed(error.problem))

    async def _perform_for_nobody(self, subscriber: Subscriber, command: InboxCommand | RefreshToken) -> None:
        """Whoever asked has left: only what changes something is worth doing."""
        if isinstance(command, Mark | MarkAllRead):
            await self._inboxes.perform(subscriber, command)

    async def _answer_in_order(
        self, session: Session, subscriber: Subscriber, ack: AckId | None, command: InboxCommand
    ) -> None:
        """Answer between two events: all up to the answer's ``as_of`` come before it, and all others after."""
        connection = session.connection
        upto = connection.pause()
        answer: Answer
        try:
            try:
                found = await self._inboxes.perform(subscriber, command)
            except (InvalidArgument, Unavailable) as error:
                answer = Failed(error.problem)
            else:
                answer = found
                if found.as_of.offset > upto.offset:
                    upto = await self._catching_up.replay_until(connection, subscriber, upto, found.as_of)
            self._answer(session, ack, answer)
            await self._catching_up.go_live(connection, subscriber, upto)
        except (CursorRefused, SlowConsumer, Unavailable) as error:
            # Closing makes the client return with its last cursor: the log is then read from there.
            self._sessions.close(session, error)

    async def _refresh(self, session: Session, token: str) -> Refreshed:
        identity = await self._verifier.verify(token)
        self._sessions.ensure_open(session)
        before = session.identity
        if before is None or (identity.issuer, identity.user, identity.role) != (
            before.issuer,
            before.user,
            before.role,
        ):
            raise IdentityMismatch
        session.identity, session.warned = identity, False
        session.deadlines = self._policy.deadlines(identity, self._clock.now(), self._clock.monotonic())
        return Refreshed(identity.expires_at)

    def _answer(self, session: Session, ack: AckId | None, answer: Answer) -> None:
        if ack is not None:
            session.connection.send(Reply(ack, answer))
