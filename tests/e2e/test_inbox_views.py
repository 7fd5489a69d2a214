"""Views of an inbox store: lists of what is unread, read, archived or of a type, each as the server would list it."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.inbox_stores import Refused, Store, Stores
from tests.e2e.line import Cut, line_to
from tests.processes import API_KEY, ServerProcess, token

pytestmark = pytest.mark.check

BOTH = pytest.mark.parametrize("over", ["stream", "socket"])
ACTIONS = ("read", "unread", "archive", "unarchive", "read", "archive")
PASSED = "2026-01-01T00:00:00Z"
LATER = [(datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (1, 2, 3)]
FILTERS = {
    "unread": {"state": "unread"},
    "read": {"state": "read"},
    "archived": {"state": "archived"},
    "snoozed": {"state": "snoozed"},
    "all": {"state": "all"},
    "jobs": {"type": "job"},
    "unread-jobs": {"state": "unread", "type": "job"},
}


async def published(server: ServerProcess, names: str, type_: str = "note") -> None:
    for name in names:
        await server.publish({"user": "42"}, id=name, type=type_, title=name)


async def opened(stores: Stores, over: str, url: str, **options: object) -> tuple[Store, dict[str, Store]]:
    store: Store = await getattr(stores, over)("page", url, token("42"), **options)
    return store, {name: await stores.view(name, store, **names) for name, names in FILTERS.items()}


async def agrees(view: Store, server: ServerProcess) -> None:
    """Wait until it shows, of what it has loaded, what the server lists."""
    query = "&".join(f"{name}={value}" for name, value in FILTERS[view.name.split()[0]].items())
    listed = (await server.inbox(token("42"), f"?limit=100&{query}"))["items"]
    try:
        await view.until(
            lambda shown: (
                shown["isListed"]
                and shown["items"] == listed[: len(shown["items"])]
                and shown["hasMore"] == (len(shown["items"]) < len(listed))
            )
        )
    except AssertionError as error:
        raise AssertionError(f"{error}; the server lists {listed}") from None


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_what_the_user_does_moves_from_one_view_to_another_at_once(
    serve: Serve, tmp_path: Path, node_modules: Path, over: str
) -> None:
    server = serve()
    await published(server, "abc")
    await published(server, "j", "job")
    async with Stores(tmp_path) as stores:
        store, views = await opened(stores, over, server.url)
        for name in ("unread", "all"):
            await views[name].shows("jcba")
        await views["unread-jobs"].shows("j")
        await views["archived"].until(lambda shown: shown["isListed"])
        assert views["archived"].ids == []
        await store.does("read", ["b"])
        await views["unread"].shows("jca")
        await views["read"].shows("b")
        await store.does("archive", ["b", "j"])
        await views["archived"].shows("jb")
        await views["unread"].shows("ca")
        await views["jobs"].shows("")
        await store.shows("ca")
        await views["all"].shows("jcba")
        await store.does("unarchive", ["j"])
        await views["unread-jobs"].shows("j")
        await published(server, "k", "job")
        await views["unread-jobs"].shows("kj")
        await views["unread"].shows("kjca")
        await server.inbox(token("42"), "/delete", {"ids": ["k", "b"]})
        await views["all"].shows("jca")
        for view in views.values():
            await agrees(view, server)


async def changed(server: ServerProcess, method: str, name: str, **members: object) -> None:
    """Have its publisher change it, or take it back."""
    url, headers = f"{server.url}/v1/notifications/{name}", {"Authorization": f"Bearer {API_KEY}"}
    async with aiohttp.request(method, url, headers=headers, json=members or None) as answer:
        assert answer.status == 200, await answer.text()


@BOTH
@pytest.mark.gen_test(timeout=90)
async def test_what_is_snoozed_is_a_list_of_its_own_on_every_device_and_can_be_brought_back(
    serve: Serve, tmp_path: Path, node_modules: Path, over: str
) -> None:
    server = serve()
    await published(server, "abcd")
    await server.publish({"user": "42"}, id="k", type="note", collapse_key="key")
    await server.publish({"user": "42"}, id="j", type="job")
    async with Stores(tmp_path, is_secure=True) as stores:
        store, views = await opened(stores, over, server.url)
        # Of the stream it is another tab, which shares that of the first.
        other: Store = await getattr(stores, over)("other", server.url, token("42"))
        device = await stores.stream("device", server.url, token("42"), device="another")
        of_others = [await stores.view(f"snoozed of {each.name}", each, state="snoozed") for each in (other, device)]
        snoozed = [views["snoozed"], *of_others]

        async def all_show(names: str) -> None:
            for view in snoozed:
                await view.until(lambda shown: shown["isListed"])
                await view.shows(names)
                await agrees(view, server)

        await all_show("")
        assert await store.does("snooze", list("acdkj"), LATER[0]) == {"changed": 5}
        await store.shows("b")
        await views["all"].shows("b")
        await all_show("jkdca")
        assert all(item["snoozed_until"] for item in views["snoozed"].now["items"])
        assert not any("snoozed_until" in item for item in store.now["items"])
        # Another time shows at once, and nothing else is done to it.
        asked = await device.begins("snooze", ["a"], LATER[1])
        await other.does("read", ["c"])
        await other.does("readAll")
        assert await asked == {"changed": 1}
        await all_show("jkdca")
        # Its publisher changes one, takes one back, and puts another in the place of one.
        await changed(server, "PATCH", "c", title="Changed")
        await changed(server, "DELETE", "d")
        await server.publish({"user": "42"}, id="l", type="note", collapse_key="key")
        await all_show("jca")
        await other.does("delete", ["j"])
        await all_show("ca")
        assert await other.does("unsnooze", ["c", "b", "of-nobody"]) == {"changed": 1}
        await all_show("a")
        for each in (store, other, device):
            await each.shows("clb")
        assert store.now["items"][0]["read_at"] is None
        # A time that has passed does the same; and when one is due, it comes by itself.
        assert await device.does("snooze", ["a"], PASSED) == {"changed": 1}
        await all_show("")
        await store.does("snooze", ["b", "l"], (datetime.now(UTC) + timedelta(seconds=3)).isoformat())
        await store.shows("ac")
        await all_show("lb")
        await all_show("")
        await store.until(lambda shown: {item["id"] for item in shown["items"]} == set("ablc"))
        for view in views.values():
            await agrees(view, server)


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_what_was_to_come_back_is_snoozed_still_where_the_server_refuses(
    serve: Serve, tmp_path: Path, node_modules: Path, over: str
) -> None:
    server = serve()
    await published(server, "a")
    async with Stores(tmp_path) as stores:
        store, views = await opened(stores, over, server.url)
        await store.does("snooze", ["a"], LATER[0])
        await views["snoozed"].shows("a")
        with pytest.raises(Refused) as refused:
            await store.does("unsnooze", ["a", "x" * 129])
        assert refused.value.problem["code"] == "invalid_argument"
        assert [[item["id"] for item in shown["items"]] for shown in views["snoozed"].shown[-2:]] == [[], ["a"]]


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_each_has_an_end_of_its_own_and_keeps_what_it_has_loaded(
    serve: Serve, tmp_path: Path, node_modules: Path, over: str
) -> None:
    server = serve()
    await published(server, "abcdef")
    async with Stores(tmp_path) as stores:
        store, views = await opened(stores, over, server.url, pageSize=2)
        await views["unread"].shows("fe")
        await views["unread"].does("loadMore")
        await views["unread"].shows("fedc")
        await store.shows("fe")
        await views["all"].shows("fe")
        await server.inbox(token("42"), "/read", {"ids": ["e", "a"]})
        await views["unread"].shows("fdc")
        await views["read"].shows("ea")
        await views["unread"].does("loadMore")
        await views["unread"].until(lambda shown: not shown["hasMore"])
        assert views["unread"].names == list("fdcb")
        await server.inbox(token("42"), "/unread", {"ids": ["a"]})
        await views["unread"].until(lambda shown: shown["hasMore"] or len(shown["items"]) == 5)
        await views["unread"].does("loadMore")
        await views["unread"].shows("fdcba")


@BOTH
@pytest.mark.gen_test(timeout=90)
async def test_it_agrees_with_the_server_whatever_is_done_while_it_lists_and_over_cuts(
    serve: Serve, tmp_path: Path, node_modules: Path, over: str
) -> None:
    server = serve()
    dice = random.Random(7)
    async with line_to(server.port) as line, Stores(tmp_path) as stores:
        await published(server, "abcdefgh")
        store, views = await opened(stores, over, line.url, pageSize=3)
        names = list("abcdefgh")
        begun: list[asyncio.Future[Any]] = []
        for number in range(40):
            action = dice.choice([*ACTIONS, "delete", "new", "more", "snooze", "snooze", "unsnooze"])
            ids = dice.sample(names, 2)
            if action == "new":
                names.append(f"n{number}")
                await server.publish(
                    {"user": "42"}, id=names[-1], type=dice.choice(["job", "note"]), title=f"the {number}th"
                )
            elif action == "more":
                begun.append(await dice.choice(list(views.values())).begins("loadMore"))
            elif dice.random() < 0.5 and action != "delete":
                begun.append(await store.begins(action, ids, *([dice.choice(LATER)] if action == "snooze" else [])))
            elif action.endswith("snooze"):
                until = dice.choice(LATER) if action == "snooze" else PASSED
                await server.inbox(token("42"), "/snooze", {"ids": ids, "until": until})
            else:
                await server.inbox(token("42"), f"/{action}", {"ids": ids})
            if number % 16 == 15:
                line.cut(dice.choice(list(Cut)))
            await asyncio.sleep(0.02 * dice.random())
        # What was begun is to be done, or the server changes while it is asked. A page may be refused over a cut.
        outcomes = await asyncio.gather(*begun, return_exceptions=True)
        assert all(not isinstance(each, BaseException) or isinstance(each, Refused) for each in outcomes), outcomes
        await store.live()
        for view in views.values():
            await agrees(view, server)


@pytest.mark.gen_test(timeout=60)
async def test_so_many_are_open_at_once_and_no_more(serve: Serve, tmp_path: Path, node_modules: Path) -> None:
    server = serve()
    async with Stores(tmp_path) as stores:
        store = await stores.stream("page", server.url, token("42"))
        views = [await stores.view(f"view-{number}", store) for number in range(8)]
        with pytest.raises(Refused, match="RangeError"):
            await store.does("view")
        await views[0].does("close")
        await store.does("view")
        for wrong in ({"state": "all_and_snoozed"}, {"state": "lost"}, {"state": "undefined"}, {"type": 3}):
            await views[1].does("close")
            with pytest.raises(Refused, match="TypeError"):
                await store.does("view", wrong)
