"""One server that the tests of a module share, and the ways to it: straight, and through nginx."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from itertools import count
from pathlib import Path

import aiohttp

from tests.e2e.proxy import PROXY_ADDRESS, Proxy, Upstream, find_nginx
from tests.processes import API_KEY, ONE_SECRET, ServerProcess

BEHIND_PROXY = ONE_SECRET | {
    "SYNKRONE_TRUSTED_PROXIES": json.dumps([f"{PROXY_ADDRESS}/32"]),
    "SYNKRONE_STORE": "memory://",
}


class Route(Enum):
    """How a client gets to the server: straight, or through an nginx that speaks to it so."""

    DIRECT = None
    KEPT_ALIVE = Upstream.KEPT_ALIVE
    DEFAULT = Upstream.DEFAULT
    DOCUMENTED = Upstream.DOCUMENTED

    def __str__(self) -> str:
        return "direct" if self is Route.DIRECT else f"nginx_{self.name.lower()}"


class Shared:
    """A running server and what is in front of it; users and ids are new for whoever asks."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.server = server
        self._directory = directory
        self._proxies: dict[object, Proxy] = {}
        self._numbers = count()

    def new(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"

    def port(self, route: Route) -> int:
        return self.server.port if route is Route.DIRECT else self._proxy(route).port

    def url(self, route: Route) -> str:
        return f"http://127.0.0.1:{self.port(route)}"

    def proxy_to(self, upstream: str, how: Upstream) -> Proxy:
        """An nginx in front of something else than the server."""
        proxy = Proxy(find_nginx(), self._directory / self.new("nginx"), upstream, how=how)
        self._proxies[proxy] = proxy
        return proxy

    def _proxy(self, route: Route) -> Proxy:
        if route not in self._proxies:
            assert route.value is not None
            self._proxies[route] = Proxy(
                find_nginx(), self._directory / self.new("nginx"), self.server.url, how=route.value
            )
            self._proxies[route].wait_until_ready()
        return self._proxies[route]

    async def publish(self, to: dict[str, object], number: int = 1, **members: object) -> list[str]:
        """Publish so many in one request: their ids, in order."""
        ids = [self.new("n") for _ in range(number)]
        items: Sequence[object] = [{"to": to, "type": "load", "id": identifier, **members} for identifier in ids]
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session,
            session.post(f"{self.server.url}/v1/notifications/batch", json=items) as answer,
        ):
            assert answer.status == 200, await answer.text()
        return ids

    def close(self) -> None:
        for proxy in self._proxies.values():
            proxy.close()


@contextmanager
def shared(directory: Path) -> Iterator[Shared]:
    """The server has to end in good order."""
    server = ServerProcess(directory / "server", BEHIND_PROXY)
    it = Shared(server, directory)
    try:
        server.wait_until_ready()
        yield it
        it.close()
        assert server.stop() == 0
        assert "Traceback" not in server.log
    finally:
        it.close()
        server.kill()
