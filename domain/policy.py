"""The rules, as synchronous decisions without a side effect: authenticate, route to room, deliver."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TypeGuard

from domain.errors import (
    ERRORS_MAX,
    DisconnectedByOperator,
    InvalidArgument,
    InvalidPublication,
    InvalidToken,
    PublicationTooLarge,
    RateLimited,
    SynkroneError,
    TooManyConnections,
    UnknownEvent,
    UserBlocked,
    summary,
)
from domain.model import (
    EVERYONE,
    Audience,
    AudienceKind,
    Disconnect,
    Draft,
    FieldError,
    Identity,
    Notification,
    Publication,
    Room,
    TailEntry,
)
from domain.model.value import value
from domain.requests import (
    Asked,
    Command,
    ConnectRequest,
    Credentials,
    Malformed,
    NoToken,
    RefreshToken,
    UnknownCommand,
)

NAME_MAX_LENGTH = 128
REASON_MAX_LENGTH = 256
AUDIENCE_MAX_USERS = 10_000
AUDIENCE_MAX_GROUPS = 100
ALL_OF_MAX_BYTES = 2_000
"""Of the name of the room that they are together: what an index of PostgreSQL holds."""
BATCH_MAX_ITEMS = 10_000
BATCH_MAX_RECIPIENTS = 100_000

# In seconds.
WARNING_LEAD = (60.0, 120.0)
SHORT_LIFE = 2 * WARNING_LEAD[1]
RETURN_DELAY = (1.0, 5.0)
FLOOD_PAUSE = timedelta(seconds=5)

NO_IDS = frozenset((".", "..", "batch"))
"""What would be one, but for the addresses: clients take dots out of a path, and one of the paths publishes."""
NO_IDS_RULE = "must not be '.', '..' or 'batch': nothing could be asked about it by its address"
IDENTIFIER_RULE = "must be 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':', '-'"
REPEATED = "is given more than once"
AUDIENCE_RULE = f"must name 1 to {AUDIENCE_MAX_USERS} users"
GROUPS_RULE = f"must name 1 to {AUDIENCE_MAX_GROUPS} roles and topics"
ALL_OF_RULE = f"must have at most {ALL_OF_MAX_BYTES} bytes in all, of which each takes 7 beside its name"

# Controls (C0, DEL, C1), the line and paragraph separators, and halves of surrogate pairs. Nothing else: what Unicode
# calls printable leaves out joined emoji, directional marks, no-break spaces and every character that is newer than it.
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_name(value: object, max_length: int = NAME_MAX_LENGTH) -> TypeGuard[str]:
    """Whether a value can be a user id, a role or a type: 1 to 128 characters, as many as there are code points, of
    which none is a control, a line or paragraph separator or a lone surrogate."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= max_length
        # The first is a quick test for almost all names.
        and (value.isprintable() or _NOT_IN_NAMES.search(value) is None)
    )


def name_fault(value: object, max_length: int = NAME_MAX_LENGTH) -> str:
    """What is wrong with a value that is no name, or none of so many characters."""
    if not isinstance(value, str):
        return "must be a string"
    found = _NOT_IN_NAMES.search(value[: max_length + 1])
    if found is not None:
        return f"holds U+{ord(found[0]):04X}, which is not allowed"
    return f"must be 1 to {max_length} characters"


