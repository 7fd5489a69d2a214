"""The recount of users who are erased: nothing of before is told, listed or counted to anybody, and others miss
nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from domain.model import Audience, ChangeMembers, Entry, EraseUser, Erasure, ErasureState, Room, Subscriber, UserId
from tests.contract.recount_schedule import ScheduleRules, audiences

ENDS_WITHIN = 5000
"""Steps of tidying, some of which may have to be tried again."""


class ErasureRules(ScheduleRules):
    """``erased`` is as of which offset users were, the last time, and ``gone`` the ids of what was for such users
    alone. It is remembered for ``remembered``, at least."""

    remembered: timedelta
    subscribers: dict[tuple[str, str], Subscriber]
    marks: dict[tuple[str, str], int]

    def __init__(self) -> None:
        super().__init__()
        self.erased: dict[str, int] = {}
        self._last: dict[str, Erasure] = {}
        self.gone: set[str] = set()
        self._left: dict[str, frozenset[Room]] = {}
        self.erasures: list[str] = []

    def interrupt(self) -> None:
        """What may happen to a store in the middle of something."""

    # Nothing is lost where the erasure is the first entry of all.
    @precondition(lambda self: self.log)
    @rule(
        user=st.sampled_from(("ann", "bob", "carl")),
        steps=st.integers(0, 4),
        interrupted=st.booleans(),
        between=st.none() | st.lists(audiences, max_size=2),
    )
    def erase(
        self,
        user: str,
        steps: int,
        interrupted: bool,  # noqa: FBT001 (drawn)
        between: list[Audience] | None,
    ) -> None:
        """Once more while it runs, where there is something ``between``: what is to wait, or nothing."""
        ids = [self._begin(user)]
        # It is hidden at once.
        self.everything_is_as_the_log_says()
        for _ in range(steps):
            self.run(self.inbox.tidy())
        if between is not None:
            for to in between:
                self.schedule(to=to, number=1, hours=1, ends=None)
            ids.append(self._begin(user))
            self.everything_is_as_the_log_says()
        if interrupted:
            self.interrupt()
            self.everything_is_as_the_log_says()
        for id_ in reversed(ids):
            self._finish(id_)

    def _begin(self, user: str) -> str:
        """Another erasure, or the one that runs where nothing has come since."""
        head = self.run(self.catch_up())
        id_ = f"e-{len(self.erasures)}"
        begun = self.run(self.inbox.begin_erasure(UserId(user), id_, self.clock.now()))
        if begun.id != id_:
            self.count("erasure that runs already")
            assert begun.id == self._last[user].id
            assert not self._has_come(user)
            assert self.run(self.catch_up()) == head
            return begun.id
        if self._is_running(user):
            self.count("erasure while another one runs")
        self.erasures.append(id_)
        assert (begun.id, begun.begun_at) == (id_, self.clock.now())
        self._last[user] = begun
        assert self.run(self.catch_up()).offset == head.offset + 1
        assert self.log[-1].control == EraseUser(UserId(user))
        self._forget(user, head.offset + 1)
        return id_

    def _is_running(self, user: str) -> bool:
        last = self._last.get(user)
        known = self.run(self.inbox.erasure(last.id)) if last is not None else None
        return known is not None and known.state is ErasureState.RUNNING

    def _has_come(self, user: str) -> bool:
        own, since = Room.of_user(user), self.erased[user]
        return (
            any(whom[0] == user for whom in self.subscribers)
            or any(own in draft.rooms for draft in self.waiting.values())
            or any(own in entry.rooms for entry in self.log if entry.position.offset > since)
        )

    def mark_of_new(self, user: str) -> int:
        """What whoever is new counts as having received: all of before they were erased, while that is remembered. It
        is as if they never were, then."""
        last = self._last.get(user)
        if last is not None and self.run(self.inbox.erasure(last.id)) is None:
            assert self.clock.now() - last.begun_at >= self.remembered
            del self._last[user], self.erased[user]
        return self.erased.get(user, 0)

    def everything_is_as_the_log_says(self) -> None:
        raise NotImplementedError

    def _finish(self, id_: str) -> None:
        for _ in range(ENDS_WITHIN):
            erasure = self.run(self.inbox.erasure(id_))
            assert erasure is not None
            if erasure.state is ErasureState.DONE:
                assert erasure.user is None
                return
            self.run(self.inbox.tidy())
        raise AssertionError("it does not end")

    def _forget(self, user: str, offset: int) -> None:
        own = Room.of_user(user)
        self.erased[user] = offset
        self.log[:-1] = [_without(entry, own, UserId(user)) for entry in self.log[:-1]]
        for whom in [whom for whom in self.subscribers if whom[0] == user]:
            del self.subscribers[whom]
            del self.marks[whom]
        for draft in self.published:
            id_ = draft.notification.id
            self._left[id_] = self._left.get(id_, draft.rooms) - {own}
            if not self._left[id_]:
                self.gone.add(id_)
        for id_, draft in list(self.waiting.items()):
            if draft.rooms == {own}:
                del self.waiting[id_]
            else:
                self.waiting[id_] = replace(draft, rooms=draft.rooms - {own})
                self._left[id_] = draft.rooms - {own}
        self.snoozes = {key: until for key, until in self.snoozes.items() if key[0] != user}

    @invariant()
    def who_was_erased_begins_anew(self) -> None:
        for (user, _), subscriber in self.subscribers.items():
            if user in self.erased:
                own, offset = Room.of_user(user), self.erased[user]
                assert subscriber.starts[own] == offset - 1
                assert all(start >= offset for room, start in subscriber.starts.items() if room != own)

    @invariant()
    def nothing_of_before_is_told_to_them(self) -> None:
        """Not even that it is no more."""
        for user, offset in self.erased.items():
            told = [entry for entry in self.log[-20:] if Room.of_user(user) in entry.rooms]
            assert all(entry.position.offset > offset for entry in told)
            assert all(entry.about is None or entry.about > offset for entry in told)


def _without(entry: Entry, own: Room, user: UserId) -> Entry:
    if own in entry.rooms:
        return replace(entry, rooms=entry.rooms - {own})
    if isinstance(entry.control, ChangeMembers) and entry.control.names(user):
        return replace(entry, control=entry.control.without(user))
    return entry
