"""However much a store in PostgreSQL holds, what is looked up in it is found by an index, also where the server knows
nothing of the tables yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from adapters.store.postgresql import (
    appending,
    changes,
    items,
    ledger,
    log,
    recipients,
    snoozing,
    topics,
    trimming,
    users,
)
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.database import Database
from domain.model import ItemState
from tests.postgresql import Servers

pytestmark = pytest.mark.check

ROWS = 20_000
USERS = [f"u{number}" for number in range(200)]
OFFSETS = list(range(1, 1001))
ROOMS = [f"user:u{number % 2000}" for number in OFFSETS]
IDS = [f"id{number}" for number in OFFSETS]
VIEW: dict[str, Any] = {
    "user": "u1",
    "rooms": ["user:u1", "role:x", "everyone"],
    "starts": [0, 0, 0],
    "afters": [0, 0, 0],
    "aged": 0,
    "most": 10_000,
    "now": 0,
}
VIEW_IN_SEVERAL: dict[str, Any] = VIEW | {
    "rooms": ["user:u1\nrole:x\neveryone", "user:u1\nrole:y\neveryone"],
    "starts": ["0 0 0"] * 2,
    "afters": ["0 0 0"] * 2,
}
PAGE_OF_ITEMS: dict[str, Any] = {"type": "t", "before": None, "limit": 20, "bytes": 10**6}
FILL = f"""
    CREATE TEMPORARY VIEW numbers AS SELECT n, 'u' || n % 2000 AS name FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO synkrone.entries SELECT n, n, 'notification.new' FROM numbers;
    INSERT INTO synkrone.contents SELECT n, n, NULL, 'id' || n, 't', 1, 'user:' || name, '{{}}' FROM numbers;
    INSERT INTO synkrone.ids SELECT 'id' || n, n, CASE WHEN n % 3 = 0 THEN 'k' || n END, NULL FROM numbers;
    INSERT INTO synkrone.placed SELECT 'user:' || name, n, true, NULL FROM numbers;
    INSERT INTO synkrone.state (user_id, log_offset, read_at, seen_at, deleted, snoozed_until)
        SELECT name, n, 1, 1, false, CASE WHEN n % 50 = 0 THEN n END FROM numbers;
    INSERT INTO synkrone.watermarks SELECT name, n, n FROM numbers;
    INSERT INTO synkrone.marks SELECT 'u' || n, 'r', n FROM numbers;
    INSERT INTO synkrone.starts SELECT 'u' || n, 'everyone', n FROM numbers;
    INSERT INTO synkrone.memberships
        SELECT name, 'topic:t' || n % 5, n, CASE WHEN n % 2 = 0 THEN n + 5 END FROM numbers;
    INSERT INTO synkrone.ledger_connections
        SELECT n, n, name, 'c' || n, 'r', NULL, 'websocket', 'p', n, n, n, NULL, n, '{{}}', n, 'client_close', n, n
        FROM numbers;
    INSERT INTO synkrone.ledger_receipts SELECT name, n, '{{}}' FROM numbers;
    INSERT INTO synkrone.ledger_unsent SELECT n, n, n FROM numbers;
    INSERT INTO synkrone.scheduled (number, due, ended, id, type, form)
        SELECT n, n, CASE WHEN n % 5 = 0 THEN n END, 's' || n, 't', 1 FROM numbers;
    INSERT INTO synkrone.erasures (id, who, log_offset, begun_at, done_at)
        SELECT 'e' || n, sha256(name::bytea), n, n, n FROM numbers;
    INSERT INTO synkrone.tombstones SELECT sha256(('id' || n)::bytea), n, NULL FROM numbers;
    INSERT INTO synkrone.trimmed SELECT 'user:u' || n, n FROM numbers"""  # noqa: S608
SMALL = {"log", "epochs", "epochs_pkey", "appends"}
"""Of which there are a few rows whatever is stored."""

QUERIES: list[tuple[bytes, dict[str, Any]]] = [
    *(
        (
            query,
            {
                "user": "u1",
                "after": 0,
                "rooms": ["user:u1", "everyone"],
                "starts": [0, 0],
                "afters": [0, 0],
                "entries": 500,
                "bytes": 10**6,
            },
        )
        for query in (log._PAGE, log._PAGE_WITH_GROUPS)
    ),
    (log._FOLLOWING, {"after": 5, "upto": ROWS}),
    (log._OUTLINES, {"after": 5, "upto": ROWS}),
    (log._PAYLOADS, {"items": log._array(OFFSETS), "others": log._array(OFFSETS)}),
    (log._TAIL_FLOOR, {"floor": 0, "entries": 5000, "bytes": 10**8}),
    (log._TRIMMED, {"rooms": ROOMS, "floor": 1000}),
    *(
        (query, view | more)
        for view, in_several in ((VIEW, False), (VIEW_IN_SEVERAL, True))
        for query, more in (
            (items._SUMMARIES[in_several], {}),
            *(
                (items._LISTINGS[state, of_type, in_several], PAGE_OF_ITEMS)
                for state in ItemState
                for of_type in (False, True)
            ),
            (changes._NAMED[in_several], {"ids": IDS[:500]}),
            (changes._TO_READ[in_several], {"up_to": 10**6}),
        )
    ),
    (snoozing._DUE, {"now": 10**6, "most": 500}),
    (snoozing._STILL_DUE, {"users": USERS, "offsets": OFFSETS[: len(USERS)], "now": 10**6}),
    (changes._PUT_READ, {"user": "u1", "at": 1, "by": None}),
    (changes._FORGET_WATERMARKS, {"readers": USERS, "most": 1000}),
    (users._STARTS, {"numbers": [*range(200)], "users": USERS, "owns": USERS, "rooms": USERS, "floor": 1000}),
    (users._STAYS, {"numbers": [*range(200)], "users": USERS, "rooms": USERS, "starts": ["1"] * 200, "floor": 1000}),
    (topics._STAYS, {"user": "u1", "rooms": ROOMS, "starts": [0] * len(ROOMS)}),
    (users._MARKS, {"users": USERS, "roles": USERS}),
    (users._START, {"users": USERS, "rooms": USERS}),
    (users._MARK, {"users": USERS, "roles": USERS}),
    (users._ACKNOWLEDGE, {"users": USERS, "roles": USERS, "epochs": USERS, "offsets": [5] * 200}),
    (appending._KNOWN, {"ids": "\x1e".join(IDS), "keys": "k3\x1ek6"}),
    (ledger._WITH_ID, {"id": "id1", "floor": 0, "before": 10**6}),
    (
        ledger._FOR_USER,
        {
            "user": "u1",
            "floor": 0,
            "rooms": ["user:u1", "everyone"],
            "starts": [0, 0],
            "afters": [0, 0],
            "before": 10**6,
            "most": 21,
        },
    ),
    (ledger._NOTIFICATIONS, {"offsets": OFFSETS[:20], "own": "user:u1", "user": "u1"}),
    (ledger._OPEN, {"user": "u1"}),
    (ledger._ENDED, {"user": "u1", "at": 5000}),
    (ledger._UNSENT_OF, {"offsets": OFFSETS[:20]}),
    (
        ledger._RECEIVED_AT,
        {"user": "u1", "within": 600, "ids": IDS[:50], "offsets": OFFSETS[:50], "since": OFFSETS[:50]},
    ),
    (ledger._DROP, {"before": 100, "most": 1000}),
    (recipients._PUBLISHED, {"id": "id1"}),
    *(
        (
            query,
            {
                "offset": 15_000,
                "roles": None,
                "users": USERS,
                "common": ["r"],
                "is_topic": True,
                "room": "topic:t1",
                "rooms": ["topic:t1", "topic:t2", "role:r"],
                "start": 3,
                "after": "u3",
                "most": 200,
            },
        )
        for queries in (recipients._RECIPIENTS_OF, recipients._TALLY_OF)
        for query in queries.values()
    ),
    (trimming._OLD, {"floor": 10, "given": ROWS, "before": 10**6, "most": 1000}),
    (trimming._BEHIND, {"floor": 1000, "most": 1000, "names": 65_536}),
    (trimming._SWEEP, {"upto": 100}),
    (trimming._TOO_OLD, {"floor": ROWS, "before": 10**6, "most": 1000, "names": 65_536}),
    (trimming._DROP_STATE, {"offsets": OFFSETS, "most": 1000}),
    (trimming._HAS_STATE, {"offsets": OFFSETS}),
    (trimming._LOSE, {"rooms": ROOMS, "offsets": OFFSETS}),
    (trimming._DISPLACE, {"rooms": ROOMS, "offsets": OFFSETS}),
    (trimming._DROP_IDS, {"ids": IDS}),
    (trimming._DROP_CONTENTS, {"offsets": OFFSETS}),
    (trimming._FORGET, {"not_in_log": 100, "not_in_inbox": 100, "answered": 100, "most": 1000}),
]


@pytest.fixture(scope="module", params=[(15, False), (15, True), (18, False), (18, True)], ids=str)
def database(postgresql: Servers, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Filled, and where that is asked for with what the server has found out about it."""
    version, analyzed = request.param
    server = postgresql.of(version)
    name = server.new_store()
    server.execute(FILL, name)
    if analyzed:
        server.execute("ANALYZE", name)
    with closing(Database(Address(server.url(name)))) as database:
        yield database
    server.drop_databases([name])


