"""What the functions that publish refuse is what the server would: the application hears of it, and nobody later."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, product

import psycopg
import pytest

from adapters.contract.json_text import InvalidJson
from adapters.contract.publications import parse_publication
from domain.errors import InvalidPublication
from domain.policy import AUDIENCE_MAX_GROUPS, AUDIENCE_MAX_USERS, NO_IDS, ConnectionPolicy
from tests.integration.outbox_harness import USER, Application
from tests.postgresql import PostgresqlServer, Servers

pytestmark = pytest.mark.check

PUBLISH = "SELECT synkrone.synkrone_publish(%s, %s, id => %s)"
COLLAPSING = "SELECT synkrone.synkrone_publish_collapsing('k', %s, 'test')"

NAMES = (
    '"a"',
    '" "',
    '""',
    "null",
    "1",
    "1e999",
    "true",
    "[]",
    '["a"]',
    '{"user": "a"}',
    f'"{"é" * 128}"',
    f'"{"😀" * 128}"',
    f'"{"a" * 129}"',
    r'"\u0061"',
    r'"\ud83d\ude00"',
    r'"\ud800"',
    r'"\udc00a"',
    r'"\u0000"',
    r'"\\u0000"',
    r'"\\\u0000"',
    *(
        json.dumps(f"a{chr(code)}")
        for code in (1, 9, 0x1F, 0x20, 0x7E, 0x7F, 0x9F, 0xA0, 0x2027, 0x2028, 0x2029, 0x202A)
    ),
    r'"\t"',
    r'"\""',
)
KINDS = ("user", "users", "role", "topic", "any_of", "all_of", "everyone", "User", "", "roles", r"us\u0065r")


def one_of_each() -> Iterator[str]:
    for kind, name in product(KINDS, NAMES):
        yield f'{{"{kind}": {name}}}'
        yield f'{{"{kind}": [{name}]}}'
        yield f'{{"{kind}": ["b", {name}]}}'


def groups() -> Iterator[str]:
    for whole, kind, name in product(("any_of", "all_of"), KINDS, NAMES):
        yield f'{{"{whole}": [{{"{kind}": {name}}}]}}'
        yield f'{{"{whole}": [{{"role": "r"}}, {{"{kind}": {name}}}]}}'


def several_groups() -> Iterator[str]:
    parts = ('{"role": "r"}', '{"role": "s"}', '{"topic": "t"}', '{"topic": "u"}', r'{"role": "\u0072"}', "{}")
    for whole, first, second, third in product(("any_of", "all_of"), parts, parts, parts):
        yield f'{{"{whole}": [{first}, {second}, {third}]}}'


def members() -> Iterator[str]:
    yield from ("null", "[]", "{}", "1", '"a"', "true", '[{"user": "a"}]')
    ones = ('"user": "a"', '"user": "b"', '"role": "a"', '"users": ["a"]', '"everyone": true', r'"us\u0065r": "c"')
    for first, second in product(ones, ones):
        yield f"{{{first}, {second}}}"
        yield f'{{"any_of": [{{{first}, {second}}}]}}'
    yield from (' { "everyone" : true } ', '{"everyone": false}', '{"everyone": "true"}', '{"everyone": null}')


def lengths() -> Iterator[str]:
    for most, made in (
        (AUDIENCE_MAX_USERS, lambda number: {"users": [str(one) for one in range(number)]}),
        (AUDIENCE_MAX_USERS, lambda number: {"users": ["a"] * number}),
        (AUDIENCE_MAX_GROUPS, lambda number: {"any_of": [{"role": str(one)} for one in range(number)]}),
        (AUDIENCE_MAX_GROUPS, lambda number: {"all_of": [{"topic": "t"}] * number}),
        (AUDIENCE_MAX_GROUPS, lambda number: {"all_of": [{"topic": str(one)} for one in range(number)]}),
    ):
        yield from (json.dumps(made(number)) for number in (0, 1, most, most + 1))
    for kind, length in product(("role", "topic"), range(115, 129)):
        yield json.dumps({"all_of": [{kind: f"{one:02}é{'a' * length}"[:128]} for one in range(15)]})


def recipients() -> list[str]:
    return list(dict.fromkeys(chain(one_of_each(), groups(), several_groups(), members(), lengths())))


def refused_by_the_server(publication: str) -> bool:
    try:
        ConnectionPolicy().check(parse_publication(publication.encode()))
    except (InvalidJson, InvalidPublication):
        return True
    return False


def refused_in_sql(application: Application, statement: str, *arguments: object) -> bool:
    try:
        application.execute(statement.encode(), arguments)
    except psycopg.DataError:
        return True
    return False


def differing(given: list[str], in_sql: Callable[[str], bool], publication: Callable[[str], str]) -> dict[str, str]:
    """Who refuses alone, by what is given."""
    return {
        one: "SQL" if by_sql else "the server"
        for one in given
        if (by_sql := in_sql(one)) is not refused_by_the_server(publication(one))
    }


@pytest.fixture(params=[15, 18])
def server(postgresql: Servers, request: pytest.FixtureRequest) -> PostgresqlServer:
    return postgresql.of(request.param)


@pytest.fixture
def application(server: PostgresqlServer, database: str) -> Iterator[Application]:
    with closing(server.connect(database)) as connection:
        yield connection


def test_a_recipient_is_refused_in_sql_where_the_server_would(application: Application) -> None:
    assert (
        differing(
            recipients(),
            lambda to: refused_in_sql(application, PUBLISH, to, "test", None),
            lambda to: f'{{"to": {to}, "type": "test"}}',
        )
        == {}
    )


def test_so_is_one_for_whom_there_is_no_collapse_key(application: Application) -> None:
    assert (
        differing(
            recipients(),
            lambda to: refused_in_sql(application, COLLAPSING, to),
            lambda to: f'{{"to": {to}, "type": "test", "collapse_key": "k"}}',
        )
        == {}
    )


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("id", "SELECT synkrone.synkrone_publish(%s, 'test', id => %s)"),
        ("type", "SELECT synkrone.synkrone_publish(%s, %s)"),
        (
            "collapse_key",
            "SELECT synkrone.synkrone_publish_collapsing(recipient => %s, type => 't', collapse_key => %s)",
        ),
    ],
)
def test_so_are_ids_types_and_collapse_keys(application: Application, name: str, statement: str) -> None:
    texts = [
        *NO_IDS,
        *("...", "batch.", "Batch", " batch", "batch\n", "", " ", "a", "a b", "é", "a" * 128, "a" * 129, "a\n", "\n"),
        *(chr(code) for code in chain(range(1, 0x100), (0x2028, 0x2029, 0x202A, 0x1F600))),
    ]
    assert (
        differing(
            texts,
            lambda text: refused_in_sql(application, statement, USER, text),
            lambda text: json.dumps({"to": json.loads(USER), "type": "test", name: text}),
        )
        == {}
    )


@pytest.mark.parametrize(
    "to",
    [
        '{"topic": "p"}',
        '{"any_of": [{"role": "r"}, {"topic": "p"}]}',
        '{"all_of": [{"topic": "p"}]}',
        '{"all_of": [{"role": "r"}, {"role": "s"}]}',
    ],
)
@pytest.mark.parametrize("at", ["NULL", "now() + interval '1 hour'"])
def test_who_publishes_with_a_key_for_a_topic_or_for_all_of_is_told(application: Application, to: str, at: str) -> None:
    with pytest.raises(
        psycopg.errors.InvalidParameterValue,
        match=r"^synkrone_publish_collapsing: collapse_key: is for users, roles or everyone, and for no topic",
    ):
        application.execute(f"{COLLAPSING[:-1]}, deliver_at => {at})".encode(), (to,))
    assert not application.execute("SELECT FROM synkrone.outbox").fetchall()
