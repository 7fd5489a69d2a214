"""The Socket.IO protocol, version 5, as its document has it: at the wire, against the whole server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrypoints.server import Server
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session, refused, until_closed
from tests.serving import eventually, publish, serving, token

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])


def open_connections(server: Server) -> int:
    return server.container.connections().open_connections


# Connection to a namespace


@BOTH
@pytest.mark.gen_test
async def test_a_connect_packet_is_answered_with_the_session_id_and_events_follow(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send("40" + json.dumps({"token": token("42")}))
        packet = await peer.next()
        assert packet.startswith("40{")
        answer = json.loads(packet[2:])
        assert list(answer) == ["sid"]
        assert isinstance(answer["sid"], str)
        assert event(await peer.next())[0] == "session.ready"


@BOTH
@pytest.mark.parametrize("auth", ["", "{}", '{"token":"wrong"}', "[]", '"x"'])
@pytest.mark.gen_test
async def test_a_connection_that_is_not_allowed_gets_connect_error_and_is_closed(peer_class: Any, auth: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        problem = await refused(peer, auth)
        assert (problem["code"], problem["retryable"]) == ("invalid_token", False)
        assert await until_closed(peer) == []
        assert open_connections(server) == 0


@BOTH
@pytest.mark.parametrize("packet", ["40/random", "40/random,", '40/random,{"token":"t"}', "40/admin?token=1"])
@pytest.mark.gen_test
async def test_an_unknown_namespace_gets_connect_error_and_the_main_one_is_still_there(
    peer_class: Any, packet: str
) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send(packet)
        answer = await peer.next()
        namespace = packet[2:].partition(",")[0].partition("?")[0]
        assert answer.startswith(f"44{namespace},{{")
        assert json.loads(answer.partition(",")[2])["data"]["code"] == "unknown_namespace"
        await connected(peer, token("42"))


@BOTH
@pytest.mark.parametrize("packet", ['42["x"]', "41", '43["x"]', "4abc", "44{}"])
@pytest.mark.gen_test
async def test_a_client_that_does_not_begin_with_connect_is_closed(peer_class: Any, packet: str) -> None:
    async with serving(limits={"connect_timeout": "1s"}) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send(packet)
        assert await until_closed(peer) == []
        assert open_connections(server) == 0


@BOTH
@pytest.mark.gen_test
async def test_a_client_that_never_connects_is_closed(peer_class: Any) -> None:
    async with serving(limits={"connect_timeout": "1s"}) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        assert await until_closed(peer) == []


@BOTH
@pytest.mark.gen_test
async def test_connecting_twice_is_an_error_and_the_first_connection_lives(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        assert (await refused(peer, json.dumps({"token": token("42")})))["code"] == "already_connected"
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t"})
        assert event(await peer.next())[0] == "notification.new"


# Sending and receiving data


@BOTH
@pytest.mark.gen_test
async def test_an_event_is_an_array_that_begins_with_its_name(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        data = {"list": [1, 2.5, None, True], "text": 'é "quoted" \\ \u2028 😀', "deep": {"er": {}}}
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "data": data})
        packet = await peer.next()
        assert packet.startswith('42["notification.new",{')
        name, (notification, cursor) = event(packet)
        assert (name, notification["data"], type(cursor)) == ("notification.new", data, str)


INVALID = [
    "42",
    "42{}",
    '42"x"',
    "42[]",
    "42[1]",
    "42[null]",
    '42["x"',
    "42[",
    '42["x"]y',
    "40{",
    "45",
    '451-["x",{"_placeholder":true,"num":0}]',
    '46["x"]',
    "47",
    "4",
    '42["connect"]',
    '42["disconnect"]',
    '42["connect_error",{}]',
    '42["disconnecting"]',
]


@BOTH
@pytest.mark.parametrize("packet", INVALID)
@pytest.mark.gen_test
async def test_an_invalid_packet_closes_the_connection(peer_class: Any, packet: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(packet)
        assert await until_closed(peer) == []
        await eventually(lambda: open_connections(server) == 0)


@pytest.mark.gen_test
async def test_binary_attachments_are_refused_over_a_websocket() -> None:
    async with serving() as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(bytes((1, 2, 3)))
        assert await until_closed(peer) == []


@pytest.mark.gen_test
async def test_binary_attachments_are_refused_over_long_polling() -> None:
    async with serving() as server, http_session() as session:
        peer = await PollingPeer.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send("bAQID")
        assert await until_closed(peer) == []


# Acknowledgement


@BOTH
@pytest.mark.parametrize("number", ["0", "456", "99999999999"])
@pytest.mark.gen_test
async def test_an_event_with_an_id_gets_an_ack_with_that_id_and_an_array(peer_class: Any, number: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(f'42{number}["message-with-ack",1,"2",{{"3":[false]}}]')
        packet = await peer.next()
        assert packet.startswith(f"43{number}[")
        (answer,) = json.loads(packet[2 + len(number) :])
        assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_event")


@BOTH
@pytest.mark.gen_test
async def test_an_event_without_an_id_gets_no_ack(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send('42["message",1]')
        await peer.send('427["message",2]')
        assert (await peer.next()).startswith("437[")


@BOTH
@pytest.mark.gen_test
async def test_an_ack_of_what_nobody_asked_for_closes_the_connection(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send("431[]")
        assert await until_closed(peer) == []


# Disconnection from a namespace


@BOTH
@pytest.mark.gen_test
async def test_after_disconnect_nothing_is_answered_and_the_transport_lives_on(peer_class: Any) -> None:
    limits = {"ping_interval": "300ms", "ping_timeout": "2s", "connect_timeout": "2s"}
    async with serving(limits=limits) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send("41")
        await eventually(lambda: open_connections(server) == 0)
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t"})
        (alive,) = server.container.transport()._engine.sessions.values()
        pinged_at = alive.heartbeat._pinged_at
        ended = until_closed(peer)
        assert await ended == []
        # It was pinged meanwhile, and closed for not connecting again.
        assert alive.heartbeat._pinged_at > pinged_at


@BOTH
@pytest.mark.gen_test
async def test_a_session_has_one_connection_and_no_second_after_it(peer_class: Any) -> None:
    """A receipt of the first could otherwise be taken for one of the second, which may be another user's."""
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send("41")
        await peer.send("40" + json.dumps({"token": token("43")}))
        assert await until_closed(peer) == []
        assert open_connections(server) == 0


@BOTH
@pytest.mark.parametrize("packet", ["41/admin", "41/admin,", '42/admin,["x"]', "43/admin,1[]"])
@pytest.mark.gen_test
async def test_what_is_for_a_namespace_that_is_not_connected_closes_the_connection(
    peer_class: Any, packet: str
) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(packet)
        assert await until_closed(peer) == []
