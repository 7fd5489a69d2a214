"""Digests of rows, made alike by this program and by a PostgreSQL server, whatever the order of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from domain.model.value import value

_NEXT, _NONE = "\x1f", "\x1e"
"""What keeps the columns of a row apart, and stands for one that is NULL. Neither names nor JSON hold them."""

_OCTETS: Final = 8


@value
class Digest:
    """How many rows there are, and the sum of a number that is made of each."""

    rows: int
    sum: int


def digest(rows: Iterable[Sequence[object]]) -> Digest:
    """``bytes`` count as hex digits, and truth values as PostgreSQL writes them."""
    number = total = 0
    for row in rows:
        number += 1
        octets = sha256(_NEXT.join(map(_text, row)).encode()).digest()[:_OCTETS]
        total += int.from_bytes(octets, "big", signed=True)
    return Digest(number, total)


def digest_in_sql(columns: Sequence[str]) -> str:
    """The columns of a query that answers with the same two numbers. The columns are expressions."""
    texts = ", ".join(f"coalesce(({column})::text, chr({ord(_NONE)}))" for column in columns)
    line = f"convert_to(concat_ws(chr({ord(_NEXT)}), {texts}), 'UTF8')"
    octets = f"encode(substring(sha256({line}) FOR {_OCTETS}), 'hex')"
    return f"count(*), coalesce(sum(('x' || {octets})::bit({8 * _OCTETS})::bigint), 0)"


def _text(column: object) -> str:
    if column is None:
        return _NONE
    if isinstance(column, bytes):
        return column.hex()
    if isinstance(column, bool):
        return "true" if column else "false"
    return str(column)
