"""What every NotificationSource must do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, Self

import pytest

from domain.model import Audience, Incoming, Publication
from domain.ports import NotificationSource
from tests.feed_server import eventually

GIVEN_WITHIN = 5.0
"""Seconds in which a source gives what it has, with slack for a busy machine."""


def publication(id_: str) -> Publication:
    return Publication(to=Audience.users(["ann"]), type="test", id=id_)


class Supply(Protocol):
    """The world behind a source, as far as the tests move it."""

    @property
    def source(self) -> NotificationSource:
        """The source under test."""

    async def provide(self, *ids: str) -> None:
        """Make the publications with these ids available, after all that were before."""

    async def settled(self) -> None:
        """Return when nobody reads from the source any more, as seen from behind it."""


class Reader:
    """A consumer that keeps what it is given, and ends its stream at the end of its block."""

    def __init__(self, supply: Supply, after: str | None = None) -> None:
        self._stream = supply.source.stream(after)
        self.items: list[Incoming] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()

    @property
    def ids(self) -> list[str | None]:
        return [item.publication.id if item.publication is not None else None for item in self.items]

    async def next_batch(self) -> Sequence[Incoming]:
        async with asyncio.timeout(GIVEN_WITHIN):
            batch = await anext(self._stream)
        self.items.extend(batch)
        return batch

    async def until(self, count: int) -> list[str | None]:
        while len(self.items) < count:
            assert await self.next_batch()
        return self.ids


@pytest.mark.gen_test
class NotificationSourceContract:
    """Subclass it, and give it a ``supply``."""

    @pytest.fixture
    def supply(self) -> Supply:
        raise NotImplementedError

    async def test_the_name_stays_the_same(self, supply: Supply) -> None:
        name = supply.source.name
        await supply.provide("a")
        async with Reader(supply) as reader:
            await reader.until(1)
        assert supply.source.name == name != ""

    async def test_items_come_in_order_as_they_become_available(self, supply: Supply) -> None:
        await supply.provide("a", "b")
        async with Reader(supply) as reader:
            await reader.until(2)
            waiting = asyncio.create_task(reader.until(5))
            await asyncio.sleep(0)
            await supply.provide("c")
            await supply.provide("d", "e")
            assert await waiting == ["a", "b", "c", "d", "e"]
            assert all(not item.errors for item in reader.items)

    async def test_many_items_come_in_bounded_batches(self, supply: Supply) -> None:
        ids = [f"n-{number}" for number in range(1000)]
        await supply.provide(*ids)
        async with Reader(supply) as reader:
            sizes = []
            while len(reader.items) < len(ids):
                sizes.append(len(await reader.next_batch()))
            assert reader.ids == ids
            assert 1 < max(sizes) <= 100

    async def test_a_stream_continues_after_a_resume_id(self, supply: Supply) -> None:
        await supply.provide("a", "b", "c")
        async with Reader(supply) as first:
            await first.until(3)
            assert len({item.resume_id for item in first.items}) == 3
        async with Reader(supply, after=first.items[1].resume_id) as again:
            assert await again.until(1) == ["c"]

    async def test_what_was_not_acknowledged_is_given_again(self, supply: Supply) -> None:
        await supply.provide("a", "b")
        async with Reader(supply) as reader:
            await reader.until(2)
            stored = reader.items[-1].resume_id
            waiting = asyncio.create_task(reader.next_batch())
            await asyncio.sleep(0)
            await supply.provide("c", "d")
            assert (await waiting)[0].publication == publication("c")
        async with Reader(supply, after=stored) as again:
            assert await again.until(2) == ["c", "d"]

    async def test_what_was_acknowledged_is_not_given_again(self, supply: Supply) -> None:
        await supply.provide("a", "b")
        async with Reader(supply) as reader:
            await reader.until(2)
        async with Reader(supply, after=reader.items[-1].resume_id) as again:
            waiting = asyncio.create_task(again.until(1))
            await asyncio.sleep(0)
            await supply.provide("c")
            assert await waiting == ["c"]

    async def test_the_resume_id_of_another_source_gives_all_there_is(self, supply: Supply) -> None:
        await supply.provide("a", "b")
        async with Reader(supply, after="unheard-of:1") as reader:
            assert await reader.until(2) == ["a", "b"]

    async def test_cancelling_leaves_nothing_behind(self, supply: Supply) -> None:
        before = asyncio.all_tasks()
        await supply.provide("a")
        async with Reader(supply) as reader:
            await reader.until(1)
            waiting = asyncio.create_task(reader.until(2))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await supply.settled()
            await eventually(lambda: asyncio.all_tasks() == before)
        await supply.provide("b")
        async with Reader(supply, after=reader.items[0].resume_id) as again:
            assert await again.until(1) == ["b"]
