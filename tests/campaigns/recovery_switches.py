"""The rules of recovery, each switched off by putting something else in the place of what holds it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.store.memory import MemoryStore, all_of, log
from adapters.store.memory.collapsing import CollapseIndex
from adapters.store.memory.erasures import MemoryErasures
from adapters.store.memory.scheduled import KeptSchedule
from adapters.store.memory.snoozes import MemorySnoozes
from adapters.store.seals import Seals
from adapters.store.tail import Tail
from adapters.system.pids import KeyedPids
from domain.delivery.hub import Hub, Subscription
from domain.delivery.live_outlets import LiveOutlets
from domain.delivery.reach import Reach
from domain.delivery.revisions import Revisions
from domain.delivery.window import Window
from domain.model import (
    NOTIFICATION_DELETED,
    Arrival,
    Entry,
    Erasure,
    Identity,
    Page,
    PidVerdict,
    Position,
    RecoveryReason,
    ResumeRequest,
    Room,
    Span,
    Subscriber,
    TailEntry,
    UserId,
)
from domain.policy import ConnectionPolicy
from domain.ports import Wanted
from domain.rules import recovery as rules
from domain.rules.epochs import Generations
from domain.rules.groups import stays_in
from domain.rules.recovery import Continuation, Resumption, Standing, continuation, refused_offset, resumption
from domain.services import recovery
from domain.services.catching_up import CatchingUp
from domain.services.connecting import ConnectionService
from domain.services.connections import Connections
from domain.services.marks import Marks
from domain.services.recovery import RecoveryService, Start
from tests.campaigns import recovery_world
from tests.campaigns.recovery_world import View

Patch = Callable[[pytest.MonkeyPatch], None]


def head_as_the_first_cursor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Page, "continues_at", property(lambda page: page.upto))


def offset_without_a_pid(patch: pytest.MonkeyPatch) -> None:
    def counts(resume_request: ResumeRequest, verdict: PidVerdict | None) -> Resumption:
        asked = resumption(resume_request, verdict)
        if verdict is not None or resume_request.offset is None:
            return asked
        return replace(asked, cursors=(*asked.cursors, resume_request.offset))

    patch.setattr(recovery, "resumption", counts)


def verdict_taken_for_good(verdict: PidVerdict) -> Patch:
    def switch(patch: pytest.MonkeyPatch) -> None:
        examine = KeyedPids.examine

        async def lenient(self: KeyedPids, pid: object, user: UserId, offset: object) -> PidVerdict:
            found = await examine(self, pid, user, offset)
            return PidVerdict.GOOD if found is verdict else found

        patch.setattr(KeyedPids, "examine", lenient)

    return switch


def cursor_of_the_one_before(patch: pytest.MonkeyPatch) -> None:
    def counts(resume_request: ResumeRequest, verdict: PidVerdict | None) -> Resumption:
        asked = resumption(resume_request, verdict)
        if verdict in (PidVerdict.OF_ANOTHER_USER, PidVerdict.UNANSWERED) and resume_request.cursor is not None:
            return Resumption((resume_request.cursor,), None, stays=False)
        return asked

    patch.setattr(recovery, "resumption", counts)


def digest_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Known the first time, and not carried on to the pid after."""
    examine, unanswered = KeyedPids.examine, set[object]()

    async def noted(self: KeyedPids, pid: object, user: UserId, offset: object) -> PidVerdict:
        verdict = await examine(self, pid, user, offset)
        if verdict is PidVerdict.UNANSWERED:
            unanswered.add(pid)
        return verdict

    patch.setattr(KeyedPids, "examine", noted)
    patch.setattr(recovery, "refused_offset", lambda c: None if c.pid in unanswered else refused_offset(c))


def earlier_cursor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "max", lambda positions, key: min(positions, key=key), raising=False)


def only_one_cursor_has_to_be_good(patch: pytest.MonkeyPatch) -> None:
    def either(arrival: Arrival, standing: Standing) -> Continuation:
        found = continuation(arrival, standing)
        if found.recovered or len(arrival.cursors) < 2:
            return found
        return continuation(replace(arrival, cursors=arrival.cursors[1:]), standing)

    patch.setattr(log, "continuation", either)


def window_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "after", lambda *_: iter(()))


def window_sent_whole(patch: pytest.MonkeyPatch) -> None:
    """As far as it was read: what was not has nothing that could be sent."""

    def whole(self: Window, offset: int) -> Iterator[TailEntry]:
        return (one for one in list(self._entries) if one.position.offset > offset or isinstance(one, Entry))

    patch.setattr(Window, "after", whole)