def whole_reads(plan: dict[str, Any]) -> Iterator[str]:
    """The tables and indexes of a plan that are read from one end to the other."""
    relation = plan.get("Index Name") or plan.get("Relation Name")
    reads = plan["Node Type"] == "Seq Scan" or (plan["Node Type"].endswith("Scan") and "Index Name" in plan)
    # One that is to end after some is read from its end.
    if reads and "Index Cond" not in plan and relation not in SMALL:
        yield str(relation)
    for part in plan.get("Plans", ()):
        if plan["Node Type"] != "Limit":
            yield from whole_reads(part)


@pytest.mark.parametrize(("query", "parameters"), QUERIES, ids=[str(number) for number in range(len(QUERIES))])
def test_no_query_reads_a_whole_table(database: Database, query: bytes, parameters: dict[str, Any]) -> None:
    (explained,) = database.one(b"EXPLAIN (FORMAT json) " + query, parameters)
    assert list(whole_reads(explained[0]["Plan"])) == []


def test_a_query_that_reads_a_whole_table_is_noticed(database: Database) -> None:
    (explained,) = database.one(b"EXPLAIN (FORMAT json) SELECT count(*) FROM synkrone.contents WHERE type = 't'")
    assert list(whole_reads(explained[0]["Plan"])) == ["contents"]
