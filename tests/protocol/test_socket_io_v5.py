"""The Socket.IO protocol, version 5, as its document has it: at the wire, against the whole server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from domain.services.connections import Connections
from entrypoints.server import Server
from tests.engine_io import PollingPeer, WebSocketPeer, connected, event, http_session, refused, until_closed
from tests.serving import eventually, publish, serving, token

AT_ONCE = 2.0
"""Seconds, well below every deadline that would close a connection anyway."""

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])


def open_connections(server: Server) -> int:
    connections: Connections = server.container.connections()
    return connections.open_connections


# Engine.IO below, as the suite of Socket.IO asks for it

ENGINE = {"ping_interval": "300ms", "ping_timeout": "1s", "message_bytes": 1_000_000}
POLL = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
LIMITS = {"pingInterval": 300, "pingTimeout": 1000, "maxPayload": 1_000_000}


@asynccontextmanager
async def served_engine() -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    async with serving(limits=ENGINE) as server, aiohttp.ClientSession(server.url) as http:
        yield server, http


async def opened(http: aiohttp.ClientSession) -> str:
    async with http.get(POLL) as answer:
        return f"&sid={json.loads((await answer.text())[1:])['sid']}"


async def polled(http: aiohttp.ClientSession, sid: str) -> tuple[int, str]:
    async with http.get(POLL + sid) as answer:
        return answer.status, await answer.text()


async def posted(http: aiohttp.ClientSession, sid: str, body: str) -> int:
    async with http.post(POLL + sid, data=body) as answer:
        return answer.status


@pytest.mark.gen_test
async def test_both_handshakes_of_engine_io_name_the_limits_of_the_server() -> None:
    async with served_engine() as (_, http):
        async with http.get(POLL) as answer:
            packet = await answer.text()
        socket = await http.ws_connect(SOCKET)
        for opening, upgrades in ((packet, ["websocket"]), (await socket.receive_str(), [])):
            assert opening.startswith("0{")
            values = json.loads(opening[1:])
            assert values == {"sid": values["sid"], "upgrades": upgrades} | LIMITS
        await socket.close()


@pytest.mark.parametrize(
    "query", ["transport=%s", "EIO=abc&transport=%s", "EIO=3&transport=%s", "EIO=4", "EIO=4&transport=abc"]
)
@pytest.mark.gen_test
async def test_a_wrong_query_opens_nothing(query: str) -> None:
    async with served_engine() as (server, http):
        async with http.get("/socket.io/?" + query.replace("%s", "polling")) as answer:
            assert answer.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect("/socket.io/?" + query.replace("%s", "websocket"))
        for method in ("POST", "PUT"):
            async with http.request(method, POLL) as answer:
                assert answer.status == 400
        assert not server.container.socketio()._engine.sessions


@pytest.mark.gen_test
async def test_pings_keep_both_transports_and_their_absence_ends_them() -> None:
    async with served_engine() as (server, http):
        sid, socket = await opened(http), await http.ws_connect(SOCKET)
        assert (await socket.receive_str())[0] == "0"
        for _ in range(3):
            assert await polled(http, sid) == (200, "2")
            assert await posted(http, sid, "3") == 200
            assert await socket.receive_str() == "2"
            await socket.send_str("3")
        assert await socket.receive_str() == "2"
        assert (await socket.receive(10)).type is aiohttp.WSMsgType.CLOSE
        sessions = server.container.socketio()._engine.sessions
        await eventually(lambda: not sessions)
        assert (await polled(http, sid))[0] == 400
        await socket.close()


@pytest.mark.gen_test
async def test_a_close_packet_ends_both_transports() -> None:
    async with serving() as server, aiohttp.ClientSession(server.url) as http:
        sid, socket = await opened(http), await http.ws_connect(SOCKET)
        sessions = server.container.socketio()._engine.sessions
        poll = asyncio.create_task(polled(http, sid))
        await eventually(lambda: sessions[sid[5:]].is_polled)
        assert await posted(http, sid, "1") == 200
        assert await poll == (200, "6")
        assert (await polled(http, sid))[0] == 400
        await socket.receive_str()
        await socket.send_str("1")
        assert (await socket.receive(10)).type is aiohttp.WSMsgType.CLOSE
        await socket.close()


@pytest.mark.gen_test
async def test_after_an_upgrade_the_session_is_the_websocket_s_alone() -> None:
    async with serving() as server, aiohttp.ClientSession(server.url) as http:
        sid = await opened(http)
        socket = await http.ws_connect(SOCKET + sid)
        await socket.send_str("2probe")
        assert await socket.receive_str() == "3probe"
        await socket.send_str("5")
        await socket.send_str("40" + json.dumps({"token": token("42")}))
        assert (await socket.receive_str()).startswith("40{")
        assert (await polled(http, sid))[0] == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(SOCKET + sid)
        assert (await socket.receive_str()).startswith('42["session.ready"')
        await socket.close()


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
        # Without a pid the stock client would not remember where it was.
        assert list(answer) == ["sid", "pid"]
        assert all(isinstance(value, str) for value in answer.values())
        assert event(await peer.next())[0] == "session.ready"


@BOTH
@pytest.mark.gen_test
async def test_auth_that_says_something_twice_is_refused_and_the_member_named(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        for name in ("token", "\\u0074oken"):
            peer = await peer_class.open(session, server.url)
            problem = await refused(peer, f'{{"token":"{token("42")}","{name}":"{token("43")}"}}')
            assert (problem["code"], problem["detail"]) == ("invalid_argument", "auth.token: is given more than once")
            assert await until_closed(peer) == []


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


BEFORE_CONNECT = [
    '42["x"]',
    '421["x"]',
    "41",
    '43["x"]',
    "4abc",
    "44{}",
    "4",
    "42",
    '451-["x",{"_placeholder":true,"num":0}]',
]


@BOTH
@pytest.mark.parametrize("packet", BEFORE_CONNECT)
@pytest.mark.gen_test
async def test_a_client_that_does_not_begin_with_connect_is_closed_at_once(peer_class: Any, packet: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send(packet)
        async with asyncio.timeout(AT_ONCE):
            assert await until_closed(peer) == []
        assert open_connections(server) == 0


@BOTH
@pytest.mark.parametrize("packet", ['42["x"]', '421["x"]', '42/random,["x"]'])
@pytest.mark.gen_test
async def test_an_event_after_a_namespace_was_refused_closes_the_connection(peer_class: Any, packet: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send("40/random,")
        assert (await peer.next()).startswith("44/random,")
        await peer.send(packet)
        async with asyncio.timeout(AT_ONCE):
            assert await until_closed(peer) == []


@BOTH
@pytest.mark.gen_test
async def test_events_sent_right_behind_connect_are_handled_after_it(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        packets = ["40" + json.dumps({"token": token("42")}), '421["x"]', '422["y"]']
        if peer_class is PollingPeer:
            await peer.send("\x1e".join(packets))
        else:
            for packet in packets:
                await peer.send(packet)
        answers = [await peer.next() for _ in range(4)]
        assert [answer[:3] for answer in answers] == ["40{", "42[", "431", "432"]


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
    "42null",
    "421",
    '42abc["x"]',
    '42-1["x"]',
    '421-["x"]',
    '42["x"]["y"]',
    ' 42["x"]',
    "4abc",
    "4{}",
    "48",
    '43["x"]',
    "44{}",
    '44{"message":"x"}',
    "401{}",
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


@BOTH
@pytest.mark.parametrize(
    "packet",
    [
        '420-["x"]',
        '42["x",NaN]',
        '42["x",Infinity]',
        '42["x",-Infinity]',
        '42\u0661["x"]',
    ],
)
@pytest.mark.gen_test
async def test_what_is_almost_of_the_format_closes_the_connection_too(peer_class: Any, packet: str) -> None:
    """A number of attachments where there can be none, what JSON has no word for, digits of another script."""
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(packet)
        await peer.send('429["still there?"]')
        async with asyncio.timeout(AT_ONCE):
            assert await until_closed(peer) == []


BINARY = [
    [bytes((1, 2, 3))],
    ['452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', bytes((1, 2, 3)), bytes((4, 5, 6))],
    ['452-789["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', bytes((1, 2, 3)), bytes((4, 5, 6))],
    ['461-15[{"_placeholder":true,"num":0}]', bytes((1, 2, 3))],
    ['459999999999-["x"]'],
]


@pytest.mark.parametrize("packets", BINARY)
@pytest.mark.gen_test
async def test_binary_attachments_are_refused_over_a_websocket(packets: list[str | bytes]) -> None:
    async with serving() as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        for packet in packets:
            with contextlib.suppress(aiohttp.ClientError):
                await peer.send(packet)
        assert await until_closed(peer) == []


@pytest.mark.parametrize("packets", BINARY)
@pytest.mark.gen_test
async def test_binary_attachments_are_refused_over_long_polling(packets: list[str | bytes]) -> None:
    async with serving() as server, http_session() as session:
        peer = await PollingPeer.open(session, server.url)
        await connected(peer, token("42"))
        encoded = [packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode() for packet in packets]
        await peer.send("\x1e".join(encoded))
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
        (alive,) = server.container.socketio()._engine.sessions.values()
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
