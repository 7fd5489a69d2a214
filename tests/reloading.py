"""A server whose settings are read from a file, and again whenever a test wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from adapters.api.reload import Reloaded
from entrypoints.reloading import Reloading
from entrypoints.server import Server, open_server
from entrypoints.settings_reading import read_settings
from tests.serving import API_KEY, SECRET

ADMIN_KEY = "a key of the tests that may do everything, 45"
BASE = f"""
port = 0
store = "memory://"

[auth]
secret = "{SECRET}"

[api]
keys = [{{ name = "backend", key = "{API_KEY}", scopes = ["publish", "connections:read"] }},
        {{ name = "operator", key = "{ADMIN_KEY}", scopes = ["admin"] }}]

[internal]
port = 0
"""


@dataclass
class Reloadable:
    """``file`` is what the settings are read from."""

    server: Server
    reloading: Reloading
    file: Path

    async def change(self, *changes: tuple[str, str], text: str | None = None) -> Reloaded:
        """Write the file anew, with each of these in the place of what is there, and have it read.

        Raises InvalidSettings.
        """
        content = text if text is not None else self.file.read_text()
        for before, after in changes:
            assert before in content, before
            content = content.replace(before, after)
        self.file.write_text(content)
        return await self.reloading.reload("test")

    async def ask(self, key: str | None = ADMIN_KEY, *, query: str = "") -> tuple[int, Mapping[str, object]]:
        """``POST /admin/reload``: the status and the answer."""
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.server.internal_url}/admin/reload{query}") as answer,
        ):
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def reloadable(
    folder: Path, text: str = BASE, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Reloadable]:
    file = folder / "synkrone.toml"
    file.write_text(text)
    environ = environ or {}
    settings, sources = read_settings(environ, file)
    server = open_server(settings)
    reloading = Reloading(server, sources, environ=environ)
    async with server.running():
        yield Reloadable(server, reloading, file)
