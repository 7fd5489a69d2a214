"""python-socketio on Tornado as documented, doing what the server does: verify, join three rooms, welcome, deliver.

It also takes what backends post, emits it and answers, as the server does, but checks and stores nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
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

BLANK = dict.fromkeys(("title", "body", "data", "expires_at", "read_at", "seen_at", "archived_at"))


def timestamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


async def main(*, secret: str, api_key: str, ping_interval: float, **_unused: object) -> None:
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

    async def publish(to: dict[str, Any], **content: Any) -> dict[str, Any]:
        room, audience = ("everyone", "everyone") if to.get("everyone") else (f"user:{to['user']}", "user")
        identifier, cursor = str(uuid.uuid4()), f"{epoch}:{next(offsets)}"
        notification = {**BLANK, "id": identifier, **content, "created_at": timestamp(datetime.now(UTC))}
        await sio.emit("notification.new", ({**notification, "audience": audience}, cursor), room=room)
        return {"id": identifier, "cursor": cursor, "duplicate": False}

    class Publish(tornado.web.RequestHandler):
        def prepare(self) -> None:
            if self.request.headers.get("Authorization") != f"Bearer {api_key}":
                raise tornado.web.HTTPError(401)

        async def post(self) -> None:
            self.set_status(201)
            self.write(await publish(**json.loads(self.request.body)))

    class PublishBatch(Publish):
        async def post(self) -> None:
            results = [await publish(**item) for item in json.loads(self.request.body)]
            self.write({"accepted": len(results), "duplicates": 0, "results": results})

    routes = [
        (r"/socket.io/", socketio.get_tornado_handler(sio)),
        (r"/v1/notifications", Publish),
        (r"/v1/notifications/batch", PublishBatch),
    ]
    server = HTTPServer(tornado.web.Application(routes, log_function=lambda _handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    await Control().run(url=f"http://127.0.0.1:{sockets[0].getsockname()[1]}")


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
