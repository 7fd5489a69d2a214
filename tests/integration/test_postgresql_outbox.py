"""What an application publishes in a transaction of its own is in the log once it is committed, once and in order."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from adapters.store.postgresql import outbox
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.served import StoreUnusable
from adapters.system.clock import SystemClock
from adapters.telemetry.logging import LoggingTelemetry
from domain.errors import TooManyScheduled
from domain.policy import ConnectionPolicy
from entrypoints.supervisor import until
from tests.doubles import ManualClock
from tests.in_time import in_time
from tests.integration.outbox_harness import PUBLISH, USER, Application, publish, relaying
from tests.integration.postgresql_harness import line_to
from tests.postgresql import PostgresqlServer, Servers

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=60)]

WITHIN = 10.0


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


@pytest.fixture
def url(server: PostgresqlServer, database: str) -> str:
    return server.url(database)


@pytest.fixture
def application(server: PostgresqlServer, database: str) -> Iterator[Application]:
    with closing(server.connect(database)) as connection:
        yield connection


@pytest.fixture
def other(server: PostgresqlServer, database: str) -> Iterator[Application]:
    with closing(server.connect(database)) as connection:
        yield connection


def waiting(application: Application) -> int:
    (row,) = application.execute("SELECT count(*) FROM synkrone.outbox").fetchall()
    return int(row[0])


async def nothing_waits(application: Application) -> None:
    async def is_empty() -> bool:
        return not waiting(application)

    await in_time(until(is_empty), WITHIN)


def desk(url: str) -> outbox.PostgresqlOutbox:
    """What an operator's command has."""
    return PostgresqlStore(url, clock=SystemClock()).outbox


async def test_what_is_committed_is_published_and_what_is_rolled_back_never(url: str, application: Application) -> None:
    async with relaying(url) as relay:
        with application.transaction(force_rollback=True):
            publish(application, "rolled back")
        with application.transaction():
            publish(application, "first")
            with application.transaction(force_rollback=True):
                publish(application, "of a savepoint")
            publish(application, "second")
        publish(application, "third")
        assert await relay.titles(3) == ["first", "second", "third"]


async def test_all_that_is_given_arrives_and_data_as_it_was_written(url: str, application: Application) -> None:
    data = '{"b": 1.50,  "a": [1e3, "\\u00fc", null]}'
    application.execute(
        """
        SELECT synkrone.synkrone_publish(
            recipient => '{"users": ["ann", "bob"]}', type => 'order.paid', title => 'Grüße', body => 'Bezahlt: 你好',
            data => %s, id => 'order-1', expires_at => '2999-01-31 12:00:00.123+02')""",
        (data,),
    )
    async with relaying(url) as relay:
        await relay.titles(1)
        (entry,) = relay.following.entries
        assert entry.rooms == {"user:ann", "user:bob"}
        assert entry.expires_at == datetime(2999, 1, 31, 10, 0, 0, 123_000, tzinfo=UTC)
        assert data in entry.payload.decode()
        notification = json.loads(entry.payload)
        assert {name: notification[name] for name in ("id", "type", "title", "body", "audience")} == {
            "id": "order-1",
            "type": "order.paid",
            "title": "Grüße",
            "body": "Bezahlt: 你好",
            "audience": "user",
        }


async def test_what_the_schedule_has_no_room_for_is_parked(url: str, application: Application) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    publish_at = "SELECT synkrone.synkrone_publish_at(%s, %s, 'test', %s, id => %s)"
    async with relaying(url, scheduled_most=2) as relay:
        with application.transaction():
            for id_ in "abc":
                application.execute(publish_at, (due, USER, "later", id_))
            publish(application, "now")
        assert await relay.titles(1) == ["now"]
        await nothing_waits(application)
        assert await relay.store.waiting() == 0
        assert {one.reason for one in desk(url).state().parked} == {TooManyScheduled.title}
        assert desk(url).retry([one.number for one in desk(url).state().parked][:2]) == 2
        await nothing_waits(application)
        assert await relay.store.waiting() == 2


