"""What is stored of a user, as they are given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from domain.model.inbox import Counts, Item, Listing
from domain.model.log import Position, Subscriber
from domain.model.topic import Span
from domain.model.value import value


@value
class UserExport:
    """What an export begins with: up to where the user has received the log, by set of roles, their stays in
    topics, the first first, and the first page of what they have snoozed, with what is counted of their inbox at a
    position. ``erased_at`` is as of which offset they were erased last before it, or 0."""

    subscriber: Subscriber
    marks: Mapping[str, int]
    stays: Sequence[Span]
    snoozed: Listing
    erased_at: int

    @property
    def counts(self) -> Counts:
        return self.snoozed.counts

    @property
    def as_of(self) -> Position:
        return self.snoozed.as_of


UserPart: TypeAlias = Sequence[Item]
"""A page of the inbox."""
