"""HTTP clients, and proxies, that send a poll again where a connection breaks: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import product

import pytest

from tests.e2e.followers import PythonFollower
from tests.e2e.line import Cut, Line, line_to
from tests.e2e.pollers import BROWSER, CONSTANT, JAVA, PYTHON, SWIFT, Break, Browser, Ending, Habits, all_at_once
from tests.e2e.proxy import Upstream
from tests.e2e.routes import Route, Shared, shared
from tests.processes import token

pytestmark = pytest.mark.check

SMALL = (Break.UNDELIVERED, Break.IN_A_LARGE_ANSWER)
"""What the kernel has no room for."""

EACH_KIND = pytest.mark.parametrize("habits", [BROWSER, PYTHON, JAVA, SWIFT, CONSTANT], ids=str)
"""Clients whose polls have a ``t`` of their own (three HTTP clients), none, and the same one."""


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared(tmp_path_factory.mktemp("sent-again")) as it:
        yield it


@EACH_KIND
@pytest.mark.gen_test(timeout=60)
async def test_a_poll_that_is_sent_again_gets_what_the_first_one_lost(it: Shared, habits: Habits) -> None:
    """The session lives on wherever a loss can be seen: in a reset, and in what TCP has not acknowledged."""
    await all_at_once(
        {
            f"{place.value}, {ending.value}": sends_a_poll_again(
                it,
                habits,
                Route.DIRECT,
                place,
                ending,
                most_returns=place not in SMALL
                and ending is not Ending.RESET
                and is_answered_into_the_void(place, ending),
            )
            for place, ending in product(Break, Ending)
        }
    )


@EACH_KIND
@pytest.mark.parametrize("route", [Route.KEPT_ALIVE, Route.DEFAULT], ids=str)
@pytest.mark.gen_test(timeout=60)
async def test_a_poll_that_is_sent_again_through_nginx_gets_what_the_first_one_lost(
    it: Shared, habits: Habits, route: Route
) -> None:
    """The connection breaks between the client and nginx, which has read the answer: the server sees nothing of it."""
    it.port(route)
    places = [place for place in Break if place is not Break.UNDELIVERED]
    await all_at_once(
        {
            f"{place.value}, {ending.value}": sends_a_poll_again(
                it, habits, route, place, ending, most_returns=is_answered_into_the_void(place, ending)
            )
            for place, ending in product(places, Ending)
        }
    )


def is_answered_into_the_void(place: Break, ending: Ending) -> bool:
    """Whether what comes before the poll is sent again is taken by a system that gives it to nobody: only the client's
    cursor can tell that."""
    return place is not Break.WAITING or ending is Ending.SILENT


async def sends_a_poll_again(
    it: Shared, habits: Habits, route: Route, place: Break, ending: Ending, *, most_returns: int
) -> None:
    """All that is published comes once and in order: in this session, or where it ended, to the client's cursor."""
    user, port = it.new("user"), it.port(route)
    async with (
        Browser(habits, port, token(user), is_small=place in SMALL) as browser,
        Browser(BROWSER, port, token(user)) as witness,
    ):
        published = await it.publish({"user": user})
        await browser.has(1)
        await witness.has(1)
        if place is Break.UNDELIVERED:
            await browser.fill()
        request = await browser.send_poll()
        if place is Break.IN_A_LARGE_ANSWER:
            published += await it.publish({"user": user}, 5, data={"x": "x" * 50_000})
        elif place is not Break.WAITING:
            published += await it.publish({"user": user})
        # Both are answered in the same moment.
        await witness.has(len(published))
        await browser.reads(place)
        assert browser.is_full == (place is Break.UNDELIVERED)
        browser.breaks(ending)
        published += await it.publish({"user": user})
        await browser.sends_again(request)
        published += await it.publish({"user": user})
        await assert_all_come_once(it, user, browser, published, most_returns)


async def assert_all_come_once(
    it: Shared, user: str, browser: Browser, published: list[str], most_returns: int
) -> None:
    """What was published and what still will be; the first poll has been sent already."""
    await browser.takes_answer()
    await browser.has(len(published))
    published += await it.publish({"user": user})
    await browser.has(len(published))
    assert browser.heard.entries == published, str(browser)
    assert browser.heard.connects == 1 + browser.returns, str(browser)
    assert browser.returns <= most_returns, str(browser)


@EACH_KIND
@pytest.mark.parametrize("is_answered", [False, True], ids=["waiting", "answer_swallowed"])
@pytest.mark.gen_test(timeout=60)
async def test_a_poll_that_nginx_sends_again_gets_what_the_first_one_lost(
    it: Shared, habits: Habits, *, is_answered: bool
) -> None:
    """A connection that nginx keeps to the server breaks: it sends the request again over another one."""

    async def loses_its_upstream(how: Cut) -> None:
        async with line_to(it.server.port) as line:
            proxy = it.proxy_to(line.url, Upstream.KEPT_ALIVE)
            await asyncio.to_thread(proxy.wait_until_ready)
            await loses_a_line(it, habits, proxy.port, line, how, is_answered=is_answered)

    await all_at_once({how.value: loses_its_upstream(how) for how in Cut})


@EACH_KIND
@pytest.mark.gen_test(timeout=60)
async def test_a_poll_that_is_sent_again_through_a_balancer_gets_what_that_swallowed(
    it: Shared, habits: Habits
) -> None:
    """TCP has acknowledged the answer, and the client has nothing of it."""

    async def loses_its_balancer(how: Cut) -> None:
        async with line_to(it.server.port) as line:
            await loses_a_line(it, habits, line.port, line, how, is_answered=True, is_client_to_resend=True)

    await all_at_once({how.value: loses_its_balancer(how) for how in Cut})


async def loses_a_line(
    it: Shared,
    habits: Habits,
    port: int,
    line: Line,
    how: Cut,
    *,
    is_answered: bool,
    is_client_to_resend: bool = False,
) -> None:
    user = it.new("user")
    published = await it.publish({"user": user})
    async with Browser(habits, port, token(user)) as browser:
        await browser.has(1)
        for _ in range(2):
            # By now it has shown that it answers pings.
            published += await it.publish({"user": user})
            await browser.has(len(published))
        line.carried.clear()
        request = await browser.send_poll()
        await line.carried.wait()
        if is_answered:
            line.swallow()
            published += await it.publish({"user": user})
            await line.swallowed.wait()
        assert line.cut(how)
        published += await it.publish({"user": user})
        if is_client_to_resend:
            await browser.sends_again(request)
        await assert_all_come_once(it, user, browser, published, most_returns=is_answered or how is Cut.LOST)


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.value)
@pytest.mark.gen_test(timeout=60)
async def test_the_stock_python_client_gets_what_its_line_swallowed(it: Shared, how: Cut) -> None:
    """Its HTTP client sends the poll again, and says nothing of it."""
    user = it.new("user")
    async with line_to(it.server.port) as line:
        follower = PythonFollower(line.url, token(user), ["polling"])
        try:
            await follower.start()
            published = await it.publish({"user": user})
            await follower.has(published[-1])
            line.swallow()
            published += await it.publish({"user": user}, 3)
            await line.swallowed.wait()
            assert line.cut(how)
            for _ in range(3):
                published += await it.publish({"user": user})
                await follower.has(published[-1])
            assert [logged.id for logged in follower.diary.logged] == published
            assert follower.diary.welcomes == 1
        finally:
            await follower.stop()