def is_identifier(value: object) -> bool:
    """Whether a value can be a publisher's id: 1 to 128 of ``[A-Za-z0-9._:-]``."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def may_collapse(to: Audience) -> bool:
    """Whether what is for it may have a collapse key. Users come to topics and leave them: of two notifications with
    one key it would have to be looked up who was there at the place of each."""
    return all(room == EVERYONE or room.startswith(("user:", "role:")) for room in to.rooms)


@value
class Deadlines:
    """When to warn and when to close, on the monotonic clock, fixed when the token was accepted."""

    warn_at: float
    close_at: float


@dataclass(slots=True)
class ConnectionPolicy:
    """Who may connect, what they hear, and for how long. Whoever decides by it has the same one, so that all of them
    change together.

    ``leeway`` allows for clocks that differ. A token has at most ``token_bytes``.
    With ``replays_undelivered`` a client that brings no good cursor starts after what its user is known to have
    received, else at the head of the log. Nobody is in more than ``topics_per_user`` topics.
    ``replay_entries`` and ``replay_bytes`` bound a page of the replay, and ``requests_waiting`` what a connection has
    asked for and is not done. Nothing is to be delivered later than ``schedule_ahead`` from now.
    ``uniform`` is the source of jitter; the default, always the middle, has none, and is for tests.
    """

    leeway: timedelta = timedelta(seconds=30)
    token_bytes: int = 16_384
    replays_undelivered: bool = True
    connections: int = 10_000
    connections_per_user: int = 20
    topics_per_user: int = 1_000
    requests_waiting: int = 40
    notification_bytes: int = 65_536
    schedule_ahead: timedelta = timedelta(days=366)
    replay_entries: int = 500
    replay_bytes: int = 262_144
    drain: timedelta = timedelta(seconds=20)
    drain_rate: float = 250.0
    uniform: Callable[[float, float], float] = field(default=lambda low, high: (low + high) / 2)

    def become(self, other: ConnectionPolicy) -> None:
        """Decide as the other does, from the next decision on; what was decided stands."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    # authenticate

    def credentials(self, request: ConnectRequest) -> Credentials:
        """Raises InvalidToken, and InvalidArgument for anything else that is bad."""
        match request.credentials:
            case Credentials() as credentials if len(credentials.token) <= self.token_bytes:
                return credentials
            case Malformed(path, reason):
                raise InvalidArgument(path, reason)
            case NoToken(reason):
                raise InvalidToken(reason)
            case _:
                raise InvalidToken("auth.token is too long")

    def command(self, asked: Asked) -> Command:
        """Raises UnknownEvent or InvalidArgument."""
        match asked:
            case Malformed(path, reason):
                raise InvalidArgument(path, reason)
            case UnknownCommand():
                raise UnknownEvent
            case RefreshToken(token) if len(token) > self.token_bytes:
                raise InvalidArgument("token", f"must have at most {self.token_bytes} characters")
            case _:
                return asked

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
        return frozenset((Room.of_user(identity.user), EVERYONE, *map(Room.of_role, identity.all_roles)))

    def surplus(self, connections_of_user: int) -> int:
        """How many of a user's connections, the oldest first, have to go."""
        return max(0, connections_of_user - self.connections_per_user)

    # deliver

    def is_current(self, entry: TailEntry, now: datetime) -> bool:
        """Whether an entry is still to be delivered."""
        return entry.expires_at is None or now < entry.expires_at

    def draft(self, publication: Publication, new_id: str, now: datetime, idempotency_key: str | None) -> Draft:
        """The notification a publication becomes. To whom it is given later it is new then."""
        due = publication.deliver_at
        waits = due is not None and due > now
        return Draft(
            notification=Notification(
                id=publication.id if publication.id is not None else new_id,
                type=publication.type,
                title=publication.title,
                body=publication.body,
                data=publication.data,
                audience=publication.to.kind,
                created_at=due if due is not None and waits else now,
                expires_at=publication.expires_at,
                collapse_key=publication.collapse_key,
            ),
            rooms=publication.to.rooms,
            own_id=publication.id is not None,
            idempotency_key=idempotency_key,
            deliver_at=due,
            waits=waits,
        )

    def check_all(
        self,
        publications: Sequence[Publication | InvalidPublication],
        *,
        by_index: bool,
        now: datetime | None = None,
    ) -> Sequence[Publication]:
        """Check each, with its index in the path if asked, and all together. What could not be read stands in its place
        as what is wrong with it. Without ``now`` anything may be delivered at any time.

        Raises InvalidPublication, or PublicationTooLarge where nothing else is wrong. It names every bad one, up to
        ERRORS_MAX, before it names the second bad field of any.
        """
        faults: list[SynkroneError] = []
        good = [publication for publication in publications if isinstance(publication, Publication)]
        if sum(len(publication.to.rooms) for publication in good) > BATCH_MAX_RECIPIENTS:
            faults.append(
                InvalidPublication([FieldError("body", f"may name {BATCH_MAX_RECIPIENTS} recipients in all")])
            )
        for index, publication in enumerate(publications):
            fault = (
                self._fault(publication, f"[{index}]." if by_index else "", now)
                if isinstance(publication, Publication)
                else publication
            )
            if fault is not None:
                faults.append(fault)
        if faults:
            raise _all_of(faults)
        return good

    def check(self, publication: Publication, path: str = "", *, now: datetime | None = None) -> None:
        """Raises InvalidPublication, naming every bad field behind ``path``, or PublicationTooLarge."""
        fault = self._fault(publication, path, now)
        if fault is not None:
            raise _all_of([fault])

    def _fault(
        self, publication: Publication, path: str, now: datetime | None
    ) -> InvalidPublication | PublicationTooLarge | None:
        errors = [*self._field_errors(publication), *self._time_errors(publication, now)]
        if errors:
            return InvalidPublication([FieldError(path + error.path, error.message) for error in errors])
        text = f"{publication.type}{publication.title or ''}{publication.body or ''}"
        size = len(text.encode()) + len(publication.data or b"")
        if size <= self.notification_bytes:
            return None
        message = f"type, title, body and data together have {size} bytes; {self.notification_bytes} are allowed"
        if not path:
            return PublicationTooLarge(message)
        error = FieldError(path.rstrip("."), message)
        return PublicationTooLarge(summary([error])).about([error])

    def _field_errors(self, publication: Publication) -> Iterable[FieldError]:
        to = publication.to
        if to.kind is AudienceKind.USER and not 0 < len(to.rooms) <= AUDIENCE_MAX_USERS:
            yield FieldError("to.users", AUDIENCE_RULE)
        if to.kind in (AudienceKind.ROLE, AudienceKind.TOPIC) and not 0 < len(to.rooms) <= AUDIENCE_MAX_GROUPS:
            yield FieldError("to.any_of", GROUPS_RULE)
        whole = next(iter(to.rooms), EVERYONE)
        if whole.is_all and len(whole.parts) > AUDIENCE_MAX_GROUPS:
            yield FieldError("to.all_of", GROUPS_RULE)
        elif whole.is_all and len(whole.encode()) > ALL_OF_MAX_BYTES:
            yield FieldError("to.all_of", ALL_OF_RULE)
        for room in whole.parts if whole.is_all else to.rooms:
            name = room.partition(":")[2]
            if room != EVERYONE and not is_name(name):
                yield FieldError("to", f"a user id, role or topic {name_fault(name)}")
                break
        if not is_name(publication.type):
            yield FieldError("type", name_fault(publication.type))
        if publication.id is not None and not is_identifier(publication.id):
            yield FieldError("id", IDENTIFIER_RULE)
        elif publication.id in NO_IDS:
            yield FieldError("id", NO_IDS_RULE)
        if publication.collapse_key is not None and not is_identifier(publication.collapse_key):
            yield FieldError("collapse_key", IDENTIFIER_RULE)
        if publication.collapse_key is not None and not may_collapse(to):
            yield FieldError("collapse_key", "is for users, roles or everyone, and for no topic and no all_of")
        for name, text in (("title", publication.title), ("body", publication.body)):
            if text is not None and not text.isascii() and _SURROGATE.search(text):
                yield FieldError(name, "holds an unpaired surrogate")

    def _time_errors(self, publication: Publication, now: datetime | None) -> Iterable[FieldError]:
        due, ends = publication.deliver_at, publication.expires_at
        without_zone = [
            name
            for name, time in (("expires_at", ends), ("deliver_at", due))
            if time is not None and time.tzinfo is None
        ]
        yield from (FieldError(name, "must have a time zone") for name in without_zone)
        if due is None or without_zone:
            return
        if ends is not None and ends <= due:
            yield FieldError("expires_at", "must be after deliver_at")
        if now is not None and due - now > self.schedule_ahead:
            yield FieldError("deliver_at", self.ahead_rule)

    @property
    def ahead_rule(self) -> str:
        """What a time that lies further ahead than ``schedule_ahead`` does not keep to."""
        return f"must be within {_in_words(self.schedule_ahead)} from now (operators: limits.schedule_ahead)"

    # say goodbye

    def refusal(self, error: SynkroneError) -> Disconnect:
        """How a live connection ends for an error: to come back by itself, except where it must not."""
        return Disconnect(
            problem=error.problem,
            reconnect=error.reconnect
            if isinstance(error, DisconnectedByOperator)
            else not isinstance(error, TooManyConnections | UserBlocked),
            retry_after=FLOOD_PAUSE if isinstance(error, RateLimited) else timedelta(seconds=self.reconnect_delay()),
        )

    def reconnect_delay(self) -> float:
        """Seconds to leave before clients return after a fault of ours, so that they do not return at once."""
        return self.uniform(*RETURN_DELAY)

    def drain_schedule(self, connections: int) -> Sequence[float]:
        """Seconds from now at which to close each connection, so that their clients return spread out."""
        spread = min(self.drain.total_seconds(), connections / self.drain_rate)
        return [spread * number / connections for number in range(connections)]


def _all_of(faults: Sequence[SynkroneError]) -> SynkroneError:
    """One error that names them all: the first of each, and as many of the others as there is space for.

    It is a new one: an error that its own traceback leads to would keep everything alive that lies in between.
    """
    shown = faults[:ERRORS_MAX]
    spare = ERRORS_MAX - len(shown)
    errors: list[FieldError] = []
    for fault in shown:
        errors.extend(fault.errors[: 1 + spare])
        spare -= min(spare, len(fault.errors) - 1)
    total = sum(fault.errors_total for fault in faults)
    if all(isinstance(fault, PublicationTooLarge) for fault in faults):
        return PublicationTooLarge(summary(errors, total) or faults[0].detail).about(errors, total)
    return InvalidPublication(errors, total)


def _in_words(span: timedelta) -> str:
    """In the largest unit of which it is a whole number."""
    for unit in ("day", "hour", "minute", "second"):
        one = timedelta(**{f"{unit}s": 1})
        if span and not span % one:
            number = span // one
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{span.total_seconds()} seconds"
