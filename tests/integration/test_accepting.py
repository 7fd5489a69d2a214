"""Of the tests' own servers: what is left open fails whichever test runs when it is collected."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.accepting import Acceptor
from tests.in_time import in_time


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.gen_test
async def test_who_was_accepted_is_closed_with_the_server(turns: int) -> None:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    acceptor = Acceptor(serve)
    with socket.create_connection(("127.0.0.1", acceptor.port)) as client:
        client.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
        await acceptor.close()
        try:
            answer = await in_time(asyncio.get_running_loop().sock_recv(client, 1), 5)
        except ConnectionResetError:
            answer = b""
        assert answer == b""
