"""What is begun for a client at once, and goes on in a task only where it waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from adapters.http.tasks import Tasks, begin

pytestmark = pytest.mark.gen_test


async def at_once(result: str) -> str:
    return result


async def test_what_does_not_wait_is_done_where_it_is_begun() -> None:
    assert begin(at_once("done")) == "done"


async def test_what_raises_before_it_waits_raises_where_it_is_begun() -> None:
    async def fails() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        begin(fails())


@pytest.mark.parametrize("in_a_task", [True, False])
async def test_what_waits_goes_on_where_its_rest_is_awaited(*, in_a_task: bool) -> None:
    first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    seen: list[str] = []

    async def waits_twice() -> str:
        seen.append("begun")
        seen.append(await first)
        await asyncio.sleep(0)
        return "done"

    rest = begin(waits_twice())
    assert seen == ["begun"]
    assert isinstance(rest, Coroutine)
    first.set_result("went on")
    assert await (asyncio.create_task(rest) if in_a_task else rest) == "done"
    assert seen == ["begun", "went on"]


async def test_an_error_of_what_it_waits_for_is_raised_in_it() -> None:
    awaited: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handles() -> str:
        try:
            await awaited
        except LookupError as error:
            return f"handled: {error}"
        return "not raised"

    rest = begin(handles())
    assert isinstance(rest, Coroutine)
    awaited.set_exception(LookupError("nothing there"))
    assert await rest == "handled: nothing there"


@pytest.mark.parametrize("has_gone_on", [True, False])
async def test_it_is_cancelled_in_the_middle_of_its_first_wait_and_cleans_up(*, has_gone_on: bool) -> None:
    cleaned_up = asyncio.Event()

    async def waits_for_ever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            # It may wait again on its way out.
            await asyncio.sleep(0)
            cleaned_up.set()
            raise

    rest = begin(waits_for_ever())
    assert isinstance(rest, Coroutine)
    task = asyncio.create_task(rest)
    if has_gone_on:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned_up.is_set()


@pytest.mark.parametrize("waits", [True, False])
async def test_a_defect_is_logged_whether_or_not_it_waited_before(
    caplog: pytest.LogCaptureFixture, *, waits: bool
) -> None:
    tasks = Tasks()

    async def fails() -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError("nothing there")

    tasks.begin(fails())
    await tasks.wait(1.0)
    # The task is told of, and forgotten, in the turn after its end.
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


async def test_what_was_begun_and_waits_is_among_those_that_are_waited_for_and_cancelled() -> None:
    tasks = Tasks()
    ended: list[str] = []

    def work(name: str, awaited: Coroutine[Any, Any, object]) -> Coroutine[Any, Any, None]:
        async def run() -> None:
            try:
                await awaited
            finally:
                ended.append(name)

        return run()

    tasks.begin(work("short", asyncio.sleep(0)))
    await tasks.wait(1.0)
    assert ended == ["short"]
    tasks.begin(work("long", asyncio.Event().wait()))
    await tasks.cancel()
    assert ended == ["short", "long"]