async def test_what_is_published_for_later_waits_in_the_schedule(url: str, application: Application) -> None:
    due, past = datetime(2999, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC), datetime(2020, 1, 31, tzinfo=UTC)
    publish_at = "SELECT synkrone.synkrone_publish_at(%s, %s, 'test', %s, id => %s)"
    policy = ConnectionPolicy(schedule_ahead=timedelta(days=400_000))
    async with relaying(url, policy) as relay:
        with application.transaction():
            application.execute(publish_at, (due, USER, "later", "a"))
            publish(application, "now")
            application.execute(publish_at, (past, USER, "due already", "b"))
        assert await relay.titles(2) == ["now", "due already"]
        await nothing_waits(application)
        shown = await relay.store.scheduled("a")
        assert shown is not None
        assert shown.payload is not None
        assert (shown.due, json.loads(shown.payload)["title"]) == (due, "later")
        await relay.store.deliver_due(due, 10)
        assert await relay.titles(3) == ["now", "due already", "later"]
    for late, ends in ((None, None), (due, due)):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="synkrone_publish_at: "):
            application.execute(
                "SELECT synkrone.synkrone_publish_at(%s, %s, 'test', expires_at => %s)", (late, USER, ends)
            )


async def test_what_is_parked_for_its_time_keeps_it(url: str, application: Application) -> None:
    due = datetime(2999, 1, 31, 12, tzinfo=UTC)
    async with relaying(url) as relay:
        application.execute("SELECT synkrone.synkrone_publish_at(%s, %s, 'test', 't', id => 'a')", (due, USER))
        await nothing_waits(application)
        (parked,) = desk(url).state().parked
        assert "deliver_at: must be within" in parked.reason
        assert await relay.store.waiting() == 0
    desk(url).retry(None)
    async with relaying(url, ConnectionPolicy(schedule_ahead=timedelta(days=400_000))) as relay:
        await nothing_waits(application)
        shown = await relay.store.scheduled("a")
        assert shown is not None
        assert shown.due == due


async def test_an_open_transaction_delays_itself_alone(url: str, application: Application, other: Application) -> None:
    async with relaying(url) as relay:
        with application.transaction():
            publish(application, "begun first")
            publish(other, "committed first")
            assert await relay.titles(1) == ["committed first"]
            publish(application, "goes on")
            for number in range(3):
                publish(other, f"meanwhile {number}")
                assert (await relay.titles(2 + number))[-1] == f"meanwhile {number}"
            publish(application, "ends")
        assert (await relay.titles(7))[4:] == ["begun first", "goes on", "ends"]
        publish(other, "afterwards")
        assert (await relay.titles(8))[-1] == "afterwards"


