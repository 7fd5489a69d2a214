"""The recount of what is scheduled: it waits, is changed or cancelled, and comes once, in the order of the times."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from domain.errors import NotificationRecalled, UnknownNotification
from domain.model import AppendOutcome, Audience, Draft, Entry, Notification, Position
from tests.contract.inbox_harness import OpenedStore
from tests.contract.recount_operations import CountedOperations
from tests.doubles import ManualClock

T = TypeVar("T")

audiences = st.one_of(
    st.sets(st.sampled_from(("ann", "bob", "carl")), min_size=1).map(Audience.users),
    st.sampled_from(("company", "admin")).map(Audience.role),
    st.just(Audience.everyone()),
)


class ScheduleRules(CountedOperations):
    """``waiting`` are those that wait, in the order in which they were scheduled, and ``asked`` what was published of
    each, by which a retry is known. ``snoozes`` are until when, by users and ids; some of them may be no more."""

    inbox: OpenedStore
    clock: ManualClock
    published: list[Draft]
    log: list[Entry]

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, Draft] = {}
        self.asked: dict[str, Draft] = {}
        self.cancelled: set[str] = set()
        self.snoozes: dict[tuple[str, str], datetime] = {}

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    async def catch_up(self) -> Position:
        raise NotImplementedError

    @rule(to=audiences, number=st.integers(1, 3), hours=st.integers(1, 9), ends=st.none() | st.integers(1, 30))
    def schedule(self, to: Audience, number: int, hours: int, ends: int | None) -> None:
        due = self.clock.now() + timedelta(hours=hours)
        expires_at = due + timedelta(hours=ends) if ends is not None else None
        batch: list[Draft] = []
        for _ in range(number):
            id_ = f"s-{len(self.asked) + len(batch)}"
            notification = Notification(id_, "x", "t", None, None, to.kind, due, expires_at)
            batch.append(Draft(notification, to.rooms, True, f"key of {id_}", due, waits=True))
        self.count("schedule")
        appended = self.run(self.inbox.append(batch))
        assert all(one.waits and one.outcome is AppendOutcome.STORED for one in appended)
        for draft in batch:
            self.asked[draft.notification.id] = self.waiting[draft.notification.id] = draft

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 20))
    def schedule_again(self, pick: int) -> None:
        id_ = list(self.waiting)[pick % len(self.waiting)]
        (appended,) = self.run(self.inbox.append([self.asked[id_]]))
        assert (appended.outcome, appended.waits) == (AppendOutcome.DUPLICATE, True)

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0, 20))
    def cancel(self, pick: int) -> None:
        id_ = list(self.asked)[-1 - pick % len(self.asked)]
        if id_ in self.waiting:
            self.run(self.inbox.cancel(id_))
            del self.waiting[id_]
            self.cancelled.add(id_)
            return
        # What was cancelled long ago is forgotten.
        refusals = (UnknownNotification, *([NotificationRecalled] if id_ in self.cancelled else []))
        with pytest.raises(refusals):
            self.run(self.inbox.cancel(id_))

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 20), title=st.sampled_from("tuv"), minutes=st.sampled_from((0, 0, -20, 20)))
    def revise_what_waits(self, pick: int, title: str, minutes: int) -> None:
        id_ = list(self.waiting)[pick % len(self.waiting)]
        before = self.waiting[id_]
        seen: list[Notification] = []

        due = before.notification.created_at + timedelta(minutes=minutes)

        def revise(present: Notification) -> Notification:
            seen.append(present)
            return replace(present, title=title, created_at=due)

        self.run(self.inbox.revise_scheduled(id_, revise, self.clock.now()))
        assert seen[-1] == before.notification
        after = replace(before.notification, title=title, created_at=due)
        self.waiting[id_] = replace(before, notification=after, deliver_at=due)

    @rule(most=st.integers(1, 5))
    def deliver(self, most: int) -> None:
        self.run(self.catch_up())
        known, now = len(self.log), self.clock.now()
        order = sorted(self.waiting.values(), key=lambda draft: draft.notification.created_at)
        due = [draft for draft in order if draft.notification.created_at <= now][:most]
        came = self.run(self.inbox.deliver_due(now, most))
        self.run(self.catch_up())
        assert len(came.late) <= most
        assert all(late >= 0 for late in came.late)
        left = order[len(due) :]
        if left:
            assert came.next is not None
            assert came.next <= left[0].notification.created_at
        for draft in due:
            del self.waiting[draft.notification.id]
            self.published.append(draft)
        new = self.log[known:]
        assert [self.told_id(entry) for entry in new if entry.about is None] == [one.notification.id for one in due]
        for entry in new:
            if entry.about is not None:
                (room,) = entry.rooms
                assert self.snoozes.pop((room.removeprefix("user:"), self.told_id(entry))) <= now

    @rule()
    def deliver_all(self) -> None:
        """Nothing that is due is left."""
        for _ in range(1000):
            before = len(self.log)
            self.deliver(5)
            if len(self.log) == before and not self.run(self.inbox.deliver_due(self.clock.now(), 5)).late:
                break
        came = self.run(self.inbox.deliver_due(self.clock.now(), 5))
        assert came.next is None or came.next > self.clock.now()

    @staticmethod
    def told_id(entry: Entry) -> str:
        return str(json.loads(entry.payload)["id"])

    @invariant()
    def what_waits_is_there(self) -> None:
        assert len(self.waiting) <= self.run(self.inbox.waiting()) <= len(self.waiting) + len(self.snoozes)
        for id_, draft in list(self.waiting.items())[:3]:
            shown = self.run(self.inbox.scheduled(id_))
            assert shown is not None
            assert shown.payload is not None
            assert (shown.due, json.loads(shown.payload)["title"]) == (draft.deliver_at, draft.notification.title)
