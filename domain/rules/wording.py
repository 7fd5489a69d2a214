"""What became of a notification, in a sentence or two that can be read aloud."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from domain.model import (
    SERVER_STOPPED,
    Attempt,
    AudienceKind,
    ConnectionRecord,
    DisconnectReason,
    NotificationState,
    Outcome,
    Room,
    ScheduledNotification,
    UserId,
    roles_in,
)
from domain.rules.deliveries import Case

_ENDS: Mapping[str, str] = {
    DisconnectReason.CLIENT_CLOSE: "the client closed it",
    DisconnectReason.TRANSPORT_CLOSE: "the line was cut",
    DisconnectReason.PING_TIMEOUT: "the client had stopped answering",
    DisconnectReason.PROTOCOL_ERROR: "the client sent something malformed",
    DisconnectReason.SLOW_CONSUMER: "the client had stopped reading",
    DisconnectReason.RATE_LIMITED: "the client asked for too much at once",
    DisconnectReason.ANSWER_UNCERTAIN: "it was uncertain whether an answer had arrived",
    DisconnectReason.SERVER_CLOSED: "the server closed it",
    DisconnectReason.TOKEN_EXPIRED: "its token had expired",
    DisconnectReason.TOKEN_REVOKED: "an operator had revoked its token",
    DisconnectReason.BLOCKED: "an operator had blocked them",
    DisconnectReason.TOO_MANY_CONNECTIONS: "they had too many connections",
    DisconnectReason.SUPERSEDED: "the same client had come back by another one",
    DisconnectReason.DISCONNECTED_BY_OPERATOR: "an operator disconnected them",
    DisconnectReason.CURSOR_REFUSED: "the log could not be continued for it",
    DisconnectReason.UNAVAILABLE: "the server could not go on with it",
    DisconnectReason.STORE_UNAVAILABLE: "the store was unavailable",
    DisconnectReason.SHUTTING_DOWN: "the server was shut down",
    SERVER_STOPPED: "the server stopped without a word",
}


def sentence(case: Case) -> str:
    """For the outcome of the case."""
    return " ".join(part for part in (_first(case), _more(case)) if part)


def sentence_of_scheduled(user: UserId, notification: ScheduledNotification) -> str:
    """Of what nobody has been sent."""
    is_named = notification.audience.kind is AudienceKind.USER
    is_for_others = is_named and Room.of_user(user) not in notification.audience.rooms
    others = f", to other users, and not to {user}" if is_for_others else ""
    due = _time(notification.due)
    if notification.state is NotificationState.CANCELLED:
        return f"It was cancelled before it was sent: it was to be sent at {due}{others}."
    return f"It is scheduled: it is sent at {due}{others}."


def _first(case: Case) -> str:
    match case.outcome:
        case Outcome.NOT_ADDRESSED:
            return _not_addressed(case)
        case Outcome.DELETED:
            if not case.notification.deleted:
                return f"{_over(case)} {_withdrawn(case)}"
            return f"{_received(case) or _stored(case)} They deleted it."
        case Outcome.RECEIVED:
            return _received(case) or _received_before(case)
        case Outcome.SENT:
            return f"{_sent(case)} {_to_come(case, 'sent again', 'when that client comes back')}"
        case Outcome.WAITING:
            return f"{_stored(case)} {_why_not_sent(case)} {_to_come(case, 'sent', 'as soon as they connect')}"
        case Outcome.EXPIRED:
            return f"{_over(case)} It expired at {_ended(case)}."
        case Outcome.TRIMMED:
            return f"{_over(case)} It has left the log since and is not sent any more, but may still be in their inbox."


def _over(case: Case) -> str:
    return _sent(case) or f"{_stored(case)} {_why_not_sent(case)}"


def _withdrawn(case: Case) -> str:
    """That it is nobody's any more, by its publisher."""
    notification = case.notification
    if notification.recalled:
        # It may have expired before that: what is kept is the earlier of the two.
        return f"Its publisher took it back. It was over at {_ended(case)}."
    if notification.replaced_at is not None:
        return f"One that was published at {_time(notification.replaced_at)} has taken its place."
    return ""


def _ended(case: Case) -> str:
    return _time(case.notification.expires_at) if case.notification.expires_at is not None else ""


def _to_come(case: Case, sent: str, when: str) -> str:
    block, expires_at = case.block, case.notification.expires_at
    if block is None:
        return f"It is {sent} {when}."
    if block.until is None:
        return f"{case.user} is blocked, without an end: it is {sent} once the block is taken back, {when}."
    blocked = f"{case.user} is blocked until {_time(block.until)}"
    if expires_at is not None and expires_at <= block.until:
        return f"{blocked}, and it expires before that, at {_time(expires_at)}."
    return f"{blocked}: it is {sent} after that, {when}."


