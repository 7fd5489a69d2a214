"""The server's own events about a connection: their names and first arguments, the same over every transport."""

from __future__ import annotations

from datetime import timedelta

from adapters.contract.answers import counts_object
from adapters.contract.json_text import timestamp
from adapters.contract.problems import problem_object
from domain.model import ConnectReply, CountsChanged, Disconnect, Expiring

READY = "session.ready"
CLOSING = "session.closing"
EXPIRING = "session.expiring"
COUNTS = "inbox.counts"

_MILLISECOND = timedelta(milliseconds=1)


def ready(reply: ConnectReply) -> dict[str, object]:
    """``{user: {id, role, roles?}, recovered, reason, counts, expires_at, server_time}``; the cursor follows as an
    argument."""
    several = {"roles": [*reply.identity.roles]} if reply.identity.roles else {}
    return {
        "user": {"id": reply.identity.user, "role": reply.identity.role, **several},
        "recovered": reply.recovered,
        "reason": reply.reason.value if reply.reason is not None else None,
        "counts": counts_object(reply.counts),
        "expires_at": timestamp(reply.identity.expires_at),
        "server_time": timestamp(reply.server_time),
    }


def closing(refusal: Disconnect) -> dict[str, object]:
    """``{code, title, detail?, retryable, reconnect, retry_after_ms}``"""
    return {
        **problem_object(refusal.problem),
        "reconnect": refusal.reconnect,
        "retry_after_ms": refusal.retry_after // _MILLISECOND,
    }


def session_event(event: CountsChanged | Expiring) -> tuple[str, dict[str, object]]:
    """Its name, and ``{unread, unseen, total}`` or ``{expires_at}``."""
    match event:
        case CountsChanged(counts):
            return COUNTS, dict(counts_object(counts))
        case Expiring(expires_at):
            return EXPIRING, {"expires_at": timestamp(expires_at)}
