"""Inbox stores of one user in several tabs of a browser, which share one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.inbox_stores import Store, Stores
from tests.e2e.line import Cut, line_to
from tests.processes import ONE_SECRET, ServerProcess, port_to_keep, token

pytestmark = pytest.mark.check


async def opened(stores: Stores, url: str, names: Sequence[str], *tokens: str, **options: object) -> list[Store]:
    tabs = [await stores.stream(name, url, *(tokens or (token("42"),)), **options) for name in names]
    for tab in tabs:
        await tab.live()
    return tabs


async def connections(server: ServerProcess, user: str = "42") -> int:
    return len((await server.connections(user))["connections"])


async def all_show(tabs: Sequence[Store], names: Sequence[str]) -> None:
    for tab in tabs:
        await tab.shows(names)


def statuses(tab: Store) -> list[str]:
    """In the order in which they were shown."""
    shown = [snapshot["status"] for snapshot in tab.shown]
    return [status for at, status in enumerate(shown) if at == 0 or status != shown[at - 1]]


@pytest.mark.gen_test(timeout=60)
async def test_all_tabs_of_a_user_share_one_stream(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET)
    await server.publish({"user": "42"}, id="first")
    async with Stores(tmp_path, is_secure=True) as stores:
        tabs = await opened(stores, server.url, "abcde")
        await all_show(tabs, ["first"])
        await server.publish({"user": "42"}, id="second")
        await all_show(tabs, ["second", "first"])
        assert await tabs[1].does("read", ["first"]) == {"changed": 1}
        for tab in tabs:
            await tab.until(lambda shown: [bool(item["read_at"]) for item in shown["items"]] == [False, True])
            await tab.until(lambda shown: shown["counts"]["unread"] == 1)
        assert await connections(server) == 1
        # Also of one that comes while nothing happens.
        (late,) = await opened(stores, server.url, ["late"])
        await late.shows(["second", "first"])
        assert late.now["counts"] == tabs[0].now["counts"]
        assert await connections(server) == 1


@pytest.mark.gen_test(timeout=60)
async def test_where_the_tab_with_the_stream_is_closed_another_goes_on_with_it(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET)
    async with Stores(tmp_path, is_secure=True) as stores:
        tabs = await opened(stores, server.url, "abcd")
        names: list[str] = []
        while len(tabs) > 1:
            leaving, *tabs = tabs
            closing = asyncio.create_task(leaving.does("stop"))
            for _ in range(3):
                name = str(len(names))
                await server.publish({"user": "42"}, id=name)
                names.insert(0, name)
            await closing
            await all_show(tabs, names)
            await server.has_connections("42", 1)
        # Nobody was told of any of it.
        assert statuses(tabs[0]) == ["connecting", "live"]


@pytest.mark.gen_test(timeout=60)
async def test_strangers_and_whoever_asks_for_it_have_a_stream_of_their_own(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET)
    await server.publish({"user": "42"}, id="of42")
    await server.publish({"user": "7"}, id="of7")
    async with Stores(tmp_path, is_secure=True) as stores:
        first, second, admin = [
            *await opened(stores, server.url, "ab"),
            *await opened(stores, server.url, ["admin"], token("42", role="admin")),
        ]
        (other,) = await opened(stores, server.url, ["other"], token("7"))
        (alone,) = await opened(stores, server.url, ["alone"], shareStream=False)
        await all_show([first, second, alone], ["of42"])
        await admin.live()
        await other.shows(["of7"])
        # One for two tabs, one for another role, and one for whoever shares none.
        assert await connections(server) == 3
        assert await connections(server, "7") == 1
        await server.publish({"role": "admin"}, id="admins")
        await admin.until(lambda shown: "admins" in [item["id"] for item in shown["items"]])
        await server.publish({"user": "42"}, id="last")
        await all_show([first, second, alone], ["last", "of42"])


@pytest.mark.gen_test(timeout=60)
async def test_pages_that_are_not_served_securely_have_one_each(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET)
    async with Stores(tmp_path) as stores:
        tabs = await opened(stores, server.url, "abc")
        await server.publish({"user": "42"}, id="first")
        await all_show(tabs, ["first"])
        assert await connections(server) == 3


@pytest.mark.gen_test(timeout=90)
async def test_cut_and_killed_all_tabs_miss_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})
    names: list[str] = []
    async with line_to(server.port) as line, Stores(tmp_path, is_secure=True) as stores:
        tabs = await opened(stores, line.url, "abc")
        for number, how in enumerate(Cut):
            line.sever(how)
            # All of them say so.
            for tab in tabs:
                await tab.until(lambda shown: shown["status"] == "offline")
            await server.publish({"user": "42"}, id=str(number))
            names.insert(0, str(number))
            line.mend()
            await all_show(tabs, names)
            for tab in tabs:
                await tab.live()
        server.kill()
        for tab in tabs:
            await tab.until(lambda shown: shown["status"] == "offline")
        server.start_again()
        await server.ready()
        await server.publish({"user": "42"}, id="after")
        await all_show(tabs, ["after", *names])
        assert await connections(server) == 1


@pytest.mark.gen_test(timeout=60)
async def test_who_is_sent_away_for_good_stays_away_in_all_tabs(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET)
    async with Stores(tmp_path, is_secure=True) as stores:
        tabs = await opened(stores, server.url, "abc")
        await server.connections("42", "DELETE")
        for tab in tabs:
            await tab.until(lambda shown: shown["status"] == "refused")
        assert await connections(server) == 0


@pytest.mark.gen_test(timeout=60)
async def test_a_tab_whose_token_is_not_taken_is_refused_and_the_others_go_on(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET)
    async with Stores(tmp_path, is_secure=True) as stores:
        bad = await stores.stream("bad", server.url, token("42", secret="x" * 32))
        tabs = await opened(stores, server.url, "ab")
        await bad.until(lambda shown: shown["status"] == "refused")
        late = await stores.stream("late", server.url, token("42", secret="x" * 32))
        await late.until(lambda shown: shown["status"] == "refused")
        await server.publish({"user": "42"}, id="first")
        await all_show(tabs, ["first"])
        assert late.now["items"] == bad.now["items"] == []
        assert await connections(server) == 1


@pytest.mark.gen_test(timeout=60)
async def test_each_tab_asks_for_a_fresh_token_of_its_own(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_AUTH__LEEWAY": "0s"})
    async with Stores(tmp_path, is_secure=True) as stores:
        short = [token("42", ttl=each) for each in (4, 6, 600)]
        tabs = await opened(stores, server.url, "abc", *short)
        for number in range(16):
            await server.publish({"user": "42"}, id=str(number))
            await asyncio.sleep(0.5)
        await all_show(tabs, [str(number) for number in reversed(range(16))])
        assert await tabs[2].does("read", ["3"]) == {"changed": 1}
        for tab in tabs:
            await tab.until(lambda shown: shown["counts"]["unread"] == 15)
            assert "refused" not in statuses(tab)
            assert tab.asked >= 3
        assert await connections(server) == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_tab_that_is_opened_after_a_restart_is_live(serve: Serve, tmp_path: Path) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})
    await server.publish({"user": "42"}, id="first")
    async with Stores(tmp_path, is_secure=True) as stores:
        old = await stores.stream("old", server.url, token("42"))
        await old.shows(["first"])
        await old.live()
        server.kill()
        await old.until(lambda shown: shown["status"] == "offline")
        server.start_again()
        await server.ready()
        await old.live()
        # The log goes on, with something for somebody else.
        await server.publish({"user": "7"}, id="of7")
        fresh = await stores.stream("fresh", server.url, token("42"))
        await fresh.live()
        await fresh.shows(["first"])