async def test_what_was_committed_while_nobody_relayed_is_published_in_order(
    url: str, application: Application, other: Application
) -> None:
    """More than is read at a time, of a transaction that began before one and ended after another."""
    with application.transaction():
        publish(application, "long 0")
        publish(other, "short 0", "short 1")
        publish(application, *(f"long {number}" for number in range(1, 1200)))
    publish(other, "short 2")
    async with relaying(url) as relay:
        published = await relay.titles(1203)
        assert [one for one in published if one.startswith("long")] == [f"long {number}" for number in range(1200)]
        assert [one for one in published if one.startswith("short")] == ["short 0", "short 1", "short 2"]
        assert published[-1] == "short 2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipient": None}, "recipient: is required"),
        (
            {"recipient": "{}"},
            "recipient: must be exactly one of {user}, {users}, {role}, {topic}, {any_of}, {all_of}, ",
        ),
        ({"recipient": "[]"}, "recipient: must be exactly one of"),
        ({"recipient": '{"user": "a", "role": "b"}'}, "recipient: must be exactly one of"),
        ({"recipient": '{"user": "a", "user": "b"}'}, "recipient: must be exactly one of"),
        ({"recipient": '{"topic": 1}'}, "recipient.topic: "),
        ({"recipient": '{"any_of": "a"}'}, "recipient.any_of: must be a list of {role} and {topic}"),
        ({"recipient": '{"any_of": []}'}, "recipient.any_of: must name 1 to 100 roles and topics"),
        ({"recipient": '{"any_of": [{"role": "r"}, {"user": "a"}]}'}, r"recipient.any_of\[1\]: must be exactly one of"),
        ({"recipient": '{"any_of": [{"topic": ""}]}'}, r"recipient.any_of\[0\].topic: must be 1 to 128 characters"),
        ({"recipient": '{"all_of": "a"}'}, "recipient.all_of: must be a list of {role} and {topic}"),
        ({"recipient": '{"all_of": []}'}, "recipient.all_of: must name 1 to 100 roles and topics"),
        (
            {"recipient": '{"all_of": [{"any_of": [{"role": "r"}]}]}'},
            r"recipient.all_of\[0\]: must be exactly one of {role}, {topic}",
        ),
        (
            {"recipient": json.dumps({"all_of": [{"topic": f"{number}" * 40} for number in range(50)]})},
            "recipient.all_of: must have at most 2000 bytes in all",
        ),
        ({"recipient": '{"user": 1}'}, "recipient.user: must be a string"),
        ({"recipient": '{"user": ""}'}, "recipient.user: must be 1 to 128 characters"),
        ({"recipient": '{"user": "\\u0000"}'}, r"recipient: holds U\+0000"),
        ({"recipient": '{"role": "a\\nb"}'}, "recipient.role: holds a control character"),
        ({"recipient": '{"role": "a\\u2028b"}'}, "recipient.role: holds a control character"),
        ({"recipient": '{"users": []}'}, "recipient.users: must name 1 to 10000 users"),
        ({"recipient": '{"users": "a"}'}, "recipient.users: must be a list"),
        ({"recipient": '{"users": ["a", null]}'}, r"recipient.users\[1\]: must be a string"),
        ({"recipient": '{"everyone": false}'}, "recipient.everyone: must be true"),
        ({"type": None}, "type: is required"),
        ({"type": "x" * 129}, "type: must be 1 to 128 characters"),
        ({"type": "a\x7fb"}, "type: holds a control character"),
        ({"data": "[]"}, "data: must be an object"),
        ({"id": "ä"}, "id: must be 1 to 128 of"),
        ({"id": "a\n"}, "id: must be 1 to 128 of"),
        ({"id": ""}, "id: must be 1 to 128 of"),
        ({"expires_at": "infinity"}, "expires_at: must be a time of the years 1 to 9999"),
        ({"expires_at": "20000-01-01"}, "expires_at: must be a time"),
        ({"body": "x" * 17_000_000}, "all arguments together have 170000.. bytes"),
    ],
)
def test_a_malformed_argument_fails_the_application_s_transaction(
    application: Application, arguments: dict[str, str | None], message: str
) -> None:
    given = {"recipient": USER, "type": "test"} | arguments
    named = sql.SQL(", ").join(sql.SQL("{} => {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in given)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"^synkrone_publish: {message}"):
        application.execute(sql.SQL("SELECT synkrone.synkrone_publish({})").format(named), given)
    assert waiting(application) == 0


@pytest.mark.parametrize(
    "name",
    ["é" * 128, "👩‍👩‍👧", "a\u00a0b", "\u202eabc", " ", '\\"'],
    ids=["longest", "joined", "space", "mark", "blank", "quoted"],
)
async def test_what_is_a_name_for_the_server_is_one_in_sql(url: str, application: Application, name: str) -> None:
    for recipient in (
        {"user": name},
        {"users": [name]},
        {"role": name},
        {"topic": name},
        {"any_of": [{"role": name}, {"topic": name}]},
        {"all_of": [{"topic": name}, {"role": name}]},
    ):
        application.execute(PUBLISH, (json.dumps(recipient), name))
    async with relaying(url) as relay:
        assert await relay.titles(6) == [name] * 6
        assert [entry.rooms for entry in relay.following.entries] == [
            {f"user:{name}"},
            {f"user:{name}"},
            {f"role:{name}"},
            {f"topic:{name}"},
            {f"role:{name}", f"topic:{name}"},
            {f"all:role:{name}\ttopic:{name}"},
        ]


async def test_what_only_the_server_can_refuse_is_parked_with_its_reason_and_stops_nothing(
    url: str, application: Application
) -> None:
    with_id = "SELECT synkrone.synkrone_publish(%s, 'test', %s, id => 'the-id')"
    async with relaying(url, ConnectionPolicy(notification_bytes=1_000)) as relay:
        publish(application, "before")
        publish(application, "x" * 2_000)
        application.execute(with_id, (USER, "one"))
        application.execute(with_id, (USER, "one"))
        application.execute(with_id, (USER, "another"))
        application.execute(
            "SELECT synkrone.synkrone_publish(%s, 'test', data => %s)", (USER, '{"a": {"b": 1, "b": 2}}')
        )
        application.execute("SELECT synkrone.synkrone_publish(%s, 'test', data => %s)", (USER, '{"a": "\\ud800"}'))
        publish(application, "after")
        assert await relay.titles(3) == ["before", "one", "after"]
        await nothing_waits(application)
        parked = desk(url).state().parked
        assert [(one.id, one.reason) for one in parked] == [
            (None, "type, title, body and data together have 2004 bytes; 1000 are allowed"),
            ("the-id", "the-id was published before with other content"),
            (None, "data.a.b: is given more than once"),
            (None, "data: holds an unpaired surrogate or a number out of range, or is nested too deeply"),
        ]
        assert sorted(relay.telemetry.named("parked")) == [(str(one.number), one.reason) for one in parked]


def test_that_something_is_parked_is_logged_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "synkrone"):
        LoggingTelemetry(ManualClock()).parked("7", "data.a: is given more than once")
    (record,) = caplog.records
    assert (record.message, vars(record)["item"], vars(record)["reason"]) == (
        "parked",
        "7",
        "data.a: is given more than once",
    )


async def test_what_is_parked_can_be_tried_again_or_forgotten(url: str, application: Application) -> None:
    operator = desk(url)
    async with relaying(url, ConnectionPolicy(notification_bytes=1_000)) as relay:
        publish(application, *(letter * 2_000 for letter in "abc"), "small")
        await relay.titles(1)
        await nothing_waits(application)
    first, second, third = operator.state().parked
    assert operator.discard([first.number, 4_711]) == 1
    async with relaying(url, ConnectionPolicy()) as relay:
        assert operator.retry([third.number]) == 1
        assert await relay.titles(1) == ["c" * 2_000]
        assert [one.number for one in operator.state().parked] == [second.number]
        assert operator.retry(None) == 1
        assert await relay.titles(2) == ["c" * 2_000, "b" * 2_000]
        assert operator.retry(None) == 0


async def test_what_waits_is_counted(url: str, application: Application) -> None:
    operator = desk(url)
    assert (operator.state().waiting, operator.state().oldest) == (0, None)
    publish(application, "a", "b")
    state = operator.state()
    assert (state.waiting, state.parked, state.parked_total) == (2, [], 0)
    assert state.oldest is not None
    assert abs((datetime.now(UTC) - state.oldest).total_seconds()) < WITHIN


def test_an_operator_is_told_that_there_is_no_outbox(server: PostgresqlServer) -> None:
    empty = server.new_database()
    with pytest.raises(StoreUnusable, match="no server of this version has used the database yet"):
        desk(server.url(empty)).state()
    server.drop_databases([empty])


async def test_several_relays_at_once_publish_each_row_once(
    url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though all of them have the lock: it is only there to save work."""
    monkeypatch.setattr(outbox, "_LOCK", b"SELECT true")
    monkeypatch.setattr(outbox, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(outbox, "BATCH_ROWS", 7)
    count = 400
    async with relaying(url) as relay, relaying(url), relaying(url):
        for number in range(count):
            publish(application, str(number))
            if number % 10 == 0:
                await asyncio.sleep(0)
        assert await relay.titles(count) == [str(number) for number in range(count)]
        await nothing_waits(application)
        assert (await relay.store.head()).offset == count


async def test_when_the_relay_ends_another_one_goes_on(
    url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "STAND_BY_SECONDS", 0.05)
    async with relaying(url) as second:
        async with relaying(url) as first:
            publish(application, "a")
            await first.titles(1)
        publish(application, "b")
        assert await second.titles(2) == ["a", "b"]


async def test_a_relay_that_is_cut_off_is_succeeded(
    server: PostgresqlServer, database: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end of the line is gone, and the server knows nothing of that: it ends the session by itself."""
    monkeypatch.setattr(outbox, "STAND_BY_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "SILENT_SECONDS", 1)
    with ExitStack() as stack:
        line = stack.enter_context(line_to(server))
        held = line.hold_answers_to(b"synkrone.outbox")
        async with relaying(line.url(database)):
            assert await asyncio.to_thread(held.wait, WITHIN)
            async with relaying(server.url(database)) as second:
                publish(application, "a")
                assert await second.titles(1) == ["a"]
            line.cut()


@pytest.mark.parametrize("times", [1, 3])
async def test_a_line_that_breaks_as_rows_are_taken_over_doubles_none(
    server: PostgresqlServer, database: str, application: Application, times: int
) -> None:
    with line_to(server) as line:
        async with relaying(line.url(database)) as relay:
            for time in range(times):
                came = line.hold_answers_to(b"take_from_outbox")
                publish(application, f"{time} a", f"{time} b")
                assert await asyncio.to_thread(came.wait, WITHIN)
                line.cut()
                await nothing_waits(application)
            expected = [f"{time} {letter}" for time in range(times) for letter in "ab"]
            assert await relay.titles(2 * times) == expected
            assert (await relay.store.head()).offset == 2 * times


async def test_what_is_taken_out_by_hand_while_it_is_prepared_is_not_published(
    url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another server that was faster."""
    read = outbox._Session._read

    def read_and_lose(session: Any, numbers: Any) -> Any:
        found = read(session, numbers)
        application.execute("DELETE FROM synkrone.outbox WHERE title = 'gone'")
        return found

    monkeypatch.setattr(outbox._Session, "_read", read_and_lose)
    with application.transaction():
        publish(application, "a", "gone", "b")
    async with relaying(url) as relay:
        assert await relay.titles(2) == ["a", "b"]


async def test_a_row_that_has_the_number_of_one_that_a_failover_lost_is_another_one(
    url: str, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that read the lost one does not take it for that."""
    read = outbox._Session._read

    def read_and_fail_over(session: Any, numbers: Any) -> Any:
        found = read(session, numbers)
        application.execute(
            "UPDATE synkrone.outbox SET title = 'new', published_at = published_at + 1 WHERE title = 'lost'"
        )
        return found

    monkeypatch.setattr(outbox._Session, "_read", read_and_fail_over)
    monkeypatch.setattr(outbox, "WHOLE_SECONDS", 0.2)
    publish(application, "lost")
    async with relaying(url) as relay:
        assert await relay.titles(1) == ["new"]
        await nothing_waits(application)


async def test_whoever_may_only_publish_can_do_nothing_else(server: PostgresqlServer, database: str, url: str) -> None:
    role = f"app_{database}"
    server.execute(f"CREATE ROLE {role} LOGIN")
    try:
        with closing(server.connect(database, role)) as application:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                publish(application, "a")
            server.execute(f"GRANT USAGE ON SCHEMA synkrone TO {role}", database)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="function synkrone_publish"):
                publish(application, "a")
            server.execute(f"GRANT EXECUTE ON FUNCTION synkrone.synkrone_publish TO {role}", database)
            publish(application, "a")
            for forbidden in (
                "SELECT FROM synkrone.outbox",
                "SELECT FROM synkrone.entries",
                "DELETE FROM synkrone.outbox",
                "SELECT synkrone.park(ARRAY[1], ARRAY[1], ARRAY['x'])",
                "SELECT synkrone.retry_parked(NULL)",
                "SELECT secret FROM synkrone.log",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    application.execute(forbidden.encode())
        async with relaying(url) as relay:
            assert await relay.titles(1) == ["a"]
    finally:
        server.execute(f"DROP OWNED BY {role}", database)
        server.execute(f"DROP ROLE {role}")


async def test_a_role_that_may_only_read_and_write_rows_relays_parks_and_puts_back(
    server: PostgresqlServer, database: str, application: Application
) -> None:
    role = f"server_{database}"
    server.execute(f"CREATE ROLE {role} LOGIN")
    try:
        for statement in (
            f"GRANT USAGE ON SCHEMA synkrone TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA synkrone TO {role}",
        ):
            server.execute(statement, database)
        url = server.url(database, role)
        async with relaying(url, ConnectionPolicy(notification_bytes=1_000)) as relay:
            publish(application, "a", "x" * 2_000)
            assert await relay.titles(1) == ["a"]
            await nothing_waits(application)
        async with relaying(url) as relay:
            assert desk(url).retry(None) == 1
            assert await relay.titles(1) == ["x" * 2_000]
    finally:
        server.execute(f"DROP OWNED BY {role}", database)
        server.execute(f"DROP ROLE {role}")


async def test_the_search_path_of_the_caller_does_not_matter(url: str, application: Application) -> None:
    """Nor what the caller has put into it."""
    for statement in (
        "CREATE SCHEMA evil",
        "CREATE FUNCTION evil.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT 1 / 0'",
        "CREATE TEMPORARY TABLE outbox (number bigint)",
        "SET search_path = evil, pg_temp, pg_catalog",
    ):
        application.execute(statement.encode())
    publish(application, "a")
    async with relaying(url) as relay:
        assert await relay.titles(1) == ["a"]
