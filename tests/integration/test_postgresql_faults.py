"""A store in PostgreSQL whose connections break, whose server ends, and whose rows are not what they were."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from adapters.store.postgresql import connecting, threads, watching
from domain.errors import CursorRefused, StoreUnavailable
from domain.model import Action, AppendOutcome, DisconnectUser, InboxQuery, Position, RecoveryReason, UserId
from tests.contract.inbox_harness import (
    ANN,
    DUPLICATE,
    STORED,
    Following,
    at,
    draft,
    ids_of,
    offsets_of,
    outcomes,
    reader,
)
from tests.doubles import START, ManualClock
from tests.integration.postgresql_harness import Line, line_to, opened
from tests.postgresql import PostgresqlServer, Servers, running_server
from tests.serving import eventually

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]


@pytest.fixture
def server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


@pytest.fixture
def line(server: PostgresqlServer) -> Iterator[Line]:
    with line_to(server) as line:
        yield line


@pytest.fixture
def own_server() -> Iterator[PostgresqlServer]:
    """One that a test may end."""
    with running_server(18) as server:
        yield server


async def test_what_was_committed_as_the_connection_broke_is_answered_as_it_was_stored(
    line: Line, database: str
) -> None:
    async with opened(line.url(database)) as store:
        start = await store.head()
        for number, own_id in enumerate((True, False, True)):
            came = line.hold_answers_to(b"synkrone.append")
            publishing = asyncio.create_task(store.append([draft(f"n-{number}", own_id=own_id)]))
            await asyncio.to_thread(came.wait, 10)
            assert not publishing.done()
            line.cut()
            (appended,) = await publishing
            assert (appended.outcome, appended.position) == (STORED, at(start, number + 1))
        assert await offsets_of(store, reader(ANN), start) == [1, 2, 3]
        await store.ensure_writable()


async def test_what_was_not_committed_as_the_connection_broke_is_stored_once(line: Line, database: str) -> None:
    async with opened(line.url(database)) as store:
        start = await store.head()
        await store.append([draft("a", own_id=False)])
        line.cut()
        (appended,) = await store.append([draft("b", own_id=False)])
        assert (appended.outcome, appended.position) == (STORED, at(start, 2))
        assert await offsets_of(store, reader(ANN), start) == [1, 2]


async def test_what_a_user_did_as_the_connection_broke_is_done_once(line: Line, database: str) -> None:
    ann = reader(ANN)
    async with opened(line.url(database)) as store:
        await store.append([draft("a"), draft("b")])
        head = await store.head()
        came = line.hold_answers_to(b"synkrone.append_changes")
        reading = asyncio.create_task(store.change(ann, Action.READ, ["a", "b"], START))
        await asyncio.to_thread(came.wait, 10)
        line.cut()
        changed = await reading
        assert (changed.changed, changed.counts.unread, changed.as_of) == (2, 0, at(head, 1))
        came = line.hold_answers_to(b"synkrone.append_changes")
        reading_all = asyncio.create_task(store.change(ann, Action.UNREAD, ["a"], START))
        await asyncio.to_thread(came.wait, 10)
        line.cut()
        assert (await reading_all).changed == 1
        assert await offsets_of(store, ann, head) == [head.offset + 1, head.offset + 2]


async def test_an_order_to_all_servers_is_stored_once_though_its_answer_was_lost(line: Line, database: str) -> None:
    order = DisconnectUser(UserId("ann"), reconnect=False)
    async with opened(line.url(database)) as store:
        start = await store.head()
        came = line.hold_answers_to(b"synkrone.append_controls")
        ordering = asyncio.create_task(store.append_control(order))
        await asyncio.to_thread(came.wait, 10)
        line.cut()
        assert await ordering == at(start, 1)
        await store.append([draft("a")])
        following = Following(store, start)
        assert await following.until(start.offset + 2) == [start.offset + 1, start.offset + 2]
        assert [entry.control for entry in following.entries] == [order, None]


async def test_a_batch_keeps_its_conflicts_when_its_answer_was_lost(line: Line, database: str) -> None:
    async with opened(line.url(database)) as store:
        await store.append([draft("a")])
        came = line.hold_answers_to(b"synkrone.append")
        publishing = asyncio.create_task(store.append([draft("b"), draft("b"), draft("c", own_id=False)]))
        await asyncio.to_thread(came.wait, 10)
        line.cut()
        assert outcomes(await publishing) == [STORED, DUPLICATE, STORED]
        again = await store.append([draft("b"), draft("a", title="other")])
        assert outcomes(again) == [DUPLICATE, AppendOutcome.CONFLICT]


async def test_while_the_database_is_away_nothing_waits_for_it_and_it_goes_on_by_itself(
    line: Line, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "DOUBT_SECONDS", 1.0)
    async with opened(line.url(database)) as store:
        start = await store.head()
        # Through all of it, however long that takes.
        followed = Following(store, start).start(2, within=45)
        await store.append([draft("a")])
        line.sever()
        for asked in (store.append([draft("b")]), store.list_items(reader(ANN), InboxQuery()), store.tidy()):
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(15):
                    await asked
        with pytest.raises(StoreUnavailable):
            await store.ensure_writable()
        line.mend()
        assert outcomes(await store.append([draft("b")])) == [STORED]
        await store.ensure_writable()
        assert await followed == [1, 2]
        assert await ids_of(store, reader(ANN)) == ["b", "a"]


async def test_a_server_that_does_not_answer_is_given_up(
    own_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting.Line, "answer_seconds", 0.5)
    monkeypatch.setattr(threads, "DOUBT_SECONDS", 0.5)
    async with opened(f"{own_server.url(own_server.new_store())}&connect_timeout=2") as store:
        start = await store.head()
        await store.append([draft("a")])
        own_server.pause()
        try:
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(10):
                    await store.append([draft("b")])
        finally:
            own_server.go_on()
        # It had been sent, and who publishes it again is told of the one that there is.
        async with asyncio.timeout(20):
            (again,) = await store.append([draft("b")])
            await store.append([draft("c")])
        assert again.position == at(start, 2)
        assert await Following(store, start).until(3) == [1, 2, 3]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_database_that_is_started_anew_begins_an_epoch_and_old_cursors_stay_good(
    own_server: PostgresqlServer, how: signal.Signals
) -> None:
    async with opened(own_server.url(own_server.new_store())) as store:
        (before,) = await store.append([draft("a")])
        followed = Following(store, before.position).start(3, within=45)
        own_server.stop(how=how)
        own_server.start()
        (after,) = await store.append([draft("b")])
        await store.append([draft("c")])
        assert after.position.epoch != before.position.epoch
        assert (after.position.offset, await followed) == (2, [2, 3])
        assert await offsets_of(store, reader(ANN), before.position) == [2, 3]
        # Of the epoch before there is nothing past its end.
        with pytest.raises(CursorRefused) as refused:
            await store.read(reader(ANN), Position(before.position.epoch, 2), max_entries=1, max_bytes=1)
        assert refused.value.reason is RecoveryReason.INVALID
        assert (await store.append([draft("a")]))[0].position == before.position


async def test_a_database_that_has_less_than_it_had_ends_the_delivery(
    server: PostgresqlServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server.url(database)) as store:
        start = await store.head()
        followed = Following(store, start)
        await store.append([draft("a"), draft("b")])
        assert await followed.until(2) == [1, 2]
        # As an asynchronous copy that is promoted would.
        server.execute(
            "DELETE FROM synkrone.entries WHERE log_offset = 2; DELETE FROM synkrone.placed WHERE log_offset = 2",
            database,
        )
        with pytest.raises(CursorRefused):
            await followed.until(3)
    assert "the log ended at 1, and was known up to 2: it has lost entries" in caplog.text


async def test_a_database_in_which_others_took_the_place_of_what_it_lost_ends_the_delivery(
    server: PostgresqlServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server.url(database)) as store:
        followed = Following(store, await store.head())
        await store.append([draft("a"), draft("b"), draft("c")])
        assert await followed.until(3) == [1, 2, 3]
        # As another server would leave a promoted copy before this one looks: in one commit.
        server.execute(
            """
            UPDATE synkrone.epochs SET incarnation = 'of the one that was lost';
            DELETE FROM synkrone.entries WHERE log_offset > 1;
            DELETE FROM synkrone.placed WHERE log_offset > 1;
            DELETE FROM synkrone.contents WHERE log_offset > 1;
            SELECT synkrone.lock_log(1, 0, NULL, false);
            INSERT INTO synkrone.contents
            SELECT number, stored_at, expires_at, 'another-' || number, type, form, rooms, payload
            FROM synkrone.contents, generate_series(2, 5) AS number;
            INSERT INTO synkrone.entries SELECT number, 1, 'notification.new' FROM generate_series(2, 5) AS number""",
            database,
        )
        with pytest.raises(CursorRefused):
            await followed.until(5)
    assert "the log ended at 1, and was known up to 3: it has lost entries" in caplog.text


async def test_a_row_that_is_not_there_is_no_silence(
    server: PostgresqlServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(server.url(database), tail_entries=1) as store:
        start = await store.head()
        await store.append([draft("a"), draft("b"), draft("c")])
        server.execute("DELETE FROM synkrone.contents WHERE log_offset = 2", database)
        with pytest.raises(StoreUnavailable):
            await store.read(reader(ANN), start, max_entries=10, max_bytes=1 << 20)
        with pytest.raises(StoreUnavailable):
            await Following(store, start).until(3)
        await eventually(lambda: "what was stored at offset 2 is not there" in caplog.text)
        assert await offsets_of(store, reader(ANN), at(start, 2)) == [3]


async def test_an_append_that_waits_too_long_for_others_is_not_stored(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LOCK_SECONDS", 1)
    with server.connect(database) as outside:
        async with opened(server.url(database)) as store:
            outside.execute("BEGIN")
            outside.execute("SELECT FROM synkrone.log_lock FOR UPDATE")
            with pytest.raises(StoreUnavailable):
                await store.append([draft("a")])
            outside.execute("ROLLBACK")
            assert (await store.head()).offset == 0
            (appended,) = await store.append([draft("a")])
            assert (appended.outcome, appended.position.offset) == (STORED, 1)


async def test_whoever_else_looks_into_the_database_delays_nobody(server: PostgresqlServer, database: str) -> None:
    with server.connect(database) as outside:
        outside.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        outside.execute("SELECT count(*) FROM synkrone.entries")
        async with opened(server.url(database)) as store:
            await store.append([draft("a")])
            await store.change(reader(ANN), Action.READ, ["a"], START)
            assert (await store.head()).offset == 2
        outside.execute("ROLLBACK")


async def test_two_servers_on_one_database_make_one_log(server: PostgresqlServer, database: str) -> None:
    ann = reader(ANN)
    async with opened(server.url(database)) as one, opened(server.url(database)) as other:
        start = await one.head()
        assert await other.head() == start
        followings = [Following(store, start).start(100) for store in (one, other)]
        appended = await asyncio.gather(
            *((one, other)[number % 2].append([draft(f"n-{number}")]) for number in range(100))
        )
        assert sorted(answer[0].position.offset for answer in appended) == list(range(1, 101))
        assert await asyncio.gather(*followings) == [list(range(1, 101))] * 2
        ids = [f"n-{number}" for number in range(100)]
        changed = await asyncio.gather(*(store.change(ann, Action.READ, ids, START) for store in (one, other) * 4))
        assert sorted(one.changed for one in changed) == [0] * 7 + [100]
        assert [outcomes(await store.append([draft("n-7")])) for store in (one, other)] == [[DUPLICATE]] * 2
        assert await one.secret() == await other.secret()


async def test_the_same_id_at_two_servers_at_once_is_stored_once(server: PostgresqlServer, database: str) -> None:
    async with opened(server.url(database)) as one, opened(server.url(database)) as other:
        for number in range(30):
            same = [draft(f"n-{number}", key=f"k-{number}")]
            answers = await asyncio.gather(*(store.append(same) for store in (one, other) * 3))
            assert sorted(outcomes(answer)[0].value for answer in answers) == ["duplicate"] * 5 + ["stored"]
            assert len({answer[0].position for answer in answers}) == 1
        assert (await one.head()).offset == 30


async def test_what_another_server_stores_is_heard_of_at_once(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when it is time to look."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 3600)
    async with opened(server.url(database)) as one, opened(server.url(database)) as other:
        followed = Following(other, await one.head())
        for number in range(1, 6):
            await one.append([draft(f"n-{number}")])
            await followed.until(number)


async def test_where_no_hint_comes_the_log_is_looked_at_all_the_same(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CHANNEL", "another_channel")
    async with opened(server.url(database)) as one, opened(server.url(database)) as other:
        followed = Following(other, await one.head())
        for number in range(1, 6):
            await one.append([draft(f"n-{number}")])
            await followed.until(number)


async def test_what_is_known_of_appends_is_not_kept(server: PostgresqlServer, database: str) -> None:
    async with opened(server.url(database), ManualClock()) as store:
        for number in range(20):
            await store.append([draft(f"n-{number}")])
            await store.change(reader(ANN), Action.READ, [f"n-{number}"], START)
        await eventually(lambda: server.execute("SELECT count(*) FROM synkrone.appends", database) == [(1,)])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_defect_in_following_the_log_ends_the_server_and_is_no_silence(
    server: PostgresqlServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    async def has_ended() -> bool:
        try:
            await store.tidy()
        except RuntimeError as error:
            return "not followed" in str(error)
        return False

    async with opened(server.url(database)) as store, asyncio.timeout(10):
        monkeypatch.setattr(watching, "outlined", fail)
        async with opened(server.url(database)) as other:
            await other.append([draft("a")])
            while not await has_ended():  # noqa: ASYNC110 (it is asked about once a second in a server too)
                await asyncio.sleep(0.05)


async def test_synchronously_nothing_is_stored_where_no_standby_is_named(
    own_server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    database = own_server.new_store()
    async with opened(own_server.url(database), sync=True) as store:
        # Trimming does not make it look as if it worked.
        for asked in (store.append([draft("a")]), store.tidy()):
            with pytest.raises(StoreUnavailable):
                await asked
            with pytest.raises(StoreUnavailable):
                await store.ensure_writable()
        assert (await store.head()).offset == 0
        assert "synchronous_standby_names is empty" in caplog.text
        own_server.set("synchronous_standby_names", "nobody")
        waits = asyncio.create_task(store.append([draft("a")]))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await eventually(lambda: own_server.execute(waiting) != [(0,)], within=10)
        assert not waits.done()
        waits.cancel()
        # The store would wait for it as it closes.
        own_server.set("synchronous_standby_names", "")
