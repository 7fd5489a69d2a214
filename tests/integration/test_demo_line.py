"""The demo's lines: whole, they carry everything both ways; cut, they end what there was and let nothing through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from entrypoints.demo.line import MAX_CONNECTIONS, Line

MEGABYTE = b"0123456789abcdef" * 65_536


@asynccontextmanager
async def echoed() -> AsyncIterator[tuple[Line, asyncio.Server]]:
    """A line to a server that says everything again."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(65_536):
                writer.write(octets)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = Line(lambda: port if server.is_serving() else None)
    await line.open()
    try:
        yield line, server
    finally:
        await line.close()
        server.close()


async def call(line: Line) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(line.url)
    return await asyncio.open_connection(address.hostname, address.port)


async def assert_is_whole(line: Line) -> None:
    reader, writer = await call(line)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def assert_is_cut(line: Line) -> None:
    reader, writer = await call(line)
    writer.write(b"hello")
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(5)
    writer.close()


@pytest.mark.gen_test
async def test_everything_is_carried_both_ways_to_the_last_octet() -> None:
    async with echoed() as (line, _):
        reader, writer = await call(line)
        writer.write(MEGABYTE)
        assert await reader.readexactly(len(MEGABYTE)) == MEGABYTE
        writer.close()


@pytest.mark.gen_test
async def test_a_cut_resets_what_there_is_and_what_comes_until_it_is_mended() -> None:
    async with echoed() as (line, _):
        reader, writer = await call(line)
        writer.write(b"hello")
        await reader.readexactly(5)
        assert line.cut() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        await assert_is_cut(line)
        line.mend()
        await assert_is_whole(line)


@pytest.mark.gen_test
async def test_while_the_server_is_away_connections_are_reset() -> None:
    async with echoed() as (line, server):
        await assert_is_whole(line)
        server.close()
        await assert_is_cut(line)


@pytest.mark.gen_test
async def test_there_are_no_more_connections_than_it_has_room_for() -> None:
    async with echoed() as (line, _):
        calls = [await call(line) for _ in range(MAX_CONNECTIONS)]
        for reader, writer in calls:
            writer.write(b"x")
            await reader.readexactly(1)
        await assert_is_cut(line)
        for _, writer in calls:
            writer.close()
