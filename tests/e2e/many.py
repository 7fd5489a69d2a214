"""Many stock python-socketio clients in one process. It prints what happens to each, one JSON object a line.

argv: ``[{"name", "module", "url", "auth", "options"}]``; ``module`` is ``sync`` or ``async``, ``options`` those of
``connect``. The end of stdin ends them all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import socketio

SPEAKING = threading.Lock()
"""The synchronous client has a thread for each event."""


def say(name: str, what: str, **details: object) -> None:
    line = json.dumps({"name": name, "what": what, **details}) + "\n"
    with SPEAKING:
        sys.stdout.write(line)
        sys.stdout.flush()


def listen(name: str, client: Any) -> None:
    def hear(notification: Mapping[str, object], _cursor: str) -> None:
        say(name, "notification", id=notification["id"], over=client.transport())

    client.on("connect", lambda: say(name, "connect"))
    client.on("session.ready", lambda *_: say(name, "ready"))
    client.on("disconnect", lambda reason: say(name, "disconnect", reason=reason))
    client.on("connect_error", lambda error: say(name, "connect_error", message=str(error)))
    client.on("notification.new", hear)


async def run(configurations: Sequence[Mapping[str, Any]]) -> None:
    opening = []
    for one in configurations:
        is_sync = one["module"] == "sync"
        client = socketio.Client() if is_sync else socketio.AsyncClient()
        listen(one["name"], client)
        arguments = {"auth": one["auth"], **one["options"]}
        if is_sync:
            opening.append(asyncio.to_thread(client.connect, one["url"], **arguments))
        else:
            opening.append(client.connect(one["url"], **arguments))
    await asyncio.gather(*opening)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
