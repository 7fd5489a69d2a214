"""Every NotificationSource keeps the contract; and what is particular to each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from adapters.source.http_feed import HttpFeed
from adapters.source.memory import MemorySource
from adapters.system.clock import SystemClock
from domain.errors import ShuttingDown
from domain.model import FieldError
from domain.ports import NotificationSource
from tests.contract.notification_source import NotificationSourceContract, Reader, Supply, publication
from tests.doubles import FixedRandomness
from tests.feed_server import FeedServer, event, eventually, notification


class MemorySupply:
    def __init__(self, max_pending: int = 10_000) -> None:
        self._source = MemorySource(max_pending=max_pending)

    @property
    def source(self) -> MemorySource:
        return self._source

    async def provide(self, *ids: str) -> None:
        for id_ in ids:
            await self._source.push(publication(id_))

    async def settled(self) -> None:
        pass


class FeedSupply:
    def __init__(self) -> None:
        self.server = FeedServer()
        self._source: HttpFeed | None = None

    @property
    def source(self) -> NotificationSource:
        if self._source is None:
            self._source = HttpFeed(
                url=self.server.url,
                clock=SystemClock(),
                randomness=FixedRandomness(),
                backoff_min=0.01,
                backoff_max=0.05,
            )
        return self._source

    async def provide(self, *ids: str) -> None:
        for id_ in ids:
            self.server.add(id_, notification(id_))

    async def settled(self) -> None:
        await eventually(lambda: self.server.open == 0)


class TestMemorySource(NotificationSourceContract):
    @pytest.fixture
    def supply(self) -> Supply:
        return MemorySupply()

    async def test_a_full_source_lets_pushers_wait_until_items_are_acknowledged(self) -> None:
        supply = MemorySupply(max_pending=2)
        await supply.provide("a", "b")
        push = asyncio.create_task(supply.provide("c"))
        async with Reader(supply) as reader:
            await reader.until(2)
            assert not push.done()
            assert await reader.until(3) == ["a", "b", "c"]
            await push

    async def test_the_resume_ids_of_another_process_mean_nothing(self) -> None:
        earlier, later = MemorySupply(), MemorySupply()
        await earlier.provide("a", "b", "c")
        await later.provide("a", "b", "c")
        async with Reader(earlier) as reader:
            await reader.until(3)
        async with Reader(later, after=reader.items[1].resume_id) as again:
            assert await again.until(3) == ["a", "b", "c"]

    async def test_a_closed_source_gives_what_it_has_and_ends(self) -> None:
        supply = MemorySupply(max_pending=1)
        await supply.provide("a")
        push = asyncio.create_task(supply.provide("b"))
        await asyncio.sleep(0)
        await supply.source.close()
        with pytest.raises(ShuttingDown):
            await push
        with pytest.raises(ShuttingDown):
            await supply.provide("c")
        async with Reader(supply) as reader:
            assert await reader.until(1) == ["a"]
            with pytest.raises(StopAsyncIteration):
                await reader.next_batch()

    async def test_closing_ends_a_waiting_stream(self) -> None:
        supply = MemorySupply()
        async with Reader(supply) as reader:
            waiting = asyncio.create_task(reader.next_batch())
            await asyncio.sleep(0)
            await supply.source.close()
            with pytest.raises(StopAsyncIteration):
                await waiting


class TestHttpFeed(NotificationSourceContract):
    @pytest.fixture
    def feed(self, io_loop: IOLoop) -> Iterator[FeedSupply]:
        supply = FeedSupply()
        io_loop.run_sync(supply.server.start)
        yield supply
        io_loop.run_sync(supply.server.stop)

    @pytest.fixture
    def supply(self, feed: FeedSupply) -> Supply:
        return feed

    async def test_invalid_items_are_marked_and_not_fatal(self, feed: FeedSupply) -> None:
        body = {"to": {"user": "ann"}, "type": "test"}
        bad_id = FieldError("id", "must be 1 to 128 of A-Z, a-z, 0-9, '.', '_', ':', '-'")
        cases: list[tuple[bytes, FieldError]] = [
            (event(None, body), FieldError("id", "the event has no id field of its own")),
            (event("", body), bad_id),
            (event("4 2", body), bad_id),
            (event("x" * 129, body), bad_id),
            (event("é", body), bad_id),
            (event("1", {**body, "id": "2"}), FieldError("id", "is not the id field of the event")),
            (event("1", {"type": "test"}), FieldError("to", "is required")),
            (event("1", {**body, "colour": "red"}), FieldError("colour", "is not known")),
            (
                b'id: 1\ndata: {"to":{"user":"ann"},"type":"test","\\u0074o":{"everyone":true}}\n\n',
                FieldError("to", "is given more than once"),
            ),
            (event("1", [body]), FieldError("body", "must be a JSON object")),
            (
                b"id: 1\ndata: " + b"x" * (1 << 20) + b"\n\n",
                FieldError("data", "the event has more than 1048576 bytes"),
            ),
        ]
        for raw, _ in cases:
            feed.server.add("-", raw)
        feed.server.add("-", b"id: 1\ndata: {not json}\n\n")
        feed.server.add("good", event("good", {**body, "id": "good"}))
        async with Reader(feed) as reader:
            assert await reader.until(len(cases) + 2) == [None] * (len(cases) + 1) + ["good"]
            assert [item.errors for item in reader.items[: len(cases)]] == [(error,) for _, error in cases]
            (not_json,) = reader.items[-2].errors
            assert not_json.path == "data"

    async def test_the_resume_id_of_an_invalid_item_leads_past_it(self, feed: FeedSupply) -> None:
        stream = [
            (event(None, {}), ""),
            (notification("a"), "a"),
            (event(None, {}), "a"),
            (event("1", {}), "1"),
            (event("4 2/#", {}), "4 2/#"),
            (event("", {}), "4 2/#"),
            (event("é", {}), "4 2/#"),
            (event("x" * 600, {}), "4 2/#"),
            (b"id: 5\n\n", None),
            (event(None, {}), "5"),
            (b"data: " + b"x" * (1 << 20) + b"\nid: 6\n\n", "6"),
        ]
        for raw, resume_id in stream:
            feed.server.add(resume_id or "-", raw)
        expected = [resume_id for _, resume_id in stream if resume_id is not None]
        async with Reader(feed) as reader:
            await reader.until(len(expected))
            assert [item.resume_id for item in reader.items] == expected
        await feed.settled()
        for number, resume_id in enumerate(("", "4 2/#", "6"), 2):
            async with Reader(feed, after=resume_id) as again:
                waiting = asyncio.create_task(again.next_batch())
                await feed.server.requested(number)
                waiting.cancel()
                await asyncio.wait((waiting,))
            await feed.settled()
        assert feed.server.last_ids == [None, None, "4 2/#", "6"]
