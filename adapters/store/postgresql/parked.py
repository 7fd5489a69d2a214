"""What operators see of the outbox, and do with what is parked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import psycopg

from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.schema import unusable
from adapters.store.served import OutboxState, ParkedItem
from adapters.store.times import moment

LISTED_MAX: Final = 1_000

_WAITING = "SELECT count(*), min(published_at), (SELECT count(*) FROM synkrone.parked) FROM synkrone.outbox"
_PARKED = f"""
    SELECT number, type, id, published_at, parked_at, reason FROM synkrone.parked
    ORDER BY number LIMIT {LISTED_MAX}"""  # noqa: S608
_RETRY = "SELECT synkrone.retry_parked(%(numbers)s::bigint[])"
_DISCARD = """
    WITH gone AS (
        DELETE FROM synkrone.parked WHERE number = ANY (%(numbers)s::bigint[]) RETURNING number)
    SELECT count(*) FROM gone"""


def state(address: Address) -> OutboxState:
    """Raises StoreUnusable, as all here."""
    try:
        with address.connect() as line:
            waiting, oldest, total = line.execute(_WAITING).fetchall()[0]
            rows = line.execute(_PARKED).fetchall()
    except psycopg.Error as error:
        raise unusable(error) from None
    parked = [
        ParkedItem(number, kind, id_, moment(published_at), moment(parked_at), reason)
        for number, kind, id_, published_at, parked_at, reason in rows
    ]
    return OutboxState(waiting, moment(oldest) if oldest is not None else None, parked, total)


def retry(address: Address, numbers: Sequence[int] | None) -> int:
    """Into the outbox again, at its end."""
    return _changed(address, _RETRY, numbers)


def discard(address: Address, numbers: Sequence[int]) -> int:
    return _changed(address, _DISCARD, numbers)


def _changed(address: Address, query: str, numbers: Sequence[int] | None) -> int:
    try:
        with address.connect() as line:
            ((changed,),) = line.execute(
                query.encode(), {"numbers": list(numbers) if numbers is not None else None}
            ).fetchall()
            return int(changed)
    except psycopg.Error as error:
        raise unusable(error) from None