def overflow_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "reaches", lambda *_: True)


def live_at_once(patch: pytest.MonkeyPatch) -> None:
    """Though the log was read beyond the tail."""
    resume = Subscription.resume

    def too_early(self: Subscription[Any, Any], after: Position) -> bool:
        resumed = resume(self, after)
        if resumed and self.is_open:
            self.enter()
        return resumed

    patch.setattr(Subscription, "resume", too_early)


def marks_by_what_was_sent(patch: pytest.MonkeyPatch) -> None:
    go_live = CatchingUp.go_live

    async def sent(
        self: CatchingUp, connection: Subscription[Any, Any], subscriber: Subscriber, after: Position
    ) -> None:
        await go_live(self, connection, subscriber, after)
        self._recovery.acknowledge(subscriber, after)

    patch.setattr(CatchingUp, "go_live", sent)


def marks_without_cursors(patch: pytest.MonkeyPatch) -> None:
    start = RecoveryService.start

    async def quietly(
        self: RecoveryService, identity: Identity, rooms: frozenset[Room], resume_request: ResumeRequest
    ) -> Start:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Marks, "acknowledge", lambda *_: None)
            return await start(self, identity, rooms, resume_request)

    patch.setattr(RecoveryService, "start", quietly)


def marks_without_receipts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecoveryService, "acknowledge", lambda *_: None)


def marks_that_shrink(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: Marks, user: UserId, role: str, upto: Position) -> None:
        self._unstored[user, role] = upto

    patch.setattr(Marks, "acknowledge", acknowledge)


def marks_lost_by_a_failed_store(patch: pytest.MonkeyPatch) -> None:
    store = Marks.store

    async def forgetful(self: Marks) -> None:
        try:
            await store(self)
        finally:
            self._unstored.clear()

    patch.setattr(Marks, "store", forgetful)


def one_mark_for_all_roles(patch: pytest.MonkeyPatch) -> None:
    def received(self: MemoryStore, subscriber: Subscriber) -> int:
        return max(self._user(subscriber.user).marks.values(), default=0)

    patch.setattr(MemoryStore, "_mark_of", received)


