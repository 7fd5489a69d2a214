"""The rules, as synchronous decisions without a side effect: authenticate, route to room, deliver."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeGuard

from domain.errors import (
    DisconnectedByOperator,
    InvalidArgument,
    InvalidPublication,
    InvalidToken,
    PublicationTooLarge,
    SynkroneError,
    TooManyConnections,
)
from domain.model import (
    EVERYONE,
    AudienceKind,
    Claim,
    Draft,
    Entry,
    FieldError,
    Hello,
    Identity,
    Notification,
    Publication,
    Refusal,
    Room,
)

NAME_MAX_LENGTH = 128
DEVICE_MAX_LENGTH = 64
AUDIENCE_MAX_USERS = 10_000
BATCH_MAX_ITEMS = 10_000
BATCH_MAX_RECIPIENTS = 100_000
TOKEN_MAX_LENGTH = 8192

# In seconds.
WARNING_LEAD = (60.0, 120.0)
SHORT_LIFE = 2 * WARNING_LEAD[1]
RETURN_DELAY = (1.0, 5.0)

NAME_RULE = f"must be 1 to {NAME_MAX_LENGTH} printable characters"
IDENTIFIER_RULE = "must be 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':', '-'"
AUDIENCE_RULE = f"must name 1 to {AUDIENCE_MAX_USERS} users"

_SURROGATE = re.compile("[\ud800-\udfff]")
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_name(value: object) -> TypeGuard[str]:
    """Whether a value can be a user id, a role or a type: 1 to 128 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= NAME_MAX_LENGTH and value.isprintable()


