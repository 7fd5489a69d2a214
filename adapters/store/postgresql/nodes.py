"""The leases of the nodes that share a PostgreSQL database, over a connection that nothing else waits for."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, TypeVar

import psycopg

from adapters.store.jobs import Job, JobQueue
from adapters.store.postgresql.connecting import Address, one_line
from adapters.store.postgresql.database import Database
from adapters.store.times import MICROSECOND, microseconds, moment
from adapters.system.nodes import LeaseLost, Member, Roll
from domain.errors import StoreUnavailable
from domain.model.value import value

R = TypeVar("R")

LEASE: Final = timedelta(seconds=15)
SECRET_BYTES: Final = 32
ANSWER_SECONDS: Final = 4.0
"""A server that has not answered by then is asked again over another connection, in time for the lease."""

CLOSE_SECONDS: Final = 2.0

_NAME_BYTES: Final = 16
_JOBS: Final = 100
_JOBS_BYTES: Final = 1024
_TRIES: Final = 2

_RENEW = b"""
    SELECT is_lost, cluster, secret, is_settled FROM synkrone.renew_lease(
        %(boot)s::text, %(address)s::text, %(version)s::text, %(since)s::bigint, %(connections)s::integer,
        %(offset)s::bigint, %(held_in)s::text, %(lease)s::bigint, %(name)s::text, %(secret)s::bytea)"""
_CLUSTER = b"""
    SELECT secret, steady_from <= extract(epoch FROM clock_timestamp()) * 1000000 - %(lease)s::bigint
    FROM synkrone.cluster WHERE incarnation = synkrone.incarnation()"""
_MEMBERS = b"""
    SELECT boot, address, version, since, connections, log_offset, lag FROM synkrone.nodes
    WHERE NOT %(is_settled)s::boolean
        OR renewed_at > extract(epoch FROM clock_timestamp()) * 1000000 - %(lease)s::bigint
    ORDER BY since, boot"""
_HAS_LEASE = b"SELECT synkrone.has_lease(%(boot)s::text, %(cluster)s::text, %(lease)s::bigint)"
_LEAVE = b"DELETE FROM synkrone.nodes WHERE boot = %(boot)s::text"


@value
class Held:
    """A lease as it was when it was last renewed, in the cluster of that name."""

    boot: str
    cluster: str
    lease: timedelta


def has_lease(db: Database, held: Held) -> bool:
    """Whether it may still be acted upon. Raises psycopg.Error."""
    parameters = {"boot": held.boot, "cluster": held.cluster, "lease": held.lease // MICROSECOND}
    (is_held,) = db.one(_HAS_LEASE, parameters)
    return bool(is_held)


class PostgresqlRegistry:
    """The Registry of the nodes that have one database as their store. ``lease`` is how long one lasts.

    Nothing connects before it is used.
    """

    def __init__(self, address: Address, lease: timedelta = LEASE) -> None:
        self._address = address
        self._lease = lease
        self._held: Held | None = None
        self._queue = JobQueue(_JOBS, _JOBS_BYTES)
        self._thread: threading.Thread | None = None

    @property
    def lease(self) -> timedelta:
        return self._lease

    @property
    def held(self) -> Held | None:
        """None before the first one was taken."""
        return self._held

    async def renew(self, own: Member) -> Roll:
        return await self._do(lambda db: self._renew(db, own))

    async def leave(self, boot: str) -> None:
        await self._do(lambda db: _leave(db, boot))

    async def roll(self) -> Roll:
        return await self._do(self._roll)

    async def close(self) -> None:
        self._queue.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    # in the thread

    def _renew(self, db: Database, own: Member) -> Roll:
        held_in = self._held.cluster if self._held is not None and self._held.boot == own.boot else None
        is_lost, cluster, secret, is_settled = db.one(
            _RENEW,
            {
                "boot": own.boot,
                "address": own.address,
                "version": own.version,
                "since": microseconds(own.since),
                "connections": own.connections,
                "offset": own.offset,
                "held_in": held_in,
                "lease": self._lease // MICROSECOND,
                "name": secrets.token_hex(_NAME_BYTES),
                "secret": secrets.token_bytes(SECRET_BYTES),
            },
        )
        if is_lost:
            raise LeaseLost
        self._held = Held(own.boot, cluster, self._lease)
        return self._members(db, secret, is_settled=is_settled)

    def _roll(self, db: Database) -> Roll:
        row = db.execute(_CLUSTER, {"lease": self._lease // MICROSECOND}).fetchone()
        if row is None:
            raise StoreUnavailable("no node has registered yet")
        secret, is_settled = row
        return self._members(db, secret, is_settled=is_settled)

    def _members(self, db: Database, secret: bytes, *, is_settled: bool) -> Roll:
        rows = db.execute(_MEMBERS, {"lease": self._lease // MICROSECOND, "is_settled": is_settled}).fetchall()
        members = tuple(
            Member(boot, address, version, moment(since), connections, offset, lag)
            for boot, address, version, since, connections, offset, lag in rows
        )
        return Roll(members, bytes(secret), is_settled)

    async def _do(self, operation: Callable[[Database], R]) -> R:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store-nodes", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        job = Job(operation, loop, loop.create_future())
        self._queue.put(job)
        result: R = await job.future
        return result

    def _run(self) -> None:
        db = Database(self._address)
        jobs: Sequence[Job] = ()
        try:
            while jobs := self._queue.take(1, _JOBS_BYTES):
                (job,) = jobs
                _settle(job, _outcome(db, job))
        finally:
            for job in (*jobs, *self._queue.give_up()):
                _settle(job, StoreUnavailable())
            db.close()


def _leave(db: Database, boot: str) -> None:
    db.execute(_LEAVE, {"boot": boot})


def _settle(job: Job, outcome: object) -> None:
    loop: asyncio.AbstractEventLoop = job.argument
    # Once the loop has ended nobody waits for it.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(job.settle, outcome)


def _outcome(db: Database, job: Job) -> object:
    """Once more where the connection had broken by then: it matters to nobody whether a lease was renewed twice."""
    tries = 0
    while True:
        tries += 1
        try:
            db.line.answer_seconds = ANSWER_SECONDS
            return job.operation(db)
        except (LeaseLost, StoreUnavailable) as error:
            return error
        except psycopg.Error as error:
            if not db.recover() or tries == _TRIES:
                return StoreUnavailable(one_line(error))
