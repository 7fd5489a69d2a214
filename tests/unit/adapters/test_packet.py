"""The Socket.IO packets a client may send, and what becomes of all others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from socketio import packet

from adapters.transport.socketio.packet import PacketRefused, StrictPacket, ack_packet, entry_packet, event_packet
from domain.model import EVERYONE, AckId, Ambiguous, Entry, Json, Position


def decoded(encoded: str) -> tuple[int, Any, Any, Any]:
    it = StrictPacket(encoded_packet=encoded)
    return it.packet_type, it.data, it.namespace, it.id


@pytest.mark.parametrize(
    ("encoded", "content"),
    [
        ('0{"token":"t"}', (packet.CONNECT, {"token": "t"}, None, None)),
        ("0", (packet.CONNECT, None, None, None)),
        ('0/admin,{"token":"t"}', (packet.CONNECT, {"token": "t"}, "/admin", None)),
        ("1", (packet.DISCONNECT, None, None, None)),
        ('2["inbox.list",{"limit":1}]', (packet.EVENT, ["inbox.list", {"limit": 1}], None, None)),
        ('217["a"]', (packet.EVENT, ["a"], None, 17)),
        ('2/,17["a"]', (packet.EVENT, ["a"], "/", 17)),
        ('2["é😀"]', (packet.EVENT, ["é😀"], None, None)),
    ],
)
def test_what_clients_may_send(encoded: str, content: tuple[int, Any, Any, Any]) -> None:
    assert decoded(encoded) == content


@pytest.mark.parametrize("name", ["connect", "connect_error", "disconnect", "disconnecting"])
@pytest.mark.parametrize("start", ["2", "217", "2/,", "2/,17"])
def test_reserved_events_are_forged(name: str, start: str) -> None:
    decoded(f'{start}["{name}s"]')
    for arguments in ([name], [name, {"token": "t"}]):
        with pytest.raises(PacketRefused):
            decoded(start + json.dumps(arguments))


@pytest.mark.parametrize(
    "encoded",
    [
        " ",
        "x",
        "4",
        '4{"message":"x"}',
        "5",
        '51-["a",{"_placeholder":true,"num":0}]',
        '50-["a"]',
        '5["a"]',
        "61-[]",
        '60-1["a"]',
        "7",
        "9",
        "²",
        "2",
        "2[]",
        "2{}",
        "2null",
        '2"a"',
        "2[1]",
        '2[["a"]]',
        "2[null]",
        '2["a"',
        '2["a"]x',
        "21",
        '2/admin["a"]',
        '2²["a"]',
        "2" + "1" * 5000 + '["a"]',
        '2["a",' + "9" * 5000 + "]",
        '2["a",' + "[" * 100_000 + "]" * 100_000 + "]",
        '2/admin,["a"]',
        "1/admin",
        "3",
        "31",
        "31[1]",
        "317[]",
        "3[]",
        '31{"a":1}',
        '31"a"',
        "01",
        '01{"token":"t"}',
        '0{"token"',
        "0" + '{"a":' * 50_000,
    ],
    ids=lambda encoded: repr(encoded)[:30],
)
def test_everything_else_is_refused(encoded: str) -> None:
    with pytest.raises(PacketRefused):
        decoded(encoded)


@pytest.mark.parametrize(
    ("encoded", "repeated"),
    [
        ('2["a",{"ids":["1"],"ids":["2"]}]', "ids"),
        ('2["a",{"ids":["1"],"\\u0069ds":["2"],"x":"\\ud800:"}]', "ids"),
        ('0{"token":"a","token":"b"}', "token"),
        ('0{"token":"%s","token":"b"}' % ("a" * 5000), ""),
        ('2["a",{"ids":["%s"],"ids":["2"]}]' % ("1" * 5000), ""),
        ('2["a",{"x":{"y":1,"y":1}}]', ""),
    ],
)
def test_an_object_that_says_something_twice_is_marked(encoded: str, repeated: str) -> None:
    _, data, _, _ = decoded(encoded)
    argument = data[1] if isinstance(data, list) else data
    assert isinstance(argument, Ambiguous)
    assert argument.repeated == repeated


@pytest.mark.parametrize("encoded", ['2["a",{"ids":["1:"],"x":{"ids":"\\u003a\\ud800"}}]', '0{"token":"a\\\\u003a"}'])
def test_an_object_that_says_everything_once_is_not(encoded: str) -> None:
    _, data, _, _ = decoded(encoded)
    assert type(data[1] if isinstance(data, list) else data) is dict


@pytest.mark.parametrize("encoded", [b'2["a"]', bytearray(b"0"), ["2"], 2])
def test_what_is_no_text_is_refused(encoded: object) -> None:
    with pytest.raises(PacketRefused):
        StrictPacket(encoded_packet=encoded)


def values_with(floats: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | floats | st.text(st.characters(), max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    )


json_values = values_with(st.floats(allow_nan=False, allow_infinity=False))
almost_json_values = values_with(st.floats())
texts = st.text(st.characters(), min_size=1, max_size=40)
near = st.builds(
    "".join,
    st.tuples(
        st.sampled_from("0123456²x"),
        st.sampled_from(["", "1-", "0-", "11111111111-", "²-", "-"]),
        st.sampled_from(["", "/,", "/a,", "/a?b=c,", "/a", "/", ",", "/\ud800,"]),
        st.sampled_from(["", "1", "17", "٣", "9" * 99, "9" * 101, "-1", "1.5"]),
        almost_json_values.map(json.dumps)
        | texts
        | st.sampled_from(["", "NaN", "[", '["connect"]', '["a"', "[1e999]"]),
    ),
)


@given(near | texts)
@example('2["a",{"_placeholder":true,"num":0}]')
@example("5" + "1" * 12 + "-[]")
@example("2" + "9" * 99 + '["a"]')
def test_whatever_a_client_sends_it_is_allowed_or_refused(encoded: str) -> None:
    try:
        kind, data, namespace, identifier = decoded(encoded)
    except PacketRefused:
        return
    assert kind in (packet.CONNECT, packet.DISCONNECT, packet.EVENT)
    assert namespace in (None, "/") or kind == packet.CONNECT
    if kind == packet.EVENT:
        assert isinstance(data[0], str)
        assert data[0] not in ("connect", "connect_error", "disconnect", "disconnecting")
    assert identifier is None or kind in (packet.EVENT, packet.DISCONNECT)


@given(json_values, st.none() | st.integers(0, 10**18))
def test_what_a_stock_client_encodes_is_read(argument: object, identifier: int | None) -> None:
    arguments = json.loads(json.dumps(["event", argument]))
    encoded = packet.Packet(packet.EVENT, data=arguments, namespace="/", id=identifier).encode()
    assert repr(decoded(encoded)) == repr((packet.EVENT, arguments, None, identifier))


@pytest.mark.parametrize(
    ("namespace", "start", "code"), [("/admin", "4/admin,", "unknown_namespace"), ("/", "4", "already_connected")]
)
def test_the_library_s_own_refusals_become_problems(namespace: str, start: str, code: str) -> None:
    encoded = StrictPacket(packet.CONNECT_ERROR, "Unable to connect", namespace=namespace).encode()
    assert encoded.startswith(start)
    answer = json.loads(encoded.removeprefix(start))
    assert answer["message"] == answer["data"]["title"]
    assert (answer["data"]["code"], answer["data"]["retryable"]) == (code, False)


def test_refusals_of_ours_stay_what_they_are() -> None:
    own = {"message": "x", "data": {"code": "invalid_token"}}
    assert json.loads(StrictPacket(packet.CONNECT_ERROR, own, namespace="/").encode()[1:]) == own


def test_an_event() -> None:
    encoded = event_packet("session.ready", {"a": 1}, "e:1").text.decode()
    assert encoded == '42["session.ready",{"a":1},"e:1"]'


def test_the_answer_to_an_event() -> None:
    assert ack_packet(AckId(0), {"ok": True, "é": [1]}).text.decode() == '430[{"ok":true,"é":[1]}]'
    assert ack_packet(AckId(10**18), None).text.decode() == "431000000000000000000[null]"


def test_an_entry_goes_out_as_it_was_stored() -> None:
    payload = Json('{"data":{ "f":1.0, "ü":"é" }}'.encode())
    entry = Entry(Position("e", 7), frozenset((EVERYONE,)), "notification.new", payload, datetime.now(UTC))
    assert entry_packet(entry).text.decode() == '42["notification.new",{"data":{ "f":1.0, "ü":"é" }},"e:7"]'
