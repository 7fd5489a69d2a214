"""What must not let anybody in, seen at the wire: over WebSocket and over long-polling."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from tests.engine_io import (
    Closed,
    HandshakeRefused,
    Peer,
    PollingPeer,
    WebSocketPeer,
    connected,
    event,
    http_session,
    refused,
    until_closed,
)
from tests.serving import API_KEY, SECRET, eventually, publish, serving, token

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])

HOSTILE_AUTH = {
    "absent": "",
    "null": "null",
    "list": '["token"]',
    "string": '"token"',
    "true": "true",
    "empty object": "{}",
    "token null": '{"token":null}',
    "token number": '{"token":1}',
    "token list": '{"token":["a"]}',
    "token object": '{"token":{"token":"a"}}',
    "token empty": '{"token":""}',
    "token of spaces": '{"token":"   "}',
    "lone surrogate": '{"token":"\\ud800.\\udfff.\\ud800"}',
    "nul": '{"token":"\\u0000"}',
    "not a token": '{"token":"a.b.c"}',
    "a long token": json.dumps({"token": "a" * 9000}),
    "nested": '{"token":' + "[" * 500 + "]" * 500 + "}",
    "huge number": '{"token":' + "9" * 90 + "}",
}


@BOTH
@pytest.mark.parametrize("auth", HOSTILE_AUTH.values(), ids=HOSTILE_AUTH.keys())
@pytest.mark.gen_test
async def test_a_hostile_auth_is_refused_and_the_session_closed(peer_class: Any, auth: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        started = time.monotonic()
        problem = await refused(peer, auth)
        assert problem == {"code": "invalid_token", "title": "The token is not valid.", "retryable": False}
        status, _ = await publish(session, server.url, {"to": {"everyone": True}, "type": "t"})
        assert status == 201
        assert await until_closed(peer) == []
        # Long before it would be cut for not connecting.
        assert time.monotonic() - started < 5
        assert server.container.connections().open_connections == 0


@BOTH
@pytest.mark.parametrize(
    "packet",
    [
        "4",
        "401",
        "40" + "[" * 30_000,
        "40{",
        "40" + "9" * 5000,
        '42["notification.read"',
        "42",
        "42[]",
        "42{}",
        "42[1]",
        '42["connect",{}]',
        '42["disconnect"]',
        '42["connect_error"]',
        "43[]",
        "44{}",
        '451-["a",{"_placeholder":true,"num":0}]',
        "4520000000-[]",
        '461-1["a"]',
        "47",
        "4x",
        "x",
        "9",
        "",
        "0{}",
        "2",
        "\x1e",
        "4\ud800",
        "b" + "AAAA",
    ],
)
@pytest.mark.gen_test
async def test_a_malformed_or_forged_packet_ends_the_session(peer_class: Any, packet: str) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(packet)
        assert await until_closed(peer) == []
        await eventually(lambda: server.container.connections().open_connections == 0)


@pytest.mark.gen_test
async def test_a_binary_frame_ends_the_session() -> None:
    async with serving() as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send(b"\x00\x01")
        assert await until_closed(peer) == []


@BOTH
@pytest.mark.gen_test
async def test_what_is_too_large_ends_the_session(peer_class: Any) -> None:
    async with serving(limits={"message_bytes": 20_480}) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        too_large = '42["x","' + "y" * 40_960 + '"]'
        if peer_class is WebSocketPeer:
            await peer.send(too_large)
            assert await until_closed(peer) == []
        else:
            async with session.post(peer._url, data=too_large) as answer:
                assert answer.status in (400, 413)


@BOTH
@pytest.mark.gen_test
async def test_nothing_is_heard_before_connect(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send('421["inbox.list",{"ids":["1"]}]')
        await publish(session, server.url, {"to": {"everyone": True}, "type": "t"})
        assert await until_closed(peer) == []


@BOTH
@pytest.mark.gen_test
async def test_another_namespace_is_refused_and_opens_nothing(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await peer.send(f"40/admin,{json.dumps({'token': token('42')})}")
        packet = await peer.next()
        assert packet.startswith("44/admin,")
        assert json.loads(packet.partition(",")[2])["data"]["code"] == "unknown_namespace"
        assert server.container.connections().open_connections == 0
        await connected(peer, token("42"))


@BOTH
@pytest.mark.gen_test
async def test_an_unknown_event_is_answered_and_the_connection_stays(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send('427["no.such.event",{"a":1}]')
        packet = await peer.next()
        assert packet.startswith("437")
        (answer,) = json.loads(packet[3:])
        assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_event")
        await publish(session, server.url, {"to": {"user": "42"}, "type": "t"})
        assert event(await peer.next())[0] == "notification.new"


@BOTH
@pytest.mark.gen_test
async def test_a_second_connect_on_one_session_changes_nothing(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        await peer.send("40" + json.dumps({"token": token("43")}))
        assert (await peer.next()).startswith("44")
        await publish(session, server.url, {"to": {"user": "43"}, "type": "for.43"})
        await publish(session, server.url, {"to": {"user": "42"}, "type": "for.42"})
        assert event(await peer.next())[1][0]["type"] == "for.42"


@BOTH
@pytest.mark.gen_test
async def test_a_flood_of_events_ends_the_connection(peer_class: Any) -> None:
    async with (
        serving(limits={"events_per_second": 1, "events_burst": 5}) as server,
        http_session() as session,
    ):
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42"))
        for number in range(6):
            await peer.send(f'42{number}["nothing"]')
        packets = await until_closed(peer)
        name, (closing,) = event(packets[-1])
        assert (name, closing["code"], closing["reconnect"]) == ("session.closing", "rate_limited", True)


@BOTH
@pytest.mark.gen_test
async def test_who_never_connects_is_cut(peer_class: Any) -> None:
    async with serving(limits={"connect_timeout": "1s"}) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        started = time.monotonic()
        assert await until_closed(peer) == []
        assert 0.9 < time.monotonic() - started < 5


@pytest.mark.gen_test
async def test_tokens_of_every_bad_kind_are_refused_with_their_code() -> None:
    now = time.time()
    bad = {
        "wrong secret": token("42", secret="another secret that is just as long as that"),
        "no role": token("42", role=None),  # type: ignore[arg-type]  # as a client would
        "role not allowed": token("42", "admin"),
        "not yet valid": token("42", nbf=now + 600),
        "no expiry": token("42", exp=None),
        "another audience": token("42", aud="another"),
    }
    auth = {"secret": SECRET, "roles": ["freelance"], "audience": "us"}
    async with serving(auth=auth) as server, http_session() as session:
        for kind, bad_token in bad.items():
            peer = await WebSocketPeer.open(session, server.url)
            code = (await refused(peer, json.dumps({"token": bad_token})))["code"]
            assert (kind, code) == (kind, "invalid_token")
        peer = await WebSocketPeer.open(session, server.url)
        problem = await refused(peer, json.dumps({"token": token("42", ttl=-60, aud="us")}))
        assert (problem["code"], problem["retryable"]) == ("token_expired", True)
        await connected(await WebSocketPeer.open(session, server.url), token("42", aud="us"))


def _issuer(name: str, roles: list[str], prefix: str) -> dict[str, Any]:
    secret = f"the secret of {name}".ljust(40, "!")
    return {"issuer": name, "secret": secret, "roles": roles, "user_prefix": prefix}


ISSUERS = [_issuer("people", ["freelance", "company"], "p-"), _issuer("staff", ["admin"], "s-")]


@pytest.mark.parametrize("key_of", ISSUERS, ids=lambda issuer: f"key of {issuer['issuer']}")
@pytest.mark.parametrize("named", ISSUERS, ids=lambda issuer: f"iss {issuer['issuer']}")
@pytest.mark.parametrize("role", ["freelance", "company", "admin", "root"])
@pytest.mark.gen_test
async def test_an_issuer_asserts_its_own_roles_with_its_own_key_only(key_of: Any, named: Any, role: str) -> None:
    minted = token("7", role, secret=key_of["secret"], iss=named["issuer"])
    async with serving(auth={"issuers": ISSUERS}) as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        if key_of is named and role in named["roles"]:
            ready, _ = await connected(peer, minted)
            assert ready["user"] == {"id": named["user_prefix"] + "7", "role": role}
        else:
            assert (await refused(peer, json.dumps({"token": minted})))["code"] == "invalid_token"


@pytest.mark.gen_test
async def test_the_same_subject_of_two_issuers_is_two_users() -> None:
    async with serving(auth={"issuers": ISSUERS}) as server, http_session() as session:
        peers: list[Peer] = []
        for issuer in ISSUERS:
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, token("7", issuer["roles"][0], secret=issuer["secret"], iss=issuer["issuer"]))
            peers.append(peer)
        for user in ("s-7", "p-7"):
            await publish(session, server.url, {"to": {"user": user}, "type": f"for.{user}"})
        assert [event(await peer.next())[1][0]["type"] for peer in peers] == ["for.p-7", "for.s-7"]


@pytest.mark.parametrize("credential", [None, "wrong", "", "a.b.c", token("42"), token("42", "admin"), API_KEY[:-1]])
@pytest.mark.gen_test
async def test_nobody_publishes_without_a_key(credential: str | None) -> None:
    async with serving() as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        body = {"to": {"user": "42"}, "type": "forged"}
        status, problem = await publish(session, server.url, body, key=credential)
        assert (status, problem["code"]) == (401, "unauthenticated")
        await publish(session, server.url, {"to": {"user": "42"}, "type": "genuine"})
        assert event(await peer.next())[1][0]["type"] == "genuine"


@pytest.mark.gen_test
async def test_who_guesses_keys_is_seen_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server, http_session() as session:
        for number in range(5):
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t"}, key=f"guess {number}")
    (line,) = [record for record in caplog.records if record.message == "caller refused"]
    assert (line.levelname, line.__dict__["code"], line.__dict__["address"]) == (
        "WARNING",
        "unauthenticated",
        "127.0.0.1",
    )
    assert "guess" not in caplog.text


@pytest.mark.gen_test
async def test_with_no_key_configured_the_backend_api_is_closed() -> None:
    async with serving(api={}) as server, http_session() as session:
        for key in (None, API_KEY, token("42")):
            status, problem = await publish(session, server.url, {"to": {"user": "42"}, "type": "t"}, key=key)
            assert (status, problem["code"]) == (403, "forbidden")


@BOTH
@pytest.mark.gen_test
async def test_a_foreign_origin_is_refused(peer_class: Any) -> None:
    allowed = "https://app.example"
    async with serving(cors_origins=[allowed]) as server, http_session() as session:
        for origin in ("https://evil.example", "null", allowed + ".evil.example", server.url + ".evil.example"):
            with pytest.raises(HandshakeRefused) as info:
                await peer_class.open(session, server.url, Origin=origin)
            assert info.value.status == 403
            assert "Access-Control-Allow-Origin" not in info.value.headers
        for origin in (allowed, server.url):
            await connected(await peer_class.open(session, server.url, Origin=origin), token("42"))


@BOTH
@pytest.mark.gen_test
async def test_forwarded_headers_of_a_stranger_are_not_believed(peer_class: Any) -> None:
    async with serving() as server, http_session() as session:
        origin = server.url.replace("http://", "https://")
        with pytest.raises(HandshakeRefused):
            await peer_class.open(session, server.url, **{"Origin": origin, "X-Forwarded-Proto": "https"})
    async with serving(trusted_proxies=["127.0.0.1"]) as server, http_session() as session:
        origin = server.url.replace("http://", "https://")
        headers = {"Origin": origin, "X-Forwarded-Proto": "https"}
        await connected(await peer_class.open(session, server.url, **headers), token("42"))


@BOTH
@pytest.mark.gen_test
async def test_a_token_that_expires_ends_its_connection_after_a_warning(peer_class: Any) -> None:
    auth = {"secret": SECRET, "leeway": "1s"}
    async with serving(auth=auth) as server, http_session() as session:
        peer = await peer_class.open(session, server.url)
        expires_at = int(time.time()) + 4
        await connected(peer, token("42", exp=expires_at))
        name, (expiring,) = event(await peer.next())
        assert (name, list(expiring)) == ("session.expiring", ["expires_at"])
        assert time.time() < expires_at
        packets = await until_closed(peer)
        assert expires_at + 1 <= time.time() <= expires_at + 1 + 5
        name, (closing,) = event(packets[-1])
        assert name == "session.closing"
        assert (closing["code"], closing["retryable"], closing["reconnect"]) == ("token_expired", True, True)


@BOTH
@pytest.mark.gen_test
async def test_a_jump_of_the_wall_clock_disconnects_nobody(peer_class: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serving(limits={"ping_interval": "1s", "ping_timeout": "2s"}) as server,
        http_session() as session,
    ):
        peer = await peer_class.open(session, server.url)
        await connected(peer, token("42", ttl=1800))
        real = time.time
        for jump in (3600, -3600):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            ticks = server.container.clock().monotonic() + 2.5
            number = 0
            while server.container.clock().monotonic() < ticks:
                number += 1
                await publish(session, server.url, {"to": {"user": "42"}, "type": f"t{number}"})
                assert event(await peer.next())[1][0]["type"] == f"t{number}"
                await asyncio.sleep(0.02)


@pytest.mark.gen_test
async def test_handshakes_that_are_none_get_400_and_no_socket() -> None:
    async with serving() as server, http_session() as session:
        for query in (
            "",
            "EIO=3&transport=polling",
            "EIO=4",
            "EIO=4&transport=webtransport",
            "EIO=4&transport=polling&sid=unknown",
            "EIO=4&transport=polling&j=0",
        ):
            async with session.get(f"{server.url}/socket.io/?{query}") as answer:
                assert answer.status == 400, query
        for query in ("EIO=3&transport=websocket", "EIO=4&transport=websocket&sid=unknown", "EIO=4&transport=polling"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as info:
                await session.ws_connect(f"{server.url}/socket.io/?{query}")
            assert info.value.status == 400


@pytest.mark.gen_test
async def test_a_refused_client_that_stays_is_cut_within_a_second() -> None:
    async with serving() as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await refused(peer, '{"token":"x"}')
        started = time.monotonic()
        with pytest.raises(Closed):
            await peer.next()
        # The second is over for the server: what this client hears of it may take a busy machine longer.
        assert time.monotonic() - started < 5
