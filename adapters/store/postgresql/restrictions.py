"""What a PostgreSQL database knows against users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.store.postgresql.controls import Ordering, order_query
from adapters.store.postgresql.database import Database, Snapshot, Written, stored_time
from adapters.store.restrictions import Over, restriction_of
from adapters.store.times import microseconds
from domain.model import BlockUser, Restricted, Restriction, RestrictUser, RevokeTokens, UnblockUser, UserId

_SELECT = "SELECT user_id, log_offset, issued_before, blocked, until, reason FROM synkrone.restrictions"
_ALL = _SELECT.encode()
_ONE = f"{_SELECT} WHERE user_id = ANY (%(users)s::text[])".encode()
_FORGET = b"""
    DELETE FROM synkrone.restrictions
    WHERE (issued_before IS NULL OR issued_before <= %(issued_before)s::bigint)
        AND (NOT blocked OR until <= %(until)s::bigint)"""


class Restricting(Ordering[RestrictUser]):
    """The same for controls that say something against users, which is stored with them."""

    query = order_query(
        "append_restrictions",
        """%(users)s::text[], %(issued_before)s::bigint[], %(blocked)s::boolean[], %(until)s::bigint[],
        %(reasons)s::text[]""",
    )

    def _also(self) -> Mapping[str, object]:
        return {"users": [control.user for control in self._controls], **_columns(self._controls)}


def _columns(controls: Sequence[RestrictUser]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {"issued_before": [], "blocked": [], "until": [], "reasons": []}
    for control in controls:
        row: tuple[object, ...]
        match control:
            case RevokeTokens(_, issued_before):
                row = (microseconds(issued_before), None, None, None)
            case BlockUser(_, until, reason):
                row = (None, True, stored_time(until), reason)
            case UnblockUser():
                row = (None, False, None, None)
        for column, cell in zip(columns.values(), row, strict=True):
            column.append(cell)
    return columns


def restricted(snapshot: Snapshot, _: None) -> Restricted:
    rows = snapshot.db.execute(_ALL).fetchall()
    return Restricted(snapshot.as_of, tuple(map(restriction_of, rows)))


def restrictions(snapshot: Snapshot, users: Sequence[UserId]) -> list[Restriction | None]:
    """An operation of the readers: of each user."""
    rows = snapshot.db.execute(_ONE, {"users": list(users)}).fetchall()
    found = {one.user: one for one in map(restriction_of, rows)}
    return [found.get(user) for user in users]


class Forgetting:
    """Work of the writer."""

    once = False

    def __init__(self, those: Sequence[Over]) -> None:
        self._those = those

    def run(self, db: Database) -> Written:
        for over in self._those:
            db.execute(_FORGET, {"issued_before": microseconds(over.issued_before), "until": microseconds(over.until)})
        return Written([None] * len(self._those))
