"""Who calls for a backend, and whether it may."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.api.pacing import PublishPace, RequestPace
from adapters.http.peer import AnyRequest, PeerPolicy
from domain.errors import Forbidden, SynkroneError, Unauthenticated
from domain.model import Caller
from domain.ports import (
    CallerVerifier,
    ConnectionDirectory,
    DeliveryReports,
    Editor,
    NotificationReports,
    Publisher,
    Telemetry,
    TopicMembers,
    UserAccess,
    UserErasure,
    UserExports,
    UserInboxes,
)

_NOT_KNOWN = "the credential is not known: this needs an API key, or the token of a service, and not of a user"


@dataclass(slots=True, eq=False)
class Backend:
    """What the routes for backends rest on; without ``callers``, who may be replaced at any time, they are closed to
    everybody. ``inbox_pace`` is that of each user's inbox, whoever asks for it."""

    publisher: Publisher
    editor: Editor
    directory: ConnectionDirectory
    access: UserAccess
    deliveries: DeliveryReports
    reports: NotificationReports
    inboxes: UserInboxes
    topics: TopicMembers
    erasing: UserErasure
    exports: UserExports
    callers: CallerVerifier | None
    peers: PeerPolicy
    telemetry: Telemetry
    pace: PublishPace
    inbox_pace: RequestPace

    async def admit(self, credential: str, scope: str) -> Caller:
        """Who it is that calls. Raises Unauthenticated, and Forbidden for one without the scope."""
        if self.callers is None:
            raise Forbidden("no backend may call: the server has no API keys and no services")
        if not credential:
            raise Unauthenticated("needs Authorization: Bearer <key>")
        try:
            caller = await self.callers.authenticate(credential)
        except Unauthenticated as error:
            # The same of all of them: a credential that is nearly good is told no more than any other.
            raise Unauthenticated(error.detail or _NOT_KNOWN) from None
        if scope not in caller.scopes:
            raise Forbidden(f"needs the scope {scope}", scope=scope)
        return caller

    def refused(self, request: AnyRequest, refusal: SynkroneError) -> None:
        """Note that somebody was not admitted."""
        if isinstance(refusal, Unauthenticated | Forbidden):
            address = self.peers.address(request)
            self.telemetry.caller_refused(address, refusal.code, refusal.detail or refusal.title)
