"""What a SQLite file knows against users."""

from __future__ import annotations

import sqlite3

from adapters.store.restrictions import Over, restriction_of, stored
from adapters.store.sqlite.log import head
from adapters.store.sqlite.transaction import LogTransaction
from adapters.store.times import microseconds
from domain.model import Restriction, RestrictUser, UserId
from domain.model.value import value
from domain.rules import restrictions as rule

_SELECT = "SELECT user, offset, issued_before, blocked, until, reason FROM restrictions"


@value
class Found:
    """Everybody who is restricted, while the log ended at ``head``."""

    head: int
    restrictions: tuple[Restriction, ...]


def restrict(transaction: LogTransaction, control: RestrictUser) -> None:
    """As the control says that was logged last."""
    after = rule.after(restriction(transaction.db, control.user), control, transaction.head)
    transaction.db.execute("REPLACE INTO restrictions VALUES (?, ?, ?, ?, ?, ?)", stored(after))


def restricted(db: sqlite3.Connection, _: None) -> Found:
    return Found(head(db), tuple(restriction_of(row) for row in db.execute(_SELECT)))


def restriction(db: sqlite3.Connection, user: UserId) -> Restriction | None:
    row = db.execute(f"{_SELECT} WHERE user = ?", (user,)).fetchone()
    return restriction_of(row) if row is not None else None


def forget_restrictions(transaction: LogTransaction, over: Over) -> None:
    """An operation of the writer."""
    transaction.db.execute(
        """
        DELETE FROM restrictions
        WHERE (issued_before IS NULL OR issued_before <= ?) AND (NOT blocked OR until <= ?)""",
        (microseconds(over.issued_before), microseconds(over.until)),
    )
