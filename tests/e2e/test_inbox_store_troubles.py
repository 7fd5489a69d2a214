"""What comes to an inbox store from a server that is broken, far away or asleep, or from what stands in front of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.inbox_stores import Refused, Store, Stores
from tests.e2e.scripted_inbox import DONE, READY, Says, Scripted, event, notification, scripted
from tests.processes import token

pytestmark = pytest.mark.check

HELLO = event("session.ready", READY, "e:1")
NEW = event("notification.new", notification("new"), "e:2")
GOOD = Says([HELLO, NEW], stays=True)
PATIENT = {"base": 86_400_000, "max": 86_400_000}
"""Milliseconds between attempts, at most: some part of a day, which is longer than any test."""
SPEED = 5
"""Of the pages' clocks, where something takes them long."""

GARBAGE = {
    "no JSON": [HELLO, event("notification.new", "{", "e:2")],
    "no notification": [HELLO, event("notification.new", [], "e:2")],
    "no id": [HELLO, event("notification.new", {"title": "x"}, "e:2")],
    "no ids": [HELLO, event("notification.updated", {"change": {}}, "e:2")],
    "no change": [HELLO, event("notification.updated", {"ids": ["a"], "change": None}, "e:2")],
    "other ids": [HELLO, event("notification.deleted", {"ids": [7]}, "e:2")],
    "no counts": [HELLO, event("inbox.counts", {"unread": "many"})],
    "no welcome": [NEW],
    "two welcomes": [HELLO, HELLO],
    "nobody": [event("session.ready", {"recovered": True}, "e:1")],
    "no line end": [HELLO, b"data: ", *[b"x" * 1_000_000] * 6],
    "no event end": [HELLO, *[b"data: " + b"x" * 1_000_000 + b"\n"] * 6],
}


@asynccontextmanager
async def each_of(
    tmp_path: Path, servers: Mapping[str, AbstractAsyncContextManager[Scripted]]
) -> AsyncIterator[dict[str, tuple[Scripted, Store]]]:
    """A store for each server, by its name, all at once."""
    async with AsyncExitStack() as stack:
        opened = {name: await stack.enter_async_context(server) for name, server in servers.items()}
        stores = await stack.enter_async_context(Stores(tmp_path))
        yield {name: (server, await stores.stream(name, server.url, "token")) for name, server in opened.items()}


@pytest.mark.gen_test(timeout=30)
async def test_garbage_is_never_shown_and_the_inbox_is_listed_anew(tmp_path: Path) -> None:
    servers = {name: scripted(Says(pieces, stays=True), GOOD) for name, pieces in GARBAGE.items()}
    async with each_of(tmp_path, servers) as pages:
        for name, (server, page) in pages.items():
            await page.shows(["new"])
            assert (server.listed, server.cursors) == (2, ["e:1", "e:1"]), name
            problems = [problem["code"] for shown in page.shown if (problem := shown["problem"])]
            assert problems == ["not_understood"], name
            assert {len(shown["items"]) for shown in page.shown} == {0, 1}, name


@pytest.mark.gen_test(timeout=30)
async def test_what_others_say_in_the_server_s_place_is_not_final(tmp_path: Path) -> None:
    answers = {
        "a page": Says([b"<html>"], media_type="text/html"),
        "502": Says([b"<html>"], status=502, media_type="text/html"),
        "404": Says([b"<html>"], status=404, media_type="text/html"),
        "403": Says([b"<html>"], status=403, media_type="text/html"),
        "half a problem": Says([b"{"], status=500, media_type="application/problem+json"),
        "nothing": Says([]),
        "half an event": Says([HELLO[:-1]]),
    }
    async with each_of(tmp_path, {name: scripted(answer, GOOD) for name, answer in answers.items()}) as pages:
        for name, (server, page) in pages.items():
            await page.shows(["new"])
            assert server.listed == 1, name
            assert "refused" not in {shown["status"] for shown in page.shown}, name


@pytest.mark.gen_test(timeout=30)
async def test_a_stream_is_read_as_the_standard_says(tmp_path: Path) -> None:
    """In whatever pieces, with whatever line ends, and with what is none of its business in between."""
    told = b"".join(
        [
            b"\xef\xbb\xbf: a comment\r\nretry: 5\r\n",
            HELLO.replace(b"\n", b"\r\n"),
            event("something.else", {"of": "later"}, "e:1").replace(b"\n", b"\r"),
            b"event: notification.new\ndata:{\ndata: ",
            '"id": "é\u2028🎉", "archived_at": null}\nid:e:2\nx\n\n'.encode(),
            b"data: no event\n\nevent: inbox.counts\n\n",
        ]
    )
    octets = [told[index : index + 1] for index in range(len(told))]
    async with scripted(Says(octets, stays=True)) as server, Stores(tmp_path) as stores:
        page = await stores.stream("page", server.url, "token")
        await page.shows(["é\u2028🎉"])
        assert len(server.asked_at) == 1