def new_roles_from_the_beginning(patch: pytest.MonkeyPatch) -> None:
    enter = MemoryStore._register

    def begin(self: MemoryStore, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        self._user(user).marks.setdefault(role, 0)
        return enter(self, user, role, rooms)

    patch.setattr(MemoryStore, "_register", begin)


def new_roles_follow_the_others(patch: pytest.MonkeyPatch) -> None:
    """Without a mark of its own a role has the user's highest at any time, and not the one it began with."""

    def register(self: MemoryStore, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        own, starts = Room.of_user(user), self._user(user).starts
        return Subscriber(
            user, role, {room: 0 if room == own else starts.setdefault(room, self._tail.head) for room in rooms}
        )

    def received(self: MemoryStore, subscriber: Subscriber) -> int:
        marks = self._user(subscriber.user).marks
        return marks.get(subscriber.role, max(marks.values(), default=0))

    patch.setattr(MemoryStore, "_register", register)
    patch.setattr(MemoryStore, "_mark_of", received)


def no_start_in_shared_rooms(patch: pytest.MonkeyPatch) -> None:
    with_starts = MemoryStore._register

    def register(self: MemoryStore, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        return replace(with_starts(self, user, role, rooms), starts=dict.fromkeys(rooms, 0))

    patch.setattr(MemoryStore, "_register", register)


def start_anew_each_time(patch: pytest.MonkeyPatch) -> None:
    def register(self: MemoryStore, user: UserId, role: str, rooms: frozenset[Room]) -> Subscriber:
        own = Room.of_user(user)
        return Subscriber(user, role, {room: 0 if room == own else self._tail.head for room in rooms})

    patch.setattr(MemoryStore, "_register", register)


def rooms_of_other_roles(patch: pytest.MonkeyPatch) -> None:
    rooms = ConnectionPolicy.rooms
    patch.setattr(ConnectionPolicy, "rooms", lambda self, who: rooms(self, who) | {Room.of_role("company")})


def trimming_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_floor_of", lambda *_: 0)


def trimming_untold(patch: pytest.MonkeyPatch) -> None:
    def silently(arrival: Arrival, standing: Standing) -> Continuation:
        found = continuation(arrival, standing)
        return found if arrival.cursors else replace(found, reason=None)

    patch.setattr(log, "continuation", silently)


def past_the_end_of_a_generation(patch: pytest.MonkeyPatch) -> None:
    def fault(self: Generations, position: Position, _head: int) -> RecoveryReason | None:
        is_known = position.epoch in {generation.epoch for generation in self.known}
        return None if is_known else RecoveryReason.UNKNOWN_EPOCH

    patch.setattr(Generations, "fault", fault)


def older_connection_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ConnectionService, "_supersede", lambda *_: None)


def same_pid_for_ever(patch: pytest.MonkeyPatch) -> None:
    start = RecoveryService.start

    async def keeps(
        self: RecoveryService, identity: Identity, rooms: frozenset[Room], resume_request: ResumeRequest
    ) -> Start:
        found = await start(self, identity, rooms, resume_request)
        return replace(found, pid=found.continues) if found.continues is not None else found

    patch.setattr(RecoveryService, "start", keeps)


def expired_entries_replayed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hub, "are_current", lambda _, entries: [True for _ in entries])


def answer_before_what_it_includes(patch: pytest.MonkeyPatch) -> None:
    async def never(_: CatchingUp, __: object, ___: object, ____: object, upto: Position, **_____: object) -> Position:
        return upto

    patch.setattr(CatchingUp, "replay_until", never)


def answer_without_a_pause(patch: pytest.MonkeyPatch) -> None:
    pause = Subscription.pause

    def live(self: Subscription[Any, Any]) -> Position:
        position = pause(self)
        self.resume(position)
        return position

    patch.setattr(Subscription, "pause", live)


def only_the_first_page(patch: pytest.MonkeyPatch) -> None:
    start = RecoveryService.start

    async def one_page(
        self: RecoveryService, identity: Identity, rooms: frozenset[Room], resume_request: ResumeRequest
    ) -> Start:
        found = await start(self, identity, rooms, resume_request)
        return replace(found, page=replace(found.page, more=False))

    patch.setattr(RecoveryService, "start", one_page)


def retries_stored_again(patch: pytest.MonkeyPatch) -> None:
    decide = MemoryStore._decide

    def forgetful(self: MemoryStore, batch: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self, "_by_id", {})
            return decide(self, batch)

    patch.setattr(MemoryStore, "_decide", forgetful)


def tail_from_where_a_node_comes_to_know(patch: pytest.MonkeyPatch) -> None:
    """What was appended by others, while nothing was heard of them, is passed over."""

    async def only_the_newest(
        self: View, after: Position, wanted: Wanted | None = None
    ) -> AsyncIterator[Sequence[TailEntry]]:
        async for entries in tail(self, after, wanted):
            yield entries[-1:]

    tail = View.tail
    patch.setattr(View, "tail", only_the_newest)


def who_is_paused_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """By the tail: what is for nobody who is live is nobody's, without its payload."""
    patch.setattr(Hub, "has_member", lambda hub, rooms: not hub.rooms.isdisjoint(rooms))
    patch.setattr(recovery_world, "_outline", lambda entry: replace(entry, rooms=frozenset()))


def clients_of_before_a_loss_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Connections, "close_all", lambda *_: 0)


def marks_of_before_a_loss_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecoveryService, "forget_marks", lambda _: None)


def recalled_entries_read(patch: pytest.MonkeyPatch) -> None:
    remove = CollapseIndex.remove

    def remove_what_is_there(self: CollapseIndex, key: str, rooms: Iterable[Room], offset: int) -> None:
        # What stays is in rooms of before, whose users may have been erased.
        for room in rooms:
            with suppress(KeyError):
                remove(self, key, (room,), offset)

    patch.setattr(Tail, "_erase", lambda *_: None)
    patch.setattr(CollapseIndex, "remove", remove_what_is_there)


def recalled_entries_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hub, "withdraw", lambda *_: None)


def revised_entries_replayed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Tail, "_amend", lambda self, entry, about: self._erase(about) if entry.event == NOTIFICATION_DELETED else None
    )


def revisions_told_as_such_to_all(patch: pytest.MonkeyPatch) -> None:
    sent_for = Revisions.sent_for

    def as_it_is(self: Revisions, entry: Entry, upto: int, *, is_read: bool) -> Entry | None:
        return entry if sent_for(self, entry, upto, is_read=is_read) is not None else None

    patch.setattr(Revisions, "sent_for", as_it_is)


def cut_readers_are_owed_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revisions, "resume", lambda *_: None)


def replaced_entries_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_without_replaced", lambda _, __, entries: iter(entries))


def replaced_entries_listed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CollapseIndex, "is_replaced", lambda *_: False)


