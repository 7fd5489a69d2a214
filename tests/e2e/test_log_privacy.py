"""At the most talkative level the log holds no token, no key and nothing of a payload, whatever clients do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import aiohttp
import pytest

from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.processes import API_KEY, ONE_SECRET, SECRET, ServerProcess, token

PRIVATE = "pRiVaTe"
"""Part of everything that must not be seen, and of nothing else."""

TALKATIVE = ONE_SECRET | {"SYNKRONE_LOG__LEVEL": "debug"}

GARBAGE_FRAMES = [
    f'42["connect",{{"token":"{PRIVATE}"}}]',
    f'42["{PRIVATE}"',
    f'42{{"{PRIVATE}":1}}',
    f'451-["{PRIVATE}",{{"_placeholder":true,"num":0}}]',
    f"40/{PRIVATE},{{}}",
    f"4{PRIVATE}",
    f"9{PRIVATE}",
    PRIVATE * 20_000,
]
GARBAGE_AUTH: list[object] = [[PRIVATE], PRIVATE, {"token": [PRIVATE]}, {"token": PRIVATE}, {"token": f"{PRIVATE}.a.b"}]


def secret_parts(*tokens: str) -> Iterator[str]:
    """What of a token says who it is and proves it: everything but its header."""
    for each in tokens:
        yield from each.split(".")[1:]


async def send_garbage(server: ServerProcess, good: str) -> None:
    """Every kind of bad frame and bad auth, over WebSocket and in a poll's payload, before and after CONNECT."""
    polling = f"{server.url}/socket.io/?EIO=4&transport=polling&token={PRIVATE}"
    websocket = f"{server.url}/socket.io/?EIO=4&transport=websocket"
    connects = [f"40{json.dumps(auth)}" for auth in GARBAGE_AUTH]
    first_frames = [None, f"40{json.dumps({'token': good})}"]
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def over_websocket(first: str | None, frame: str | bytes) -> None:
            async with session.ws_connect(websocket, timeout=aiohttp.ClientWSTimeout(ws_close=5)) as socket:
                await socket.receive_str()
                if first is not None:
                    await socket.send_str(first)
                    await socket.receive_str()
                await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
                async for _ in socket:
                    pass

        async def over_polling(frame: str) -> None:
            async with session.get(polling) as response:
                sid = json.loads((await response.text())[1:])["sid"]
            async with session.post(f"{polling}&sid={sid}", data=frame) as response:
                await response.read()

        for frame in GARBAGE_FRAMES:
            for first in first_frames:
                # The unknown namespace is answered, and the connection stays: nothing to wait for there.
                if not frame.startswith("40/"):
                    await over_websocket(first, frame)
        await over_websocket(None, PRIVATE.encode())
        for connect in connects:
            await over_websocket(None, connect)
        for frame in GARBAGE_FRAMES + connects:
            await over_polling(frame)


async def send_bad_requests(server: ServerProcess) -> None:
    body = {"to": {"user": "42"}, "type": "t", "title": PRIVATE}
    bodies: list[tuple[object, int]] = [
        (body | {PRIVATE: 1}, 422),
        (body | {"to": {"user": f"{PRIVATE}\n"}}, 422),
        (body | {"expires_at": PRIVATE}, 422),
        (body | {"body": PRIVATE * 10_000}, 413),
        (f'{{"title": "{PRIVATE}"', 400),
        (f'{{"title": "{PRIVATE}\ud800"}}'.encode("utf-8", "surrogatepass"), 400),
    ]
    async with aiohttp.ClientSession() as session:
        assert (await server.post(session, body, key=f"{PRIVATE}{API_KEY}"))[0] == 401
        for bad, status in bodies:
            async with session.post(
                f"{server.url}/v1/notifications",
                data=bad if isinstance(bad, str | bytes) else json.dumps(bad),
                headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
            ) as response:
                assert response.status == status, bad
        async with session.get(f"{server.url}/nowhere?token={PRIVATE}") as response:
            assert response.status == 404


@pytest.mark.gen_test(timeout=90)
async def test_nothing_private_is_logged(serve: Serve, clients: Clients) -> None:
    server = serve(TALKATIVE)
    good, wrong, expired = token("42"), token("42", secret=SECRET[::-1]), token("42", ttl=-60)
    client, polling, refused, late = await asyncio.gather(
        clients.js(server.url, {"token": good, "cursor": PRIVATE}),
        clients.js(server.url, {"token": good}, {"transports": ["polling"], "extraHeaders": {"X-Private": PRIVATE}}),
        clients.js(server.url, {"token": wrong}),
        clients.js(server.url, {"token": expired}),
    )
    for accepted in (client, polling):
        await accepted.ready()
    for unwanted in (refused, late):
        await unwanted.expect("connect_error")

    await server.publish({"user": "42"}, type=PRIVATE, title=PRIVATE, body=PRIVATE, data={PRIVATE: PRIVATE})
    for accepted in (client, polling):
        assert (await accepted.event("notification.new"))[0]["data"] == {PRIVATE: PRIVATE}
    await client.emit(PRIVATE, {PRIVATE: PRIVATE})
    assert (await client.expect("ack"))["answer"]["error"]["code"] == "unknown_event"
    await send_garbage(server, good)
    await send_bad_requests(server)
    server.terminate()
    assert await server.exit_code() == 0

    everything = server.log + server.output
    for secret in (PRIVATE, SECRET, API_KEY, *secret_parts(good, wrong, expired)):
        assert secret not in everything
    # It was logged what happened, and at the level at which nothing is left out.
    assert {record["user"] for record in server.records("connected")} == {"42"}
    assert {record["code"] for record in server.records("refused")} == {"invalid_token", "token_expired"}
    assert "protocol error" in server.log
    assert {record["status"] for record in server.records("request")} >= {200, 201, 400, 401, 404, 413, 422}