def _more(case: Case) -> str:
    """What was done to it, and why it is not shown any more, as far as that is not the outcome."""
    if case.outcome is Outcome.NOT_ADDRESSED:
        return ""
    is_over = case.outcome in (Outcome.DELETED, Outcome.EXPIRED, Outcome.TRIMMED)
    return " ".join(part for part in (_read(case), "" if is_over else _not_shown(case)) if part)


def _read(case: Case) -> str:
    notification = case.notification
    if notification.read_at is None:
        return ""
    by = f" by {_named(notification.read_by)}" if notification.read_by is not None else ""
    return f"It was marked as read at {_time(notification.read_at)}{by}."


def _not_shown(case: Case) -> str:
    notification, expires_at = case.notification, case.notification.expires_at
    if withdrawn := _withdrawn(case):
        return withdrawn
    if expires_at is not None and expires_at <= case.now:
        return f"It expired at {_time(expires_at)}."
    if notification.snoozed_until is not None:
        return f"They snoozed it until {_time(notification.snoozed_until)}."
    if notification.archived_at is not None:
        return f"They archived it at {_time(notification.archived_at)}."
    return ""


def _not_addressed(case: Case) -> str:
    notification = case.notification
    if notification.audience is AudienceKind.USER:
        return f"It was published for other users, and not for {case.user}."
    at = _time(notification.stored_at)
    if any(room.is_all for room in notification.rooms):
        (whole,) = notification.rooms
        groups = " and ".join(" ".join(("the", *room.partition(":")[::2])) for room in whole.parts)
        return f"It was published for whoever is in {groups}, at {at}, and {case.user} was not in all of them by then."
    topics, roles = _any_of("topic", notification.rooms), _any_of("role", notification.rooms)
    is_one = len(notification.rooms) == 1
    if topics:
        groups = " or ".join(part for part in (topics, roles) if part)
        was = "was not in it" if is_one else "was in none of them"
        return f"It was published for {groups} at {at}, and {case.user} {was} by then."
    come = f"come in {'that role' if is_one else 'any of them'}" if roles else "come"
    return (
        f"It was published for {roles or 'everyone'} at {at}, and by then {case.user} had never {come}, neither by a "
        "connection nor over HTTP: what is older does not exist for them."
    )


def _any_of(kind: str, rooms: Iterable[Room]) -> str:
    """Those of a kind: ``the role admin or driver``; empty where there is none."""
    names = sorted(name for of, _, name in (room.partition(":") for room in rooms) if of == kind)
    return f"the {kind} {' or '.join(names)}" if names else ""


def _stored(case: Case) -> str:
    return f"It was stored at {_time(case.notification.stored_at)}."


def _received(case: Case) -> str:
    received = case.received
    if received is None or received.sent_at is None or received.received_at is None:
        return ""
    return (
        f"It was sent to {_by(received.connection)} at {_time(received.sent_at)}, and had arrived by "
        f"{_time(received.received_at)}."
    )


def _received_before(case: Case) -> str:
    if case.is_complete and case.is_unwitnessed:
        return (
            f"{_stored(case)} Their client came back knowing it, after a connection of which the server noted nothing."
        )
    if case.is_complete:
        return f"{_stored(case)} A client of theirs came with a cursor beyond it, so that it is known to have it."
    return f"{_stored(case)} They have received what lies after it; how it was delivered is not kept for so long."


def _sent(case: Case) -> str:
    if not case.sent:
        return ""
    last = case.sent[-1]
    times = len(case.sent)
    before = f" It was sent {times} times by then." if times > 1 else ""
    at = _time(last.sent_at) if last.sent_at is not None else ""
    return f"It was sent to {_by(last.connection)} at {at}, but nothing shows that it arrived: {_end(last)}.{before}"


def _end(attempt: Attempt) -> str:
    connection = attempt.connection
    if connection.until is None:
        return "the connection is open, and its client has not confirmed it yet"
    why = _ENDS.get(connection.ended or "", f"it ended with {connection.ended}")
    return f"the connection ended at {_time(connection.until)}, as {why}"


def _why_not_sent(case: Case) -> str:
    if not case.has_come:
        return "They have not connected."
    if not case.is_complete:
        return "Whether they were connected since is not kept for so long."
    others = [attempt.connection for attempt in case.attempts if attempt.sent_at is None]
    elsewhere = [connection for connection in others if not case.reach.includes(connection)]
    if elsewhere:
        roles = " and ".join(roles_in(elsewhere[-1].role))
        return f"They were connected since, but only in the role {roles}, which it is not for."
    if others:
        return "They were connected since, but it was not sent to them by then."
    # Whether they ever were is not known: who has only asked over HTTP has come as well.
    return "They had no connection since."


def _by(connection: ConnectionRecord) -> str:
    return f"{_named(connection.device)} over {connection.transport}"


def _named(device: str | None) -> str:
    return f"the device “{device}”" if device else "a device without a name"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
