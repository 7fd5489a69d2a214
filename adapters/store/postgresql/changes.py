"""What users do to notifications of theirs, in a PostgreSQL database: the state, and the entries that say so, in one
commit.

What changes is found out while the user is locked, and before the log is: whoever appends has nothing to count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Final
from uuid import UUID

from adapters.store.change_events import all_read_event, change_events, snooze_events
from adapters.store.form import FORM
from adapters.store.postgresql import items
from adapters.store.postgresql.appending import append_name
from adapters.store.postgresql.database import Database, Parameters, Row, Written, stored_time
from adapters.store.postgresql.items import TIMES, View, all_items, items_of, newest
from adapters.store.postgresql.nodes import Held, has_lease
from adapters.store.times import microseconds, moment
from domain.errors import CursorRefused, StoreUnavailable
from domain.model import Action, Changed, Counts, Entry, Json, Position, RecoveryReason, Room, UserId
from domain.model.value import value
from domain.rules.item_state import ItemTimes

WATERMARKS_PER_USER = 1000
"""Of a user who reads everything at once more often, the oldest such times are taken for the following ones."""

USERS_AT_ONCE = 200
"""Each of them is locked until the end of the transaction, and what a database can lock at a time is bounded."""

NOTHING: Final = Counts(0, 0, 0)
_LOCK_SPACE: Final = 0x53594E55
"""Of the advisory locks of users: ``SYNU``."""

_LOCK = b"""
    SELECT pg_advisory_xact_lock(%(space)s::integer, name)
    FROM (SELECT name FROM unnest(%(names)s::integer[]) AS given (name) ORDER BY name) AS in_order"""
_ID = "(SELECT id FROM synkrone.contents WHERE contents.log_offset = items.log_offset)"
_READ_BY = """CASE WHEN touched THEN items.read_by ELSE (
        SELECT watermarks.read_by FROM synkrone.watermarks
        WHERE user_id = %(user)s::text AND watermarks.log_offset > items.log_offset ORDER BY log_offset LIMIT 1) END"""


def _named(*, in_several: bool) -> bytes:
    return f"""
    WITH {newest(in_several=in_several)},
    named AS MATERIALIZED (
        SELECT newest.* FROM newest WHERE log_offset = ANY (ARRAY(
            SELECT (SELECT log_offset FROM synkrone.ids WHERE ids.id = given.id)
            FROM unnest(%(ids)s::text[]) AS given (id)))),
    {items_of("named", with_snoozed=True)}
    SELECT items.log_offset, {_ID}, {_READ_BY}, snoozed_until, raised, {TIMES} FROM items""".encode()  # noqa: S608


def _to_read(*, in_several: bool) -> bytes:
    return f"""
    WITH {all_items(in_several=in_several)}
    SELECT items.log_offset, {_ID}, {_READ_BY}, snoozed_until, raised, {TIMES} FROM items
    WHERE place <= %(up_to)s::bigint AND (unread OR unseen) ORDER BY items.log_offset""".encode()  # noqa: S608


_NAMED = {in_several: _named(in_several=in_several) for in_several in (False, True)}
_TO_READ = {in_several: _to_read(in_several=in_several) for in_several in (False, True)}
_PUT = b"""
    INSERT INTO synkrone.state AS stored (
        user_id, log_offset, read_at, seen_at, archived_at, deleted, read_by, deleted_at, snoozed_until, raised)
    SELECT * FROM unnest(%(users)s::text[], %(offsets)s::bigint[], %(read_at)s::bigint[], %(seen_at)s::bigint[],
        %(archived_at)s::bigint[], %(deleted)s::boolean[], %(read_by)s::text[], %(deleted_at)s::bigint[],
        %(snoozed_until)s::bigint[], %(raised)s::bigint[])
        AS given (user_id, log_offset)
    ORDER BY user_id COLLATE "C", log_offset
    ON CONFLICT (user_id, log_offset) DO UPDATE SET read_at = excluded.read_at, seen_at = excluded.seen_at,
        archived_at = excluded.archived_at, deleted = excluded.deleted, read_by = excluded.read_by,
        deleted_at = excluded.deleted_at, snoozed_until = excluded.snoozed_until, raised = excluded.raised"""
_PUT_READ = b"""
    UPDATE synkrone.state SET read_at = coalesce(read_at, %(at)s::bigint), seen_at = coalesce(seen_at, %(at)s::bigint),
        read_by = CASE WHEN read_at IS NULL THEN %(by)s::text ELSE read_by END
    WHERE user_id = %(user)s::text AND (read_at IS NULL OR seen_at IS NULL) AND NOT deleted
        AND snoozed_until IS NULL"""
_FORGET_WATERMARKS = b"""
    DELETE FROM synkrone.watermarks WHERE (user_id, log_offset) IN (
        SELECT old.user_id, old.log_offset
        FROM unnest(%(readers)s::text[]) AS given (user_id)
        CROSS JOIN LATERAL (
            SELECT user_id, log_offset FROM synkrone.watermarks WHERE watermarks.user_id = given.user_id
            ORDER BY log_offset DESC OFFSET %(most)s::integer - 1) AS old)"""
_APPEND = b"""
    SELECT first, epoch FROM synkrone.append_changes(
        %(name)s::uuid, %(answered)s::uuid[], %(at)s::bigint, %(known)s::bigint, %(known_epoch)s::text,
        %(sync)s::boolean,
        %(events)s::text[], %(form)s::smallint, %(rooms)s::text[], %(payloads)s::text[],
        %(readers)s::text[], %(read_in)s::integer[], %(read_at)s::bigint[], %(read_by)s::text[])"""
_LOOK = b"""
    SELECT synkrone.aged_upto(%(before)s::bigint), synkrone.erased_of(%(users)s::text[], %(starts)s::bigint[])"""
_FIRST = b"""
    SELECT appends.first, epochs.epoch FROM synkrone.appends JOIN synkrone.epochs ON epochs.number = epoch_number
    WHERE name = %(name)s::uuid"""
_REACHES = b"SELECT synkrone.reaches(%(epoch)s::text, %(offset)s::bigint)"


@value
class Change:
    """What a user wants to be done. Of ``all_read`` there are no ids; with ``up_to`` it is only what lies at or
    before it, by ids. ``at`` is the time that it says, and ``stored_at`` that of storing it, or None for the database's
    own. ``known`` and ``known_epoch`` are as those of an append. ``by`` is the device that wants it.
    With ``until`` they are snoozed, and nothing else is done to them."""

    view: View
    action: Action
    ids: Sequence[str]
    at: datetime
    stored_at: datetime | None
    known: int
    known_epoch: str | None
    all_read: bool = False
    up_to: Position | None = None
    by: str | None = None
    until: datetime | None = None

    @property
    def user(self) -> UserId:
        return self.view.subscriber.user


@dataclass(eq=False, slots=True)
class _Effect:
    """What one change does: rows of state, and events; or why it does nothing. ``is_erased``: whoever wants it is the
    user of before, who has nothing."""

    refused: CursorRefused | StoreUnavailable | None = None
    is_erased: bool = False
    changed: int = 0
    events: Sequence[tuple[str, Json]] = ()
    items: Sequence[tuple[int, ItemTimes]] = ()

    def answer(self, counts: Counts, as_of: Position) -> Changed | CursorRefused | StoreUnavailable:
        return self.refused or Changed(self.changed, NOTHING if self.is_erased else counts, as_of)


@dataclass(eq=False, slots=True)
class _Commit:
    """Changes of different users, which become one commit. ``first`` and ``epoch`` are its first entry's position, once
    it is known."""

    changes: Sequence[Change]
    name: UUID = field(default_factory=append_name)
    effects: Sequence[_Effect] = ()
    first: int = 0
    epoch: str = ""
    is_done: bool = False
    may_be_done: bool = False


class Changing:
    """Work of the writer. What it has begun, and does not know the end of, it asks for when it is run again."""

    once = True

    def __init__(
        self, changes: Sequence[Change], *, sync: bool, held: Callable[[], Held | None] = lambda: None
    ) -> None:
        """``held`` is the lease without which nothing is changed: others may have done more for its clients by then."""
        self._changes = changes
        self._sync = sync
        self._held = held
        self._commits = [_Commit(some) for some in _of_different_users(changes)]

    def run(self, db: Database) -> Written:
        for commit in self._commits:
            if not commit.is_done:
                _carry_out(db, commit, sync=self._sync, held=self._held())
        # Counted once it is stored, of a snapshot that has it, and not while the log is locked.
        with db.snapshot() as snapshot:
            aged = items.aged_upto(db, self._changes[-1].view.window)
            summaries = items.summarize(db, [change.view for change in self._changes], aged)
        effects = {
            id(change): effect
            for commit in self._commits
            for change, effect in zip(commit.changes, commit.effects, strict=True)
        }
        answers = [
            effects[id(change)].answer(summary.counts, snapshot.as_of)
            for change, summary in zip(self._changes, summaries, strict=True)
        ]
        entries = [entry for commit in self._commits for entry in _entries(commit)]
        return Written(answers, entries, snapshot.generations)


def _of_different_users(changes: Sequence[Change]) -> list[list[Change]]:
    """What a user does a second time is of another commit: it begins where the first one ends."""
    commits: list[dict[UserId, Change]] = []
    for change in changes:
        for commit in commits:
            if change.user not in commit and len(commit) < USERS_AT_ONCE:
                commit[change.user] = change
                break
        else:
            commits.append({change.user: change})
    return [list(commit.values()) for commit in commits]


def _carry_out(db: Database, commit: _Commit, *, sync: bool, held: Held | None) -> None:
    db.begin()
    lock_users(db, [change.user for change in commit.changes])
    # Whoever was at it before had the users locked until its end.
    known = db.execute(_FIRST, {"name": commit.name}).fetchone() if commit.may_be_done else None
    if known is None and held is not None and not has_lease(db, held):
        commit.effects = [_Effect(refused=StoreUnavailable("the lease is lost")) for _ in commit.changes]
        db.execute(b"COMMIT")
    elif known is None:
        found = look(db, [change.view for change in commit.changes])
        commit.effects = [
            _Effect(is_erased=True) if change.user in found.erased else _effect(db, change, found.aged)
            for change in commit.changes
        ]
        if any(effect.events for effect in commit.effects):
            commit.may_be_done = True
            commit.first, commit.epoch = _store(db, commit, sync=sync)
            db.answered = [commit.name]
        else:
            db.execute(b"COMMIT")
    else:
        commit.first, commit.epoch = known
        db.answered.append(commit.name)
        if sync:
            db.wait_for_standby()
        db.execute(b"COMMIT")
    commit.is_done = True


def lock_users(db: Database, users: Sequence[UserId]) -> None:
    """Nobody else changes anything of them until the transaction ends."""
    db.execute(_LOCK, {"space": _LOCK_SPACE, "names": sorted({_lock_of(user) for user in users})})


@value
class Found:
    """``aged`` is the offset up to which everything is too old. Whoever is ``erased`` is the user of before, who asked
    as they were erased: they store nothing any more."""

    aged: int
    erased: Collection[UserId]


def look(db: Database, views: Sequence[View]) -> Found:
    """Of users who are locked, so that nobody erases them until the transaction ends."""
    # Without a role it is nobody who ever came.
    subscribers = [view.subscriber for view in views if view.subscriber.role]
    aged, erased = db.one(
        _LOOK,
        {
            "before": views[-1].window.aged_before,
            "users": [one.user for one in subscribers],
            "starts": [one.starts.get(Room.of_user(one.user), 0) for one in subscribers],
        },
    )
    return Found(int(aged), frozenset(map(UserId, erased)))


def _lock_of(user: UserId) -> int:
    """A number that stands for a user. Two may have the same: then they wait for each other."""
    return int.from_bytes(blake2b(user.encode(), digest_size=4).digest(), "big", signed=True)


def _effect(db: Database, change: Change, aged: int) -> _Effect:
    parameters = change.view.parameters(aged)
    if change.all_read and change.up_to is None:
        (summary,) = items.summarize(db, [change.view], aged)
        return _Effect(changed=summary.to_read, events=[all_read_event(change.at)]) if summary.to_read else _Effect()
    if change.up_to is not None:
        epoch, offset = change.up_to.epoch, change.up_to.offset
        # Of a database that lost it, something else may stand there by now.
        (is_there,) = db.one(_REACHES, {"epoch": epoch, "offset": offset})
        if not is_there:
            return _Effect(refused=CursorRefused(RecoveryReason.INVALID))
        rows = db.execute(_TO_READ[change.view.in_several], parameters | {"up_to": offset}).fetchall()
    else:
        found = {row[1]: row for row in named(db, change.view, change.ids, aged)}
        rows = [found[id_] for id_ in change.ids if id_ in found]
    changed: list[tuple[int, str, ItemTimes]] = []
    for offset, id_, read_by, snoozed, raised, *times in rows:
        read_at, seen_at, archived_at = (moment(time) if time is not None else None for time in times)
        before = ItemTimes(
            read_at,
            seen_at,
            archived_at,
            read_by=read_by,
            snoozed_until=moment(snoozed) if snoozed is not None else None,
            raised=raised,
        )
        until = change.until
        after = before.snoozed(until) if until is not None else before.after(change.action, change.at, change.by)
        if after != before:
            changed.append((offset, id_, after))
    if not changed:
        return _Effect()
    changed_ids = [id_ for _, id_, _ in changed]
    if change.until is not None:
        events = snooze_events(changed_ids, change.until)
    else:
        events = change_events(change.action, changed_ids, change.at)
    return _Effect(changed=len(changed), events=events, items=[(offset, times) for offset, _, times in changed])


def named(db: Database, view: View, ids: Sequence[str], aged: int) -> Sequence[Row]:
    """Those of the notifications that are in the inbox, or snoozed: the offset, the id, by whom it was read, until when
    it is snoozed, where it is new once more, and its times."""
    return db.execute(_NAMED[view.in_several], view.parameters(aged) | {"ids": list(ids)}).fetchall()


def _store(db: Database, commit: _Commit, *, sync: bool) -> Row:
    """The offset of the first entry, and its epoch. All of it is sent at once, up to the commit: the log is locked
    for no longer than it takes the server."""
    pairs = list(zip(commit.changes, commit.effects, strict=True))
    rows = [(change.user, *item) for change, effect in pairs for item in effect.items]
    readers: list[tuple[UserId, int, int, str | None]] = []
    logged: list[tuple[str, Room, Json]] = []
    for change, effect in pairs:
        if effect.events and not effect.items:
            readers.append((change.user, len(logged), microseconds(change.at), change.by))
        own = Room.of_user(change.user)
        logged += [(event, own, payload) for event, payload in effect.events]
    last = commit.changes[-1]
    with db.line.pipeline():
        if rows:
            db.execute(_PUT, _state(rows))
        if readers:
            for user, _, at, by in readers:
                db.execute(_PUT_READ, {"user": user, "at": at, "by": by})
            names = [user for user, *_ in readers]
            db.execute(_FORGET_WATERMARKS, {"readers": names, "most": WATERMARKS_PER_USER})
        cursor = db.execute(
            _APPEND,
            {
                "name": commit.name,
                "answered": db.answered,
                "at": stored_time(last.stored_at),
                "known": last.known,
                "known_epoch": last.known_epoch,
                "sync": sync,
                "events": [event for event, _, _ in logged],
                "form": FORM,
                "rooms": [room for _, room, _ in logged],
                "payloads": [payload.decode() for _, _, payload in logged],
                "readers": [user for user, *_ in readers],
                "read_in": [number for _, number, _, _ in readers],
                "read_at": [at for _, _, at, _ in readers],
                "read_by": [by for _, _, _, by in readers],
            },
        )
        db.execute(b"COMMIT")
    (row,) = cursor.fetchall()
    return row


def _entries(commit: _Commit) -> list[Entry]:
    events = [
        (Room.of_user(change.user), event, payload)
        for change, effect in zip(commit.changes, commit.effects, strict=True)
        for event, payload in effect.events
    ]
    return [
        Entry(Position(commit.epoch, offset), frozenset((own,)), event, payload)
        for offset, (own, event, payload) in enumerate(events, commit.first)
    ]


def _state(rows: Sequence[tuple[UserId, int, ItemTimes]]) -> Parameters:
    def stored(time: datetime | None) -> int | None:
        return microseconds(time) if time is not None else None

    return {
        "users": [user for user, _, _ in rows],
        "offsets": [offset for _, offset, _ in rows],
        "read_at": [stored(times.read_at) for _, _, times in rows],
        "seen_at": [stored(times.seen_at) for _, _, times in rows],
        "archived_at": [stored(times.archived_at) for _, _, times in rows],
        "deleted": [times.deleted for _, _, times in rows],
        "read_by": [times.read_by for _, _, times in rows],
        "deleted_at": [stored(times.deleted_at) for _, _, times in rows],
        "snoozed_until": [stored(times.snoozed_until) for _, _, times in rows],
        "raised": [times.raised for _, _, times in rows],
    }
