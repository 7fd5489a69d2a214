"""The table of connections in a PostgreSQL database: what one server says of its own, and finds of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.contract.json_text import to_json
from adapters.store.postgresql.database import Database, Row, Written
from adapters.store.times import microseconds, moment
from domain.errors import StoreUnavailable
from domain.model import ConnectionId, ConnectionInfo, Present, UserId, role_list, roles_in
from domain.model.value import value

ADMITTED_AT_ONCE = 200
"""Each of their users is locked until the end of the transaction, and what a database can lock at a time is bounded."""

_FORGOTTEN_AT_ONCE = 1000

_ADMIT = b"""
    SELECT is_lost, present, concerns_others
    FROM synkrone.admit(%(boot)s::text, %(most)s::integer, %(newcomers)s::text::json)"""
_REMOVE = b"DELETE FROM synkrone.connections WHERE boot = %(boot)s::text AND id = ANY (%(ids)s::text[])"
_REMOVE_OTHERS = b"DELETE FROM synkrone.connections WHERE boot = %(boot)s::text AND NOT id = ANY (%(ids)s::text[])"
_REMOVE_ALL = b"""
    WITH gone AS (DELETE FROM synkrone.present WHERE boot = %(boot)s::text)
    DELETE FROM synkrone.connections WHERE boot = %(boot)s::text"""
_IS_PRESENT = b"""
    INSERT INTO synkrone.present (boot, incarnation) VALUES (%(boot)s::text, synkrone.incarnation())
    ON CONFLICT (boot) DO UPDATE SET incarnation = excluded.incarnation"""
_LOOK = b"""
    SELECT
        EXISTS (SELECT FROM synkrone.present
            WHERE boot = %(boot)s::text AND incarnation = synkrone.incarnation()),
        ARRAY(SELECT ARRAY[id, displaced_by] FROM synkrone.connections
            WHERE boot = %(boot)s::text AND displaced_by IS NOT NULL)"""
_CHANGE = b"""
    UPDATE synkrone.connections SET transport = given.transport
    FROM unnest(%(ids)s::text[], %(transports)s::text[]) AS given (id, transport)
    WHERE connections.boot = %(boot)s::text AND connections.id = given.id"""
_ELSEWHERE = b"""
    SELECT device, role, transport, remote_address, since FROM synkrone.connections
    WHERE user_id = %(user)s::text AND boot <> %(boot)s::text AND displaced_by IS NULL
        AND boot IN (SELECT nodes.boot FROM synkrone.nodes)
    ORDER BY admitted_at"""
# From one server's first connection to that of the next one.
_WITHOUT_LEASE = b"""
    WITH RECURSIVE boots AS (
        (SELECT boot FROM synkrone.connections ORDER BY boot LIMIT 1)
        UNION ALL
        SELECT (SELECT connections.boot FROM synkrone.connections WHERE connections.boot > boots.boot
            ORDER BY connections.boot LIMIT 1)
        FROM boots WHERE boots.boot IS NOT NULL)
    SELECT boot FROM boots
    WHERE boot IS NOT NULL AND boot <> %(boot)s::text AND boot NOT IN (SELECT nodes.boot FROM synkrone.nodes)"""
_FORGET = b"""
    WITH old AS (DELETE FROM synkrone.present WHERE boot = ANY (%(gone)s::text[]))
    DELETE FROM synkrone.connections WHERE ctid = ANY (ARRAY(
        SELECT gone.ctid FROM unnest(%(gone)s::text[]) AS given (boot)
        CROSS JOIN LATERAL (
            SELECT ctid FROM synkrone.connections WHERE connections.boot = given.boot FOR UPDATE SKIP LOCKED) AS gone
        LIMIT %(most)s::integer))"""


@value
class Guest:
    """A connection as it is registered; with a time of admission, in microseconds, it was admitted before."""

    id: ConnectionId
    present: Present
    transport: str
    admitted_at: int | None = None


@value
class Admission:
    """To be answered with the time of it, in microseconds."""

    boot: str
    most: int
    guest: Guest


@value
class Registration:
    """All that a server has, in place of what is registered of it."""

    boot: str
    most: int
    guests: Sequence[Guest]


@value
class Departure:
    boot: str
    id: ConnectionId


@value
class Closing:
    """Of a server: it has nobody any more."""

    boot: str


@value
class Look:
    """What others want of a server's connections, to be answered with Findings. ``transports`` are of those that use
    another one than was registered. ``gone`` are servers that are to be forgotten."""

    boot: str
    transports: Mapping[ConnectionId, str]
    gone: Sequence[str]
    seeks_gone: bool


@value
class Findings:
    """``displaced`` are connections with the code of the error for which they have to go. ``is_known``: the server's
    connections are registered in this database."""

    is_known: bool
    displaced: Mapping[ConnectionId, str]
    without_lease: Sequence[str]


@value
class Elsewhere:
    """To be answered with what a user has on other servers."""

    boot: str
    user: UserId


Change = Admission | Registration | Departure | Closing | Look | Elsewhere


@dataclass(eq=False, slots=True)
class Keeping:
    """Work of a writer. Whoever leaves has asked for it behind their admission, and is never admitted again: all who
    are admitted are so before anybody leaves."""

    changes: Sequence[Change]
    once: bool = False
    _concerns_others: bool = field(default=False, init=False)

    def run(self, db: Database) -> Written:
        answers: dict[int, object] = {}
        for one in self.changes:
            if isinstance(one, Registration):
                answers[id(one)] = self._register(db, one)
        answers |= self._admit_all(db, [one for one in self.changes if isinstance(one, Admission)])
        for boot, ids in _by_boot(one for one in self.changes if isinstance(one, Departure)):
            db.execute(_REMOVE, {"boot": boot, "ids": ids})
        for one in self.changes:
            match one:
                case Look():
                    answers[id(one)] = _look(db, one)
                case Elsewhere(boot, user):
                    rows = db.execute(_ELSEWHERE, {"boot": boot, "user": user})
                    answers[id(one)] = [_info(row) for row in rows]
                case Closing(boot):
                    db.execute(_REMOVE_ALL, {"boot": boot})
        return Written([answers.get(id(one)) for one in self.changes], is_news=self._concerns_others)

    def _admit_all(self, db: Database, admissions: Sequence[Admission]) -> dict[int, object]:
        answers: dict[int, object] = {}
        for first in range(0, len(admissions), ADMITTED_AT_ONCE):
            some = admissions[first : first + ADMITTED_AT_ONCE]
            admitted_at = self._admit(db, some[-1].boot, some[-1].most, [one.guest for one in some])
            answers |= {id(one): _lease_lost() if admitted_at is None else admitted_at for one in some}
        return answers

    def _register(self, db: Database, wanted: Registration) -> object:
        db.execute(_REMOVE_OTHERS, {"boot": wanted.boot, "ids": [guest.id for guest in wanted.guests]})
        for first in range(0, len(wanted.guests), ADMITTED_AT_ONCE):
            some = wanted.guests[first : first + ADMITTED_AT_ONCE]
            if self._admit(db, wanted.boot, wanted.most, some) is None:
                return _lease_lost()
        db.execute(_IS_PRESENT, {"boot": wanted.boot})
        return None

    def _admit(self, db: Database, boot: str, most: int, guests: Sequence[Guest]) -> int | None:
        """When that was; None where the server has lost its lease."""
        newcomers = to_json([_newcomer(guest) for guest in guests]).decode()
        is_lost, admitted_at, concerns_others = db.one(_ADMIT, {"boot": boot, "most": most, "newcomers": newcomers})
        self._concerns_others = self._concerns_others or concerns_others
        return None if is_lost else int(admitted_at)


def _newcomer(guest: Guest) -> dict[str, object]:
    info = guest.present.info
    return {
        "id": guest.id,
        "user_id": guest.present.user,
        "pid": guest.present.pid,
        "continues": guest.present.continues,
        "admitted_at": guest.admitted_at,
        "device": info.device,
        "role": role_list(info.roles),
        "transport": guest.transport,
        "remote_address": info.remote_address,
        "since": microseconds(info.since),
    }


def _by_boot(departures: Iterator[Departure]) -> Iterator[tuple[str, Sequence[ConnectionId]]]:
    of_boot: dict[str, list[ConnectionId]] = {}
    for one in departures:
        of_boot.setdefault(one.boot, []).append(one.id)
    yield from of_boot.items()


def _look(db: Database, look: Look) -> Findings:
    if look.transports:
        transports = {"ids": list(look.transports), "transports": list(look.transports.values())}
        db.execute(_CHANGE, {"boot": look.boot, **transports})
    if look.gone:
        db.execute(_FORGET, {"gone": list(look.gone), "most": _FORGOTTEN_AT_ONCE})
    is_known, displaced = db.one(_LOOK, {"boot": look.boot})
    rows = db.execute(_WITHOUT_LEASE, {"boot": look.boot}) if look.seeks_gone else ()
    return Findings(is_known, {ConnectionId(id_): code for id_, code in displaced}, [boot for (boot,) in rows])


def _info(row: Row) -> ConnectionInfo:
    device, roles, transport, remote_address, since = row
    return ConnectionInfo(device, tuple(roles_in(roles)), transport, remote_address, moment(since))


def _lease_lost() -> StoreUnavailable:
    return StoreUnavailable("the other servers have taken this one for dead")