def is_identifier(value: object) -> bool:
    """Whether a value can be a publisher's id: 1 to 128 of ``[A-Za-z0-9._:-]``."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Credentials:
    """The ``auth`` object of a connecting client, read. ``claim`` is what it says about an earlier connection."""

    token: str
    claim: Claim
    device: str | None


@dataclass(frozen=True, slots=True)
class Deadlines:
    """When to warn and when to close, on the monotonic clock, fixed when the token was accepted."""

    warn_at: float
    close_at: float


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """Who may connect, what they hear, and for how long.

    ``leeway`` allows for clocks that differ. With ``replays_undelivered`` a client that brings no good cursor starts
    after what its user is known to have received, else at the head of the log.
    ``replay_entries`` and ``replay_bytes`` bound a page of the replay.
    ``uniform`` is the source of jitter; the default, always the middle, has none, and is for tests.
    """

    leeway: timedelta = timedelta(seconds=30)
    replays_undelivered: bool = True
    connections: int = 10_000
    connections_per_user: int = 20
    notification_bytes: int = 65_536
    replay_entries: int = 500
    replay_bytes: int = 262_144
    drain: timedelta = timedelta(seconds=20)
    drain_rate: float = 250.0
    uniform: Callable[[float, float], float] = field(default=lambda low, high: (low + high) / 2)

    # authenticate

    def credentials(self, hello: Hello) -> Credentials:
        """Read what the client sent. Raises InvalidToken, and InvalidArgument for a bad ``device``."""
        if not isinstance(hello.auth, dict):
            raise InvalidToken("auth is not an object")
        token = hello.auth.get("token")
        if not isinstance(token, str) or not token:
            raise InvalidToken("auth.token is missing" if token in (None, "") else "auth.token is not a string")
        if len(token) > TOKEN_MAX_LENGTH:
            raise InvalidToken("auth.token is too long")
        device = hello.auth.get("device")
        if device is not None and not (
            isinstance(device, str) and 0 < len(device) <= DEVICE_MAX_LENGTH and device.isprintable()
        ):
            raise InvalidArgument("auth.device", f"must be 1 to {DEVICE_MAX_LENGTH} printable characters")
        claim = Claim(hello.auth.get("pid"), hello.auth.get("offset"), hello.auth.get("cursor"))
        return Credentials(token, claim, device)

    def deadlines(self, identity: Identity, now: datetime, monotonic: float) -> Deadlines:
        """Warn 60 to 120 s before the token expires (a short one: at half its life); close at ``exp`` + leeway."""
        remaining = (identity.expires_at - now).total_seconds()
        lead = self.uniform(*WARNING_LEAD) if remaining >= SHORT_LIFE else remaining / 2
        return Deadlines(
            warn_at=monotonic + max(0.0, remaining - lead),
            close_at=monotonic + max(0.0, remaining + self.leeway.total_seconds()),
        )

    # route to room

    def rooms(self, identity: Identity) -> frozenset[Room]:
        """The rooms of a user, and nothing else."""
        return frozenset((Room.of_user(identity.user), Room.of_role(identity.role), EVERYONE))

    def surplus(self, connections_of_user: int) -> int:
        """How many of a user's connections, the oldest first, have to go."""
        return max(0, connections_of_user - self.connections_per_user)

    # deliver

    def is_current(self, entry: Entry, now: datetime) -> bool:
        """Whether an entry is still to be delivered."""
        return entry.expires_at is None or now < entry.expires_at

    def draft(self, publication: Publication, new_id: str, now: datetime, idempotency_key: str | None) -> Draft:
        """The notification a publication becomes."""
        return Draft(
            notification=Notification(
                id=publication.id if publication.id is not None else new_id,
                type=publication.type,
                title=publication.title,
                body=publication.body,
                data=publication.data,
                audience=publication.to.kind,
                created_at=now,
                expires_at=publication.expires_at,
            ),
            rooms=publication.to.rooms,
            own_id=publication.id is not None,
            idempotency_key=idempotency_key,
        )

    def check_all(self, publications: Sequence[Publication], *, by_index: bool) -> None:
        """Check each, with its index in the path if asked, and all together. Raises as ``check``."""
        if sum(len(publication.to.rooms) for publication in publications) > BATCH_MAX_RECIPIENTS:
            raise InvalidPublication([FieldError("body", f"may name {BATCH_MAX_RECIPIENTS} recipients in all")])
        for index, publication in enumerate(publications):
            self.check(publication, f"[{index}]." if by_index else "")

    def check(self, publication: Publication, path: str = "") -> None:
        """Raises InvalidPublication, naming every bad field behind ``path``, or PublicationTooLarge."""
        errors = list(self._field_errors(publication))
        if errors:
            raise InvalidPublication([FieldError(path + error.path, error.message) for error in errors])
        texts = (publication.type, publication.title or "", publication.body or "")
        size = sum(len(text.encode()) for text in texts) + len(publication.data or b"")
        if size > self.notification_bytes:
            raise PublicationTooLarge(
                f"{path.rstrip('.') + ': ' if path else ''}type, title, body and data together have {size} bytes; "
                f"{self.notification_bytes} are allowed"
            )

    def _field_errors(self, publication: Publication) -> Iterable[FieldError]:
        to = publication.to
        if to.kind is AudienceKind.USER and not 0 < len(to.rooms) <= AUDIENCE_MAX_USERS:
            yield FieldError("to.users", AUDIENCE_RULE)
        names = [room.partition(":")[2] for room in to.rooms if room != EVERYONE]
        if not all(is_name(name) for name in names):
            yield FieldError("to", f"a user id or role {NAME_RULE}")
        if not is_name(publication.type):
            yield FieldError("type", NAME_RULE)
        if publication.id is not None and not is_identifier(publication.id):
            yield FieldError("id", IDENTIFIER_RULE)
        for name, text in (("title", publication.title), ("body", publication.body)):
            if text is not None and _SURROGATE.search(text):
                yield FieldError(name, "holds an unpaired surrogate")
        if publication.expires_at is not None and publication.expires_at.tzinfo is None:
            yield FieldError("expires_at", "must have a time zone")

    # say goodbye

    def refusal(self, error: SynkroneError) -> Refusal:
        """How a live connection ends for an error: to come back by itself, except where it must not."""
        return Refusal(
            problem=error.problem,
            reconnect=error.reconnect
            if isinstance(error, DisconnectedByOperator)
            else not isinstance(error, TooManyConnections),
            retry_after=timedelta(seconds=self.reconnect_delay()),
        )

    def reconnect_delay(self) -> float:
        """Seconds to leave before clients return after a fault of ours, so that they do not return at once."""
        return self.uniform(*RETURN_DELAY)

    def drain_schedule(self, connections: int) -> Sequence[float]:
        """Seconds from now at which to close each connection, so that their clients return spread out."""
        spread = min(self.drain.total_seconds(), connections / self.drain_rate)
        return [spread * number / connections for number in range(connections)]
