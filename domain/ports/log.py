"""The log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeAlias

from domain.model import (
    Appended,
    Arrival,
    Arrived,
    Checkpoint,
    Draft,
    Page,
    Position,
    Room,
    Subscriber,
    TailEntry,
    UserControl,
)

Wanted: TypeAlias = Callable[[frozenset[Room]], bool]
"""Whether somebody is to get what is in these rooms. It is asked often, and by any thread."""


class Log(Protocol):
    """Every event, in the one order in which it is delivered: a new notification, and what users do to theirs.

    It is the truth. An entry is visible only when all before it are. Everything here raises StoreUnavailable where the
    store cannot do it at the moment; then nothing was stored.
    """

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        """Store the drafts and the source's checkpoint in one commit, and say what became of each, in order.

        A draft with the id or the idempotency key of an earlier one is a duplicate where the content is the same, else
        a conflict; neither is stored. One that waits is stored in the ``Schedule``, and not in the log. With
        ``all_or_nothing`` a conflict keeps the whole batch out, and the outcomes say which it was. Positions are given
        out in the order of commits. Raises PublicationTooLarge for a batch that can never fit, CheckpointMoved where
        the stored checkpoint is not the one that this one follows, TooManyScheduled where more of it wait than may, and
        then nothing was stored.
        """

    async def append_control(self, control: UserControl) -> Position:
        """Store it as an entry in no room, and say where: every server meets it there as it follows the tail. What it
        says against a user is stored in the same commit, see ``Restrictions``."""

    def tail(self, after: Position, wanted: Wanted | None = None) -> AsyncIterator[Sequence[TailEntry]]:
        """Every entry after a position, once, in order, whoever appended it; waits for more, for ever.

        What is not ``wanted`` as it is given may come without its payload; without ``wanted`` everything is. Whoever
        begins to want something later reads the log from then on, which includes all that was given before. A
        notification that was looked at before it was wanted, and is gone as it is given, is a NOTIFICATION_DELETED for
        nobody that is ``about`` itself.

        What a follower was not given yet is never trimmed. Raises CursorRefused where the position is not one of this
        log, or entries after it were trimmed while nobody followed.
        """

    async def arrive(self, arrivals: Sequence[Arrival]) -> Sequence[Arrived]:
        """Register users, and read where each continues, what follows and what lies in their inbox, each of one moment.

        They are registered as by ``Subscribers.register``; whoever is known costs no write. Those who arrive at once
        may share one reading.
        """

    async def read(self, subscriber: Subscriber, after: Position, *, max_entries: int, max_bytes: int) -> Page:
        """The entries a subscriber can reach after a position, each once, in order, of one snapshot of the log.

        A page holds at least one entry where there is one, whatever its size; but none that has lost its content, of
        what revises a notification none that the subscriber has deleted or snoozed, or that is in no inbox any more,
        nothing about one that a later one has taken the place of, and of what is about one in a topic none that is not
        theirs. Raises
        CursorRefused where the log cannot be read from there on: INVALID where the position is past the end of its
        epoch, UNKNOWN_EPOCH, or TRIMMED where an entry after it, which the subscriber could reach, is gone.
        """

    async def head(self) -> Position:
        """The position of the last entry; of an empty log, the one before the first."""
