"""python-socketio on Tornado as documented, doing what the server does: verify, join three rooms, welcome, deliver."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from itertools import count
from typing import Any

import socketio
import tornado.web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.benchmarks.programs.control import Control


def timestamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


async def main(secret: str, ping_interval: float, notification: dict[str, Any], **_unused: str) -> None:
    # Otherwise what a handler sends on connecting arrives before the connection is confirmed.
    sio = socketio.AsyncServer(async_mode="tornado", ping_interval=ping_interval, always_connect=True)
    key = OctKey.import_key(secret)
    registry = jwt.JWTClaimsRegistry(exp={"essential": True})
    epoch = f"{os.getpid():016x}"
    offsets = count(1)

    async def connect(sid: str, _environ: dict[str, Any], auth: dict[str, str]) -> None:
        try:
            claims = jwt.decode(auth["token"], key, algorithms=["HS256"]).claims
            registry.validate(claims)
        except JoseError as error:
            raise socketio.exceptions.ConnectionRefusedError(str(error)) from None
        user = {"id": claims["sub"], "role": claims["role"]}
        for room in (f"user:{user['id']}", f"role:{user['role']}", "everyone"):
            await sio.enter_room(sid, room)
        ready = {
            "user": user,
            "recovered": False,
            "reason": None,
            "counts": None,
            "expires_at": timestamp(datetime.fromtimestamp(claims["exp"], UTC)),
            "server_time": timestamp(datetime.now(UTC)),
        }
        await sio.emit("session.ready", (ready, f"{epoch}:0"), to=sid)

    sio.on("connect", connect)

    async def emit(room: str, content: dict[str, Any]) -> None:
        await sio.emit("notification.new", (content, f"{epoch}:{next(offsets)}"), room=room)

    server = HTTPServer(tornado.web.Application([(r"/socket.io/", socketio.get_tornado_handler(sio))]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    await Control(emit, notification).run(f"http://127.0.0.1:{sockets[0].getsockname()[1]}")


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
