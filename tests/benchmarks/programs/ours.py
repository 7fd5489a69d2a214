"""This server, wired by its container, on the loop and with the settings of ``serve``."""

from __future__ import annotations

import json
import sys

from adapters.telemetry.logs import configure_logging
from adapters.telemetry.silent import SilentTelemetry
from entrypoints.container import Container
from entrypoints.event_loop import run
from entrypoints.garbage import Garbage
from entrypoints.server import open_server
from entrypoints.settings import validate_settings
from tests.benchmarks.programs.control import Control


async def main(
    *,
    secret: str,
    api_key: str,
    folder: str,
    ping_interval: float,
    durable: bool,
    database: str | None = None,
    unseen: bool = False,
) -> None:
    """With a database it is a node. ``unseen``: nothing is told of what it does, nor kept of what it delivered."""
    configure_logging("warning" if unseen else "info", "json")
    if unseen:
        Container.telemetry.override(SilentTelemetry())
    stored = f"sqlite:///{folder}/synkrone.db" if durable else "memory://"
    settings = {
        "port": 0,
        "auth": {"secret": secret},
        "api": {"key": api_key},
        "store": stored if database is None else database,
        "internal": {} if unseen else {"port": 0},
        "retention": {"deliveries": "0s"} if unseen else {},
        "limits": {"ping_interval": f"{ping_interval:.0f}s"},
    }
    async with open_server(validate_settings(settings)).running() as server:
        Garbage().start()
        await Control().run(url=server.url)


if __name__ == "__main__":
    run(main(**json.loads(sys.argv[1])))