@pytest.mark.gen_test(timeout=30)
async def test_it_comes_back_when_it_was_told_to(tmp_path: Path) -> None:
    closing = {"code": "x", "title": "x", "reconnect": True, "retry_after_ms": 1000}
    answers = {
        "Retry-After": Says([b"{}"], status=503, headers=(("Retry-After", "1"),)),
        "session.closing": Says([HELLO, event("session.closing", closing)]),
    }
    async with each_of(tmp_path, {name: scripted(answer, GOOD) for name, answer in answers.items()}) as pages:
        for name, (server, page) in pages.items():
            await page.shows(["new"])
            first, second = server.asked_at
            assert 1.0 <= second - first < 2.5, name


@pytest.mark.gen_test(timeout=30)
async def test_a_server_that_is_down_is_asked_ever_more_seldom(tmp_path: Path) -> None:
    async with scripted(Says([], status=500)) as server, Stores(tmp_path) as stores:
        page = await stores.stream("page", server.url, "token", backoff={"base": 40, "max": 200})
        await asyncio.sleep(1)
        assert page.now["status"] == "offline"
        # With full jitter 100 ms on average from the third on; without any pause there would be hundreds.
        assert 3 < len(server.asked_at) < 30


@pytest.mark.gen_test(timeout=30)
async def test_what_was_not_answered_is_asked_for_again(tmp_path: Path) -> None:
    answers: list[tuple[int, object]] = [(200, None), (200, []), (200, {"ok": True}), (502, "<html>"), (503, {})]
    servers = {str(first): scripted(GOOD, acts=[first, (200, DONE)]) for first in answers}
    async with each_of(tmp_path, servers) as pages:
        for name, (server, page) in pages.items():
            await page.shows(["new"])
            assert await page.does("archive", ["new"]) == {"changed": 1}, name
            assert (server.acted, len(server.asked_at)) == (2, 1), name
            # It was gone at once, and not there again in between.
            numbers = [len(shown["items"]) for shown in page.shown]
            assert 1 not in numbers[numbers.index(0, numbers.index(1)) :], name


@pytest.mark.gen_test(timeout=30)
async def test_what_no_token_is_taken_for_is_refused(tmp_path: Path) -> None:
    """As where a proxy takes the credential away: the stream, for which it is taken, stays."""
    problem = {"code": "unauthenticated", "title": "x", "retryable": False}
    async with scripted(GOOD, acts=[(401, problem)]) as server, Stores(tmp_path) as stores:
        page = await stores.stream("page", server.url, *(token("42", jti=str(number)) for number in range(50)))
        await page.shows(["new"])
        with pytest.raises(Refused) as refused:
            await page.does("read", ["new"])
        assert refused.value.problem["code"] == "unauthenticated"
        await page.shows(["new"])
        assert page.now["items"][0]["read_at"] is None
        assert (server.acted, page.asked) == (2, 2)


@pytest.mark.parametrize("wakes", ["online", "visibilitychange"])
@pytest.mark.gen_test(timeout=30)
async def test_a_page_that_wakes_comes_back_at_once(tmp_path: Path, wakes: str) -> None:
    async with scripted(Says([HELLO]), GOOD) as server, Stores(tmp_path) as stores:
        page = await stores.stream("page", server.url, "token", backoff=PATIENT)
        await page.until(lambda shown: shown["status"] == "offline")
        await stores.happens(wakes)
        await page.shows(["new"])
        assert server.listed == 1


@pytest.mark.gen_test(timeout=30)
async def test_a_connection_of_another_network_is_left(tmp_path: Path) -> None:
    """What was open may hang for long: nobody says that it is gone."""
    async with scripted(Says([HELLO], stays=True), GOOD) as server, Stores(tmp_path) as stores:
        page = await stores.stream("page", server.url, "token", backoff=PATIENT)
        await page.live()
        await stores.happens("online")
        await page.shows(["new"])
        assert {shown["status"] for shown in page.shown} == {"connecting", "live"}


@pytest.mark.parametrize("stays", [True, False], ids=["connected", "waiting"])
@pytest.mark.gen_test(timeout=90)
async def test_a_machine_that_slept_comes_back_at_once(tmp_path: Path, *, stays: bool) -> None:
    async with scripted(Says([HELLO], stays=stays), GOOD) as server, Stores(tmp_path, speed=SPEED) as stores:
        page = await stores.stream("page", server.url, "token", backoff=PATIENT)
        await page.until(lambda shown: shown["status"] == ("live" if stays else "offline"))
        stores.send_signal(signal.SIGSTOP)
        await asyncio.sleep(30 / SPEED)
        stores.send_signal(signal.SIGCONT)
        await page.shows(["new"])
        # Where it had not noticed, the silence would have ended it.
        assert not stays or {shown["status"] for shown in page.shown} == {"connecting", "live"}


@pytest.mark.gen_test(timeout=90)
async def test_a_stream_that_has_fallen_silent_is_left(tmp_path: Path) -> None:
    async with scripted(Says([HELLO], stays=True), GOOD) as server, Stores(tmp_path, speed=SPEED) as stores:
        page = await stores.stream("page", server.url, "token")
        await page.live()
        await page.until(lambda shown: shown["items"], within=60)
        assert 40 <= (server.asked_at[1] - server.asked_at[0]) * SPEED < 50
        assert "offline" in {shown["status"] for shown in page.shown}
