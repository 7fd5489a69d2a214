"""The ledger of deliveries as databases keep it: what is asked of it, and what their rows say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeAlias

from adapters.store.addressing import audience_of, rooms_of
from adapters.store.times import microseconds, moment
from domain.model import (
    Addressed,
    AwaitedReceipt,
    ConnectionHistory,
    ConnectionId,
    ConnectionRecord,
    Notes,
    Position,
    UserId,
)
from domain.model.value import value
from domain.ports.ledger import CONNECTIONS_MOST
from domain.rules.item_state import in_time

ALL: Final = 1 << 62
"""Beyond every offset."""

Row: TypeAlias = Sequence[Any]
"""Of a connection: its run and number, and then as ``values_of`` has them, without the user. Of a notification: offset,
id, stored_at, expires_at, rooms, whether it is for the user by name, read_at, read_by, deleted, recalled, when it was
replaced, archived_at and snoozed_until."""


@value
class Remembering:
    """A request for the connections of a user."""

    user: UserId
    notifications: Sequence[Addressed]

    @property
    def offsets(self) -> Sequence[int]:
        return [one.position.offset for one in self.notifications]


@value
class Receiving:
    """A request for the times of receipts of a user."""

    user: UserId
    awaited: Sequence[AwaitedReceipt]


def users_in(notes: Notes) -> set[UserId]:
    """Of whom something is said."""
    return {one.user for one in notes.connections} | {user for user, _ in notes.receipts}


def notes_after(notes: Notes, erased: Mapping[UserId, int]) -> Notes:
    """But for what happened to users before they were erased, which was at an offset."""
    return replace(
        notes,
        connections=[one for one in notes.connections if one.after >= erased.get(one.user, 0)],
        receipts=[
            (user, receipt)
            for user, receipt in notes.receipts
            if max(receipt.upto.values(), default=0) >= erased.get(user, 0)
        ],
    )


def values_of(one: ConnectionRecord) -> dict[str, object]:
    """By the names of their columns, and in their order."""
    return {
        "number": one.number,
        "user_id": one.user,
        "id": one.id,
        "role": one.role,
        "device": one.device,
        "transport": one.transport,
        "pid": one.pid,
        "since": microseconds(one.since),
        "after": one.after,
        "had": one.had,
        "continues": one.continues,
        "replayed": one.replayed,
        "skipped": [*one.skipped],
        "until": microseconds(one.until) if one.until is not None else None,
        "ended": one.ended,
        "sent": one.sent,
        "received": one.received,
    }


def history_of(
    request: Remembering,
    is_open: Iterable[Row],
    ended_from: Callable[[int], Sequence[Row]],
    unsent: Iterable[tuple[int, int]],
) -> ConnectionHistory:
    """``ended_from`` gives the first ``CONNECTIONS_MOST`` that ended at a time or later, the first to end first.
    ``unsent`` are runs and offsets."""
    found = {(row[0], row[1]): row for row in is_open}
    for at in sorted({microseconds(one.stored_at) for one in request.notifications}):
        some = ended_from(at)
        found |= {(row[0], row[1]): row for row in some}
        if len(some) < CONNECTIONS_MOST:
            # It has all that follow.
            break
    by_run: dict[int, set[int]] = {}
    for run, offset in unsent:
        by_run.setdefault(run, set()).add(offset)
    connections = [_connection(request.user, row) for row in found.values()]
    return ConnectionHistory(
        sorted(connections, key=lambda one: (one.since, one.number)),
        {ConnectionId(row[2]): frozenset(by_run[run]) for (run, _), row in found.items() if run in by_run},
    )


def _connection(user: UserId, row: Row) -> ConnectionRecord:
    _, number, id_, role, device, transport, pid, since, after, had, continues, replayed, *others = row
    skipped, until, ended, sent, received = others
    return ConnectionRecord(
        id=ConnectionId(id_),
        number=number,
        user=user,
        role=role,
        device=device,
        transport=transport,
        pid=pid,
        since=moment(since),
        after=after,
        had=had,
        continues=continues,
        replayed=replayed,
        skipped=tuple(skipped),
        until=moment_or_none(until),
        ended=ended,
        sent=sent,
        received=received,
    )


def addressed_of(user: UserId, rows: Iterable[Row], position: Callable[[int], Position], floor: int) -> list[Addressed]:
    """The newest first; ``floor`` is the last offset that has left the log."""
    found: list[Addressed] = []
    for offset, id_, stored_at, expires_at, rooms, is_own, read_at, read_by, deleted, recalled, *rest in rows:
        kind, shared = audience_of(rooms)
        replaced_at, archived_at, snoozed_until = map(moment_or_none, rest)
        ends = moment_or_none(expires_at)
        read = in_time(moment_or_none(read_at), ends)
        found.append(
            Addressed(
                id=id_,
                position=position(offset),
                stored_at=moment(stored_at),
                audience=kind,
                rooms=rooms_of(user, shared, is_own=bool(is_own)),
                expires_at=ends,
                has_left=offset <= floor,
                read_at=read,
                read_by=read_by if read is not None else None,
                deleted=bool(deleted),
                recalled=bool(recalled),
                replaced_at=replaced_at,
                archived_at=archived_at,
                snoozed_until=snoozed_until,
            )
        )
    return sorted(found, key=lambda one: -one.position.offset)


def moment_or_none(at: int | None) -> datetime | None:
    return moment(at) if at is not None else None
