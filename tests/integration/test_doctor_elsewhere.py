"""What a doctor says of an address where something else answers, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket

from entrypoints.doctor import through
from entrypoints.doctor.asking import Asked

pytestmark = pytest.mark.gen_test


class Other(tornado.websocket.WebSocketHandler):
    """Another Socket.IO server, which refuses whoever comes with words alone."""

    async def get(self, *args: str, **kwargs: str) -> None:
        if self.get_query_argument("transport") == "websocket":
            await super().get(*args, **kwargs)
        else:
            self.set_header("Access-Control-Allow-Origin", self.request.headers["Origin"])
            await self.finish('0{"sid":"x"}')

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.write_message('0{"sid":"x"}')

    def on_message(self, message: str | bytes) -> None:
        assert message
        self.write_message('44{"message":"not you"}')


@contextmanager
def another() -> Iterator[str]:
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/socket.io/", Other)]))
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    server.stop()


def asked(url: str) -> Asked:
    return Asked(url=url, leeway=timedelta(seconds=30), is_trusted=lambda _: False, token="of-a-user")


async def test_another_socket_io_server_is_no_reason_to_break_off() -> None:
    with another() as url:
        findings = await through.look_through(asked(url))
    said = {one.check: one.said for one in findings.found if one.verdict == "fail"}
    assert said["websocket"] == "it breaks, or nothing comes (KeyError)"


async def test_of_a_server_that_does_not_answer_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through, "SECONDS", 0.3)
    calls: list[asyncio.Task[None]] = []

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    silent = await asyncio.start_server(
        lambda reader, writer: calls.append(asyncio.ensure_future(wait(reader, writer))), "127.0.0.1", 0
    )
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    findings = await through.look_through(asked(url))
    silent.close()
    async with asyncio.timeout(5):
        await asyncio.gather(*calls)
    (found,) = findings.found
    assert found.said.endswith("cannot be reached: no answer came in time")
