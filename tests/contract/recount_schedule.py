"""The recount of what is scheduled: it waits, is changed or cancelled, and comes once, in the order of the times."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.errors import NotificationRecalled, UnknownNotification
from domain.model import AppendOutcome, Audience, Draft, Notification
from tests.contract.inbox_harness import OpenedStore
from tests.doubles import ManualClock

T = TypeVar("T")

audiences = st.one_of(
    st.sets(st.sampled_from(("ann", "bob", "carl")), min_size=1).map(Audience.users),
    st.sampled_from(("company", "admin")).map(Audience.role),
    st.just(Audience.everyone()),
)


class ScheduleRules(RuleBasedStateMachine):
    """``waiting`` are those that wait, in the order in which they were scheduled, and ``asked`` what was published of
    each, by which a retry is known."""

    inbox: OpenedStore
    clock: ManualClock
    published: list[Draft]

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, Draft] = {}
        self.asked: dict[str, Draft] = {}
        self.cancelled: set[str] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
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
    @rule(pick=st.integers(0, 20), title=st.sampled_from("tuv"))
    def revise_what_waits(self, pick: int, title: str) -> None:
        id_ = list(self.waiting)[pick % len(self.waiting)]
        before = self.waiting[id_]
        seen: list[Notification] = []

        def revise(present: Notification) -> Notification:
            seen.append(present)
            return replace(present, title=title)

        self.run(self.inbox.revise_scheduled(id_, revise, self.clock.now()))
        assert seen[-1] == before.notification
        self.waiting[id_] = replace(before, notification=replace(before.notification, title=title))

    @rule(most=st.integers(1, 5))
    def deliver(self, most: int) -> None:
        head = self.run(self.inbox.head())
        order = sorted(self.waiting.values(), key=lambda draft: draft.notification.created_at)
        due = [draft for draft in order if draft.notification.created_at <= self.clock.now()]
        came = self.run(self.inbox.deliver_due(self.clock.now(), most))
        assert len(came.late) == min(most, len(due))
        left = order[len(came.late) :]
        assert came.next == (left[0].deliver_at if left else None)
        for draft in due[: len(came.late)]:
            del self.waiting[draft.notification.id]
            self.published.append(draft)
        assert self.run(self.inbox.head()).offset == head.offset + len(came.late)

    @invariant()
    def what_waits_is_there(self) -> None:
        assert self.run(self.inbox.waiting()) == len(self.waiting)
        for id_, draft in list(self.waiting.items())[:3]:
            shown = self.run(self.inbox.scheduled(id_))
            assert shown is not None
            assert (shown.due, json.loads(shown.payload)["title"]) == (draft.deliver_at, draft.notification.title)