def later_ones_told_as_new_to_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revisions, "_has_one", lambda *_: False)


def revisions_of_what_is_older_than_the_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revisions, "_exists", lambda *_, **__: True)
    patch.setattr(LiveOutlets, "_reached", lambda self, offset, rooms: self._in(rooms, offset))


def due_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What was taken out, and could not be stored."""
    patch.setattr(KeptSchedule, "put_back", lambda *_: None)


def due_too_early(patch: pytest.MonkeyPatch) -> None:
    due = KeptSchedule.due
    patch.setattr(KeptSchedule, "due", lambda self, now, most, size: due(self, now + timedelta(seconds=1), most, size))


def due_comes_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeptSchedule, "remove", lambda self, one: self.put_back([one]))


def cancelled_all_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeptSchedule, "cancel", lambda *_: None)


def topics_of_now_alone(patch: pytest.MonkeyPatch) -> None:
    """Whoever is in one has all that ever came to it, and who has left it nothing."""
    spans_of = MemoryStore._spans_of

    def as_if_always(self: MemoryStore, user: UserId) -> Sequence[Span]:
        return [Span(span.room, 0) for span in spans_of(self, user) if span.upto is None]

    patch.setattr(MemoryStore, "_spans_of", as_if_always)


def members_stay_where_they_connected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Subscription, "change_topic", lambda *_, **__: None)


def changes_while_connecting_unheard(patch: pytest.MonkeyPatch) -> None:
    begin = Reach.begin

    def without_them(self: Reach, starts: Mapping[Room, int], spans: Sequence[Span], as_of: int) -> None:
        self._early = None
        begin(self, starts, spans, as_of)

    patch.setattr(Reach, "begin", without_them)


def what_came_during_a_pause_not_told_apart(patch: pytest.MonkeyPatch) -> None:
    """By whether its user was in the topic by then."""
    patch.setattr(
        Reach, "has", lambda self, entry: not (self.rooms | self.topics | set(self.left)).isdisjoint(entry.rooms)
    )


def one_part_is_enough(patch: pytest.MonkeyPatch) -> None:
    """To whoever is live."""
    includes = Reach.includes
    patch.setattr(
        Reach, "includes", lambda self, room, offset: any(includes(self, part, offset) for part in room.parts)
    )


def read_by_who_is_in_one_part(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        all_of,
        "stays_in",
        lambda room, starts, spans: [
            *(Span(room, start) for part, start in starts.items() if part in room.parts),
            *(Span(room, span.after, span.upto) for span in spans if span.room in room.parts),
        ],
    )


def parts_as_they_are_now(patch: pytest.MonkeyPatch) -> None:
    """Whoever is in all of them has what came before, and who has left one of them nothing."""
    patch.setattr(
        all_of,
        "stays_in",
        lambda room, starts, spans: [Span(room, 0) for span in stays_in(room, starts, spans) if span.upto is None],
    )


def snoozed_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemorySnoozes, "_due_snoozes", lambda *_: [])


def snoozed_too_short(patch: pytest.MonkeyPatch) -> None:
    due = MemorySnoozes._due_snoozes
    patch.setattr(
        MemorySnoozes, "_due_snoozes", lambda self, now, *bounds: due(self, now + timedelta(seconds=1), *bounds)
    )


def returns_replayed_as_they_were(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log, "as_seen_by", lambda entries, _: tuple(entries))


def erased_users_keep_their_cursors(patch: pytest.MonkeyPatch) -> None:
    begin = MemoryErasures.begin_erasure

    async def unnoticed(self: MemoryErasures, user: UserId, id_: str, at: datetime) -> Erasure:
        erasure = await begin(self, user, id_, at)
        self._erased.clear()
        return erasure

    patch.setattr(MemoryErasures, "begin_erasure", unnoticed)


def erased_ids_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Seals, "id", lambda *_: secrets.token_bytes(16))


def erased_users_stay_connected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Connections, "carry_out", lambda *_: None)


def what_waits_for_erased_users_comes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeptSchedule, "withdraw_from", lambda *_: None)


def erased_users_stay_in_topics(patch: pytest.MonkeyPatch) -> None:
    begin = MemoryErasures.begin_erasure

    async def as_members(self: MemoryErasures, user: UserId, id_: str, at: datetime) -> Erasure:
        spans = self._spans.get(user, [])
        erasure = await begin(self, user, id_, at)
        self._spans[user] = spans
        self._memberships += len(spans)
        return erasure

    patch.setattr(MemoryErasures, "begin_erasure", as_members)
