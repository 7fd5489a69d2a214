"""The whole server, wired by the container, on a port of its own in the test's loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.jwk import OctKey

from entrypoints.server import Server, open_server
from entrypoints.settings import validate_settings
from tests.folders import folder_in_memory

SECRET = "a secret of the tests, long enough for HS256"
API_KEY = "a key of the tests, of at least 32 characters"


@asynccontextmanager
async def serving(**values: Any) -> AsyncIterator[Server]:
    """``values`` are settings, as in the TOML file; the store is a file of its own where they name none."""
    with folder_in_memory() as folder:
        store = f"sqlite:///{Path(folder) / 'synkrone.db'}"
        defaults = {"port": 0, "auth": {"secret": SECRET}, "api": {"key": API_KEY}, "store": store}
        async with open_server(validate_settings(defaults | values)).running() as server:
            yield server


def open_sockets(server: Server) -> int:
    """Those that transports have taken from HTTP and that are still open."""
    return sum(transport.open_sockets for transport in server.container.transports())


def token(user: str, role: str = "freelance", *, ttl: float = 600, secret: str = SECRET, **claims: object) -> str:
    now = int(time.time())
    content = {"sub": user, "role": role, "iat": now, "exp": now + ttl, **claims}
    return jwt.encode(
        {"alg": "HS256"},
        {name: value for name, value in content.items() if value is not None},
        OctKey.import_key(secret),
    )


async def publish(
    session: aiohttp.ClientSession, url: str, body: object, *, key: str | None = API_KEY, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Post one publication; the status and the answer."""
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    async with session.post(f"{url}/v1/notifications", json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def eventually(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """Wait until the condition holds. Raises TimeoutError, so late that it says nothing of how busy the machine is."""
    async with asyncio.timeout(within):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)
