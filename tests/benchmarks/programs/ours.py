"""This server, wired by its container, on its default store.

What it is told to send is handed to its Transport port; what is posted to it takes its usual way.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import cache
from itertools import count
from typing import Any

import msgspec

from adapters.telemetry.logs import configure_logging
from domain.model import Entry, Json, Position, Room
from entrypoints.event_loop import settle_memory
from entrypoints.server import open_server
from entrypoints.settings import validate_settings
from tests.benchmarks.programs.control import Control


@cache
def one_room(name: str) -> frozenset[Room]:
    return frozenset((Room(name),))


async def main(secret: str, api_key: str, folder: str, ping_interval: float, notification: dict[str, Any]) -> None:
    settings = {
        "port": 0,
        "auth": {"secret": secret},
        "api": {"key": api_key},
        "store": f"sqlite:///{folder}/synkrone.db",
        "limits": {"ping_interval": f"{ping_interval:.0f}s"},
    }
    async with open_server(validate_settings(settings)).running() as server:
        settle_memory()
        hub = server.container.application().hub
        head = await server.container.store().head()
        offsets = count(head.offset + 1)

        async def emit(room: str, content: dict[str, Any]) -> None:
            rooms = one_room(room)
            position = Position(head.epoch, next(offsets))
            entry = Entry(position, rooms, "notification.new", Json(msgspec.json.encode(content)))
            hub._deliver(entry, is_current=True)

        await Control(emit, notification).run(server.url)


if __name__ == "__main__":
    configure_logging("warning", "json")
    asyncio.run(main(**json.loads(sys.argv[1])))
