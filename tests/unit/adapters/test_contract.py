"""The JSON of the public contract: what is taken, what is refused and how, and what comes out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.contract import answers, events, json_text, problems, publications
from domain.errors import ERRORS_MAX, InvalidPublication, TokenExpired, TooManyConnections
from domain.model import (
    EVERYONE,
    Ambiguous,
    Answer,
    Audience,
    AudienceKind,
    Changed,
    Counted,
    Counts,
    Draft,
    Failed,
    FieldError,
    Item,
    Json,
    Listing,
    Notification,
    Position,
    Publication,
    Refreshed,
    Room,
)

BODY: dict[str, Any] = {"to": {"user": "42"}, "type": "mission.assigned"}
AUDIENCES = "must be exactly one of {user}, {users}, {role}, {topic}, {any_of}, {all_of}, {everyone: true}"
TIME = "must be an RFC 3339 time with a zone, for example 2030-01-31T12:00:00Z"


def parse(**members: Any) -> Publication:
    return publications.parse_publication(json.dumps({**BODY, **members}).encode())


def errors_of(body: object, path: str = "") -> list[tuple[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidPublication) as refused:
        publications.parse_publication(raw, path)
    return [(error.path, error.message) for error in refused.value.errors]


def draft(publication: Publication, *, own_id: bool = True, id_: str = "a") -> Draft:
    notification = Notification(
        id=id_,
        type=publication.type,
        title=publication.title,
        body=publication.body,
        data=publication.data,
        audience=publication.to.kind,
        created_at=datetime(2030, 1, 31, tzinfo=UTC),
        expires_at=publication.expires_at,
    )
    return Draft(notification, publication.to.rooms, own_id)


# parse_publication


@pytest.mark.parametrize(
    ("to", "audience"),
    [
        ({"user": "42"}, Audience.users(["42"])),
        ({"users": ["42", "43", "42"]}, Audience.users(["42", "43"])),
        ({"topic": "project-17"}, Audience.topic("project-17")),
        (
            {"any_of": [{"topic": "a"}, {"role": "b"}, {"topic": "a"}]},
            Audience.any_of([Room.of_topic("a"), Room.of_role("b")]),
        ),
        ({"any_of": [{"role": "b"}]}, Audience.role("b")),
        (
            {"all_of": [{"topic": "a"}, {"role": "b"}, {"topic": "a"}]},
            Audience.all_of([Room.of_role("b"), Room.of_topic("a")]),
        ),
        ({"all_of": [{"topic": "a"}, {"topic": "a"}]}, Audience.topic("a")),
        ({"role": "company"}, Audience.role("company")),
        ({"everyone": True}, Audience.everyone()),
    ],
)
def test_audiences(to: dict[str, Any], audience: Audience) -> None:
    assert parse(to=to) == Publication(to=audience, type="mission.assigned")


def test_a_publication_with_everything() -> None:
    assert parse(
        title="T", body="B", data={"a": 1}, id="id-1", expires_at="2030-01-31T14:00:00.25+02:00"
    ) == Publication(
        to=Audience.users(["42"]),
        type="mission.assigned",
        title="T",
        body="B",
        data=Json(b'{"a": 1}'),
        id="id-1",
        expires_at=datetime(2030, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC),
    )


def test_null_is_as_good_as_absent() -> None:
    nothing = dict.fromkeys(("title", "body", "data", "id", "expires_at"))
    assert parse(**nothing) == parse()


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("to", "is required"), ("type", "is required")]),
        ({"to": None, "type": None}, [("to", "is required"), ("type", "is required")]),
        ({**BODY, "to": "42"}, [("to", AUDIENCES)]),
        ({**BODY, "to": {}}, [("to", AUDIENCES)]),
        ({**BODY, "to": {"user": "42", "role": "company"}}, [("to", AUDIENCES)]),
        ({**BODY, "to": {"group": "x"}}, [("to.group", "is not known")]),
        ({**BODY, "to": {"topic": ""}}, [("to.topic", "must be 1 to 128 characters")]),
        ({**BODY, "to": {"any_of": {}}}, [("to.any_of", "must be a list of {role} and {topic}")]),
        ({**BODY, "to": {"any_of": []}}, [("to.any_of", "must name 1 to 100 roles and topics")]),
        ({**BODY, "to": {"any_of": [{"role": "a"}] * 101}}, [("to.any_of", "must name 1 to 100 roles and topics")]),
        ({**BODY, "to": {"any_of": [{"user": "42"}]}}, [("to.any_of[0]", "must be exactly one of {role}, {topic}")]),
        ({**BODY, "to": {"all_of": {}}}, [("to.all_of", "must be a list of {role} and {topic}")]),
        ({**BODY, "to": {"all_of": []}}, [("to.all_of", "must name 1 to 100 roles and topics")]),
        (
            {**BODY, "to": {"all_of": [{"role": "a"}, {"any_of": [{"role": "b"}]}]}},
            [("to.all_of[1]", "must be exactly one of {role}, {topic}")],
        ),
        (
            {**BODY, "to": {"any_of": [{"all_of": [{"role": "b"}]}]}},
            [("to.any_of[0]", "must be exactly one of {role}, {topic}")],
        ),
        ({**BODY, "to": {"any_of": ["a"]}}, [("to.any_of[0]", "must be exactly one of {role}, {topic}")]),
        ({**BODY, "to": {"any_of": [{"role": "a"}, {"topic": 1}]}}, [("to.any_of[1].topic", "must be a string")]),
        ({**BODY, "to": {"user": 42}}, [("to.user", "must be a string")]),
        ({**BODY, "to": {"role": ["a"]}}, [("to.role", "must be a string")]),
        ({**BODY, "to": {"users": "42"}}, [("to.users", "must be a list of user ids")]),
        ({**BODY, "to": {"users": ["1", "2", None]}}, [("to.users[2]", "must be a string")]),
        ({**BODY, "to": {"users": ["1", ""]}}, [("to.users[1]", "must be 1 to 128 characters")]),
        ({**BODY, "to": {"user": "4\n2"}}, [("to.user", "holds U+000A, which is not allowed")]),
        ({**BODY, "to": {"users": []}}, [("to.users", "must name 1 to 10000 users")]),
        ({**BODY, "to": None, "topic": 1}, [("to", "is required"), ("topic", "is not known")]),
        ({**BODY, "to": {"everyone": 1}}, [("to.everyone", "must be true")]),
        ({**BODY, "to": {"everyone": False}}, [("to.everyone", "must be true")]),
        ({**BODY, "type": 1}, [("type", "must be a string")]),
        ({**BODY, "title": []}, [("title", "must be a string")]),
        ({**BODY, "body": {}}, [("body", "must be a string")]),
        ({**BODY, "id": 7}, [("id", "must be a string")]),
        ({**BODY, "data": [1]}, [("data", "must be an object")]),
        ({**BODY, "data": "x"}, [("data", "must be an object")]),
        ({**BODY, "colour": "red"}, [("colour", "is not known")]),
        (
            {"type": 1, "title": 2, "to": {"user": 3}, "x": None},
            [
                ("to.user", "must be a string"),
                ("type", "must be a string"),
                ("title", "must be a string"),
                ("x", "is not known"),
            ],
        ),
        ([BODY], [("body", "must be a JSON object")]),
        (None, [("body", "must be a JSON object")]),
        ("text", [("body", "must be a JSON object")]),
    ],
)
def test_every_bad_field_is_named(body: object, errors: list[tuple[str, str]]) -> None:
    assert errors_of(body) == errors


@pytest.mark.parametrize("body", [{}, {**BODY, "to": {"users": [1]}}, {**BODY, "x": 1, "id": 1}])
def test_paths_stand_behind_that_of_the_item(body: dict[str, Any]) -> None:
    assert errors_of(body, "[3].") == [(f"[3].{path}", message) for path, message in errors_of(body)]
    assert errors_of([], "[3].") == [("[3]", "must be a JSON object")]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31t12:00:00z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31 12:00:00-00:30", datetime(2030, 1, 31, 12, 30, tzinfo=UTC)),
        ("2030-01-31T12:00:00.123456Z", datetime(2030, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2030-01-31T12:00:00.123456789Z", datetime(2030, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2030-01-31T12:00:00.5Z", datetime(2030, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    expires_at = parse(expires_at=text).expires_at
    assert expires_at == time
    assert expires_at is not None
    assert expires_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2030-01-31", TIME),
        ("2030-01-31T12:00:00", TIME),
        ("2030-01-31T12:00Z", TIME),
        ("2030-01-31T12:00:00Z\n", TIME),
        (1893456000, TIME),
        ("2030-02-30T12:00:00Z", "is not a time of the calendar"),
        ("2030-01-31T25:00:00Z", "is not a time of the calendar"),
        ("0001-01-01T00:00:00+12:00", "is not a time of the calendar"),
        ("9999-12-31T23:59:59-12:00", "is not a time of the calendar"),
        ("2030-01-31T12:00:00+99:99", "is not a time of the calendar"),
    ],
)
def test_what_is_no_time(value: object, message: str) -> None:
    assert errors_of({**BODY, "expires_at": value}) == [("expires_at", message)]


@pytest.mark.parametrize(
    "raw",
    [
        b'{ "b" : 1e2 , "a":[ ] }',
        b'{"a":{"b":":"},"c":{"b":"\\\\\\u003a\\\\u003a:"}}',
        b'{"n":123456789012345678901234567890.10}',
        '{"é":"\\u00e9\\/"}'.encode(),
    ],
)
def test_data_passes_through_as_it_was_written(raw: bytes) -> None:
    publication = publications.parse_publication(b'{"to":{"user":"42"}, "type":"t", "data": ' + raw + b" }")
    assert publication.data == raw
    assert b'"data":' + raw + b"," in bytes(events.notification_json(draft(publication).notification))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'to': 1}",
        b'{"to": {"user": "42"}, "type": "t"} {}',
        b'{"to": {"user": "42"}, "type": "t",}',
        b'{"to": {"user": "42"}, "type": "t", "data": {"a": NaN}}',
        b'{"to": {"user": "\\ud800"}, "type": "t"}',
        b'{"to": {"user": "42"}, "type": "\\udfff\\ud800"}',
        b'{"to": {"user": "42"}, "type": "t", "data": {"a": ["\\ud83d"]}}',
        b'{"to": {"user": "42"}, "type": "t", "data": {"\\ud800": 1}}',
        b'{"to": {"user": "42"}, "type": "t", "\\ud800": 1}',
        b'{"to": {"user": "42"}, "type": "t", "x": "\\ud800"}',
        b'{"to": {"user": "42"}, "type": "\xff"}',
        b'{"to": {"user": "42"}, "type": "t", "data": {"a": "\xc3("}}',
        b'{"to": {"user": "42"}, "type": "t", "x": "\xed\xa0\x80"}',
        b'{"to": {"user": "42"}, "type": "t", "data": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    with pytest.raises(json_text.InvalidJson):
        publications.parse_publication(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(["to", "type", "title", "body", "data", "id", "expires_at", "x"])
audiences = st.dictionaries(st.sampled_from(["user", "users", "role", "everyone", "x"]), json_values, max_size=2)
times = st.from_regex(json_text._RFC3339, fullmatch=True)
bodies = st.dictionaries(members, json_values | audiences | times, max_size=8).map(
    lambda body: json.dumps(body).encode()
)


def mutated(body: bytes, at: int, by: bytes) -> bytes:
    at %= len(body) + 1
    return body[:at] + by + body[at + 1 :]


@given(st.binary(max_size=200) | bodies | st.builds(mutated, bodies, st.integers(0, 500), st.binary(max_size=3)))
@example(b'{"to":{"user":"1"},"type":"t","expires_at":"0000-00-00T00:00:00Z"}')
@example(b'{"to":{"user":"1"},"type":"t","data":{"a":1e999}}')
@example(b'{"to":{"user":"1"},"type":"t","data":{"a":' + b"9" * 5000 + b"}}")
@example(b"\xef\xbb\xbf{}")
def test_whatever_is_published_it_is_good_or_refused_with_a_reason(body: bytes) -> None:
    try:
        publication = publications.parse_publication(body)
    except (InvalidPublication, json_text.InvalidJson) as refused:
        reason = str(refused)
        assert reason.strip()
        return
    # What is taken can be given to recipients, and recognised when it comes again.
    entry = events.notification_json(draft(publication).notification)
    assert json.loads(entry)["type"] == publication.type
    assert publications.fingerprint(draft(publication)) == publications.fingerprint(
        draft(publications.parse_publication(body))
    )


# members that are given more than once


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"to":{"user":"42"},"type":"t","to":{"everyone":true}}', ["to"]),
        (b'{"to":{"user":"42"},"type":"t","\\u0074o":{"everyone":true}}', ["to"]),
        (b'{"to" : {"user":"42"},"type":"t","type"\n:"t"}', ["type"]),
        (b'{"to":{"user":"42","user":"43"},"type":"t"}', ["to.user"]),
        (b'{"to":{"user":"4:2","us\\u0065r":"4:3"},"type":"t"}', ["to.user"]),
        (b'{"to":{"users":["a:b"],"users":[]},"type":"t"}', ["to.users", "to.users"]),
        (b'{"to":{"user":"42"},"type":"t","id":"a","id":"a","id":"a"}', ["id"]),
        (b'{"to":{"user":"42"},"type":"t","title":":","title":"\\u003A:"}', ["title"]),
        (b'{"to":{"user":"42"},"type":"t","data":{"a":1,"a":2}}', ["data.a"]),
        (b'{"to":{"user":"42"},"type":"t","data":{"a":[0,{"b":{"c":1,"c":1}}]}}', ["data.a[1].b.c"]),
        (b'{"to":{"user":"42"},"type":"t","data":{"a":"\\u003a","a":1,"b":"\\\\u003a"}}', ["data.a"]),
        (b'{"to":{"user":"42"},"type":"t","data":{"":1,"":1}}', ["data."]),
        (b'{"to":{"user":"42"},"type":"t","x":{"a":1,"a":2}}', ["x", "x.a"]),
        (b'{"to":{"user":"42"},"type":"t","data":{},"data":null}', ["data"]),
    ],
)
def test_a_member_that_is_given_more_than_once_is_named(body: bytes, paths: list[str]) -> None:
    with pytest.raises(InvalidPublication) as refused:
        publications.parse_publication(body, "[7].")
    assert sorted(error.path for error in refused.value.errors) == [f"[7].{path}" for path in paths]


def test_in_a_very_large_body_it_is_only_said_that_something_is_repeated() -> None:
    body = b'{"to":{"user":"42"},"type":"t","data":{"a":"%s","a":1}}' % (b"x" * 262_144)
    for path, named in (("", "body"), ("[7].", "[7]")):
        with pytest.raises(InvalidPublication) as refused:
            publications.parse_publication(body, path)
        assert refused.value.errors == (FieldError(named, "gives a member more than once"),)


def test_what_is_named_is_bounded() -> None:
    many = ",".join(f'"{number}":1,"{number}":1' for number in range(300))
    with pytest.raises(InvalidPublication) as refused:
        publications.parse_publication(b'{"to":{"user":"42"},"type":"t","%s":1,%s}' % (b"x" * 60_000, many.encode()))
    assert (len(refused.value.errors), refused.value.errors_total) == (ERRORS_MAX, 601)
    assert len(str(refused.value)) < 1000
    deep = b'{"%s":' % (b"y" * 500) * 300 + b'{"a":1,"a":1}' + b"}" * 300
    with pytest.raises(InvalidPublication) as refused:
        publications.parse_publication(b'{"to":{"user":"42"},"type":"t","data":%s}' % deep)
    assert len(refused.value.errors[0].path) <= 512


spellings = st.text(st.sampled_from('a:\\u3"é\U0001f600'), max_size=4)


def escaped_fully(character: str) -> str:
    octets = character.encode("utf-16-be").hex()
    return "".join(f"\\u{octets[at : at + 4]}" for at in range(0, len(octets), 4))


def spelled(name: str) -> st.SearchStrategy[str]:
    """A name as a JSON string, with some characters escaped that need not be."""
    return st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda escaped: (
            '"'
            + "".join(
                escaped_fully(c) if escape else json.dumps(c, ensure_ascii=False)[1:-1]
                for c, escape in zip(name, escaped, strict=True)
            )
            + '"'
        )
    )


strings = spellings.flatmap(spelled)
json_texts: st.SearchStrategy[str] = st.recursive(
    strings | st.sampled_from(["null", "1.5e3", "-0", "true"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(strings, st.sampled_from([":", " :", ": "]), inner), max_size=3).map(
            lambda members: "{" + ",".join("".join(member) for member in members) + "}"
        )
    ),
    max_leaves=12,
)


@given(json_texts)
@example('{"a":"\\u003a","a":1}')
@example('{"a":"\\\\u003a","b":1}')
def test_repeated_members_are_found_however_they_are_spelled(text: str) -> None:
    found: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) != len(pairs)))
    assert json_text.repeats_members(text.encode(), json.loads(text)) == any(found)
    assert isinstance(json_text.parse_argument(text.encode()), Ambiguous) == (text.startswith("{") and any(found))


def test_an_argument_that_says_something_twice_is_marked_and_the_member_named() -> None:
    argument = json_text.parse_argument(b'{"ids":["a"],"ids":["b"]}')
    assert isinstance(argument, Ambiguous)
    assert (argument, argument.repeated) == ({"ids": ["b"]}, "ids")
    long = json_text.parse_argument(b'{"ids":["a"],"ids":["%s"]}' % (b"x" * 5000))
    assert isinstance(long, Ambiguous)
    assert type(json_text.parse_argument(b'{"ids":["a:"]}')) is dict


# parse_object and parse_array


def test_an_object_s_members_stay_undecoded() -> None:
    assert {name: bytes(raw) for name, raw in json_text.parse_object(b'{"a": [1, 2 ], "b":null}').items()} == {
        "a": b"[1, 2 ]",
        "b": b"null",
    }


def test_an_array_s_items_stay_undecoded() -> None:
    assert json_text.parse_array(b' [ {"a": 1 } ,2, "x"]') == [b'{"a": 1 }', b"2", b'"x"']
    assert json_text.parse_array(b"[]") == []


@pytest.mark.parametrize("body", [b"{}", b"1", b"null", b'"x"'])
def test_what_is_no_array(body: bytes) -> None:
    with pytest.raises(InvalidPublication) as refused:
        json_text.parse_array(body)
    assert refused.value.errors == (FieldError("body", "must be a JSON array"),)


@pytest.mark.parametrize("body", [b"", b"[1", b"[\xff]", b"[" * 100_000, b'["\xed\xa0\x80"]'])
def test_what_is_no_json_is_no_array_either(body: bytes) -> None:
    with pytest.raises(json_text.InvalidJson):
        json_text.parse_array(body)


# what recipients get


def test_a_notification() -> None:
    publication = parse(title="T", data={"a": 1}, expires_at="2030-02-01T00:00:00Z", to={"everyone": True})
    assert json.loads(events.notification_json(draft(publication).notification)) == {
        "id": "a",
        "type": "mission.assigned",
        "title": "T",
        "body": None,
        "data": {"a": 1},
        "created_at": "2030-01-31T00:00:00.000Z",
        "expires_at": "2030-02-01T00:00:00.000Z",
        "audience": "everyone",
        "read_at": None,
        "seen_at": None,
        "archived_at": None,
    }


def test_timestamps_are_in_utc_to_the_millisecond() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert json_text.timestamp(datetime(2030, 1, 1, 0, 0, 0, 999_999, tzinfo=east)) == "2029-12-31T18:30:00.999Z"


def test_a_problem() -> None:
    assert problems.problem_object(TokenExpired("secret reason").problem) == {
        "code": "token_expired",
        "title": "The token has expired.",
        "retryable": True,
    }
    assert problems.problem_object(TooManyConnections("more").problem)["detail"] == "more"


# what lies in an inbox, and what is said of it

NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


def item(data: bytes | None = None, **times: datetime) -> Item:
    """One whose notification has this ``data``."""
    publication = replace(parse(), data=Json(data) if data is not None else None)
    payload = events.notification_json(draft(publication).notification)
    state = {name: times.get(name) for name in ("read_at", "seen_at", "archived_at", "snoozed_until")}
    return Item(offset=7, payload=payload, **state)


def test_an_item_that_nobody_touched_is_the_notification_itself() -> None:
    assert events.item_json(item(b'{ "n": 1e2 }')) == item(b'{ "n": 1e2 }').payload


@pytest.mark.parametrize(
    "data",
    [
        None,
        b'{ "n": 1e2 }',
        b'{"read_at":null,"seen_at":null,"archived_at":null}',
        b'{"a":{"read_at":null,"seen_at":null,"archived_at":null}}',
    ],
)
@pytest.mark.parametrize(
    "names",
    [
        ("read_at",),
        ("seen_at",),
        ("archived_at",),
        ("read_at", "seen_at", "archived_at"),
        ("snoozed_until",),
        ("read_at", "snoozed_until"),
    ],
)
def test_an_item_is_the_notification_with_its_times(data: bytes | None, names: tuple[str, ...]) -> None:
    times = {name: NOON + timedelta(hours=number) for number, name in enumerate(names)}
    listed = item(data, **times)
    given = events.item_json(listed)
    expected = json.loads(listed.payload) | {name: json_text.timestamp(time) for name, time in times.items()}
    assert json.loads(given) == expected
    # No member is there twice, and the publisher's own bytes are as they were.
    assert len(json.loads(given, object_pairs_hook=list)) == len(expected)
    assert data is None or data in bytes(given)


@pytest.mark.parametrize("payload", [b"", b"null", b'{"id":"1"}', b'{"read_at":null,"seen_at":null}'])
@pytest.mark.parametrize("read_at", [None, NOON])
def test_what_is_stored_and_is_no_notification_is_not_put_into_a_list(payload: bytes, read_at: datetime | None) -> None:
    with pytest.raises(ValueError, match="offset 7"):
        events.item_json(Item(7, Json(payload), read_at=read_at, seen_at=None, archived_at=None))


def test_what_is_said_of_a_change() -> None:
    change = {"read_at": NOON, "archived_at": None}
    times = {"read_at": "2030-01-31T12:00:00.000Z", "archived_at": None}
    assert json.loads(events.updated_json(["b", "a"], change)) == {"ids": ["b", "a"], "change": times}
    assert json.loads(events.updated_json(None, change)) == {"all": True, "change": times}
    assert json.loads(events.deleted_json(["b", "a"])) == {"ids": ["b", "a"]}


COUNTS = Counts(unread=1, unseen=2, total=3)
COUNTED = {"unread": 1, "unseen": 2, "total": 3}


@pytest.mark.parametrize(
    ("answer", "members"),
    [
        (Counted(COUNTS, Position("e", 9), room=4, stands_until=NOON), {"ok": True, "counts": COUNTED, "as_of": "e:9"}),
        (Changed(5, COUNTS, Position("e", 9)), {"ok": True, "changed": 5, "counts": COUNTED, "as_of": "e:9"}),
        (
            Listing((), None, COUNTS, Position("e", 9)),
            {"ok": True, "items": [], "next": None, "counts": COUNTED, "as_of": "e:9"},
        ),
        (Refreshed(NOON), {"ok": True, "expires_at": "2030-01-31T12:00:00.000Z"}),
        (
            Failed(TooManyConnections().problem),
            {"ok": False, "error": problems.problem_object(TooManyConnections().problem)},
        ),
    ],
)
def test_answers(answer: Answer, members: dict[str, object]) -> None:
    assert json.loads(json_text.to_json(answers.answer_object(answer))) == members


def test_a_list_holds_its_items_and_names_the_next_page_by_a_string() -> None:
    items = (item(b'{"n": 1e2}', read_at=NOON), item())
    answer = json_text.to_json(answers.answer_object(Listing(items, 7, COUNTS, Position("e", 9))))
    members = json.loads(answer)
    assert members["next"] == "7"
    assert members["items"] == [json.loads(events.item_json(one)) for one in items]
    assert b'{"n": 1e2}' in bytes(answer)


# fingerprint


def fingerprint(**members: Any) -> bytes:
    return publications.fingerprint(draft(parse(**members)))


def test_the_order_of_members_and_white_space_are_not_content() -> None:
    assert fingerprint(data={"a": 1, "b": {"x": [1, 2], "y": None}}) == fingerprint(
        data={"b": {"y": None, "x": [1, 2]}, "a": 1}
    )
    assert fingerprint(to={"users": ["2", "1"]}) == fingerprint(to={"users": ["1", "2", "1"]})
    assert fingerprint(expires_at="2030-01-31T12:00:00Z") == fingerprint(expires_at="2030-01-31T13:00:00+01:00")


def test_neither_the_time_of_publication_nor_an_id_of_ours_is_content() -> None:
    one = draft(parse(), own_id=False)
    later = replace(one.notification, id="b", created_at=one.notification.created_at + timedelta(hours=1))
    assert publications.fingerprint(one) == publications.fingerprint(replace(one, notification=later))
    assert publications.fingerprint(draft(parse(), id_="a")) != publications.fingerprint(draft(parse(), id_="b"))


def test_everything_else_is_content() -> None:
    others: list[dict[str, Any]] = [
        {},
        {"to": {"user": "43"}},
        {"to": {"users": ["42", "43"]}},
        {"to": {"role": "42"}},
        {"to": {"everyone": True}},
        {"type": "other"},
        {"title": "x"},
        {"body": "x"},
        {"data": {}},
        {"data": {"a": 1}},
        {"data": {"a": "1"}},
        {"data": {"a": [2, 1]}},
        {"data": {"a": [1, 2]}},
        {"expires_at": "2030-01-31T12:00:00Z"},
    ]
    assert len({fingerprint(**other) for other in others}) == len(others)


def test_rooms_can_be_named_in_a_fingerprint() -> None:
    rooms = frozenset((Room.of_user("1"), Room.of_role("x"), EVERYONE))
    notification = draft(parse()).notification
    assert AudienceKind.USER is notification.audience
    assert len(publications.fingerprint(Draft(notification, rooms, own_id=True))) == 32
