"""The inbox store that pages load, over both of its transports, against a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.inbox_stores import Refused, Snapshot, Store, Stores, last_part
from tests.e2e.line import Cut, line_to
from tests.processes import ONE_SECRET, ServerProcess, port_to_keep, token

pytestmark = pytest.mark.check

BOTH = pytest.mark.parametrize("over", ["stream", "socket"])
SOCKET_IN_CHECK = pytest.mark.parametrize("over", ["stream", pytest.param("socket", marks=pytest.mark.check)])
STRICT = ONE_SECRET | {"SYNKRONE_AUTH__LEEWAY": "0s"}

_numbers = count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that nobody ends; every test has users of its own."""
    server = ServerProcess(tmp_path_factory.mktemp("shared"), STRICT)
    try:
        server.wait_until_ready()
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.log
    finally:
        server.kill()
        print(server.log)


@pytest.fixture
def user() -> str:
    return f"user-{next(_numbers)}"


def of(user: str, *names: str) -> list[str]:
    """The ids of a user's notifications."""
    return [f"{user}.{name}" for name in names]


async def opened(stores: Stores, over: str, name: str, url: str, *tokens: str, **options: Any) -> Store:
    return await getattr(stores, over)(name, url, *tokens, **options)  # type: ignore[no-any-return]


async def agrees(store: Store, server: ServerProcess, own: str) -> None:
    """Wait until it shows what the server lists, and counts what the server counts."""
    listed = await server.inbox(own, "?limit=100")
    wanted = (listed["items"], listed["counts"])
    try:
        await store.until(lambda shown: (shown["items"], shown["counts"]) == wanted)
    except AssertionError as error:
        raise AssertionError(f"the server lists {wanted}; {error}") from None


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_it_lists_and_then_hears(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    own = token(user)
    for identifier in "abcde":
        await shared.publish(
            {"user": user}, id=f"{user}.{identifier}", title=identifier.upper(), data={"of": [identifier]}
        )
    async with Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", shared.url, own, pageSize=2)
        shown = await page.live()
        assert page.names == ["e", "d"]
        assert shown["hasMore"]
        assert shown["user"] == {"id": user, "role": "freelance"}
        assert shown["counts"] == {"unread": 5, "unseen": 5, "total": 5}
        await shared.publish({"user": user}, id=f"{user}.f")
        await page.shows("fed")
        await page.does("loadMore")
        await page.does("loadMore")
        assert (page.names, page.now["hasMore"]) == (list("fedcba"), False)
        assert await page.does("read", of(user, "a", "f", "of-nobody")) == {"changed": 2}
        assert await page.does("archive", of(user, "b")) == {"changed": 1}
        assert await page.does("delete", of(user, "c")) == {"changed": 1}
        await page.shows("feda")
        await agrees(page, shared, own)
        # What the user did was to be seen before the server had said so, and is as the server has it in the end.
        first = next(shown for shown in page.shown if any(item["read_at"] for item in shown["items"]))
        assert [last_part(item["id"]) for item in first["items"]] == list("fedcba")
        assert first["counts"]["unread"] == 6
        await page.does("unarchive", of(user, "b"))
        await page.shows("fedba")
        assert await page.does("readAll") == {"changed": 3}
        await agrees(page, shared, own)


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_what_is_put_off_leaves_every_device_and_is_new_again_when_it_is_due(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    own = token(user)
    for identifier in "abc":
        await shared.publish({"user": user}, id=f"{user}.{identifier}")
    async with Stores(tmp_path) as stores:
        pages = [await opened(stores, over, f"page-{number}", shared.url, own) for number in range(2)]
        for page in pages:
            await page.shows("cba")
        await pages[0].does("read", of(user, "a", "b"))
        soon = (datetime.now(UTC) + timedelta(seconds=6)).isoformat()
        assert await pages[0].does("snooze", of(user, "a", "of-nobody"), soon) == {"changed": 1}
        for page in pages:
            await page.shows("cb")
            await page.until(lambda shown: shown["counts"] == {"unread": 1, "unseen": 1, "total": 2})
        late = await opened(stores, over, "late", shared.url, own)
        await late.shows("cb")
        for page in [*pages, late]:
            await page.shows("acb")
            await page.until(lambda shown: shown["items"][0]["read_at"] is None)
            await agrees(page, shared, own)
        # What is due already is not put off.
        assert await pages[0].does("snooze", of(user, "c"), "2026-01-01T00:00:00Z") == {"changed": 0}
        await pages[0].shows("acb")


@SOCKET_IN_CHECK
@pytest.mark.gen_test(timeout=60)
async def test_what_is_published_while_it_lists_is_there_once(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    own = token(user)
    published: list[str] = []
    stopping = asyncio.Event()

    async def publish_on() -> None:
        while not stopping.is_set():
            published.append((await shared.publish({"user": user}))["id"])

    publishing = asyncio.create_task(publish_on())
    async with Stores(tmp_path) as stores:
        pages = [await opened(stores, over, f"page-{number}", shared.url, own, pageSize=100) for number in range(3)]
        for page in pages:
            await page.live()
        stopping.set()
        await publishing
        for page in pages:
            while page.now["hasMore"]:
                await page.does("loadMore")
            await page.shows(published[::-1])
            await page.until(lambda shown: shown["counts"]["total"] == len(published))


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_cut_and_killed_it_misses_nothing(serve: Serve, tmp_path: Path, node_modules: Path, over: str) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep())})
    own = token("42")
    await server.publish({"user": "42"}, id="first")
    async with line_to(server.port) as line, Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", line.url, own)
        await page.shows(["first"])
        await page.live()
        for number, how in enumerate(Cut):
            line.sever(how)
            await page.until(lambda shown: shown["status"] == "offline")
            reading = await page.begins("read", ["first"] if number == 0 else [str(number - 1)])
            await server.publish({"user": "42"}, id=str(number))
            line.mend()
            assert await reading == {"changed": 1}
            await page.live()
        await page.shows(["2", "1", "0", "first"])
        asked = page.asked
        server.kill()
        await page.until(lambda shown: shown["status"] == "offline")
        server.start_again()
        await server.ready()
        await server.publish({"user": "42"}, id="after")
        await page.shows(["after", "2", "1", "0", "first"])
        await agrees(page, server, own)
        if over == "stream":
            assert page.asked == asked == 1, "a token is asked for where the server wants another"
        # Nothing that was shown went away meanwhile.
        lengths = [len(shown["items"]) for shown in page.shown]
        assert lengths == sorted(lengths)


@SOCKET_IN_CHECK
@pytest.mark.gen_test(timeout=60)
async def test_where_its_cursor_is_refused_it_lists_again(
    serve: Serve, tmp_path: Path, node_modules: Path, over: str
) -> None:
    server = serve(ONE_SECRET | {"SYNKRONE_PORT": str(port_to_keep()), "SYNKRONE_STORE": "memory://"})
    own = token("42")
    async with Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", server.url, own)
        await page.live()
        await server.publish({"user": "42"}, id="lost")
        await page.shows(["lost"])
        server.kill()
        server.start_again()
        await server.ready()
        await server.publish({"user": "42"}, id="kept")
        await page.shows(["kept"])
        await server.publish({"user": "42"}, id="live")
        await page.shows(["live", "kept"])
        await agrees(page, server, own)


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_what_the_server_refuses_is_taken_back(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    own = token(user)
    await shared.publish({"user": user}, id=f"{user}.a")
    async with Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", shared.url, own)
        await page.live()
        # No id has more than 128 characters: the whole request is refused.
        with pytest.raises(Refused) as refused:
            await page.does("archive", [*of(user, "a"), "x" * 129])
        assert refused.value.problem["code"] == "invalid_argument"
        assert [[last_part(item["id"]) for item in shown["items"]] for shown in page.shown[-2:]] == [[], ["a"]]
        assert await page.does("read", of(user, "a")) == {"changed": 1}
        await agrees(page, shared, own)


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_what_one_does_shows_on_the_other(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    own = token(user)
    for identifier in "abcd":
        await shared.publish({"user": user}, id=f"{user}.{identifier}")
    await shared.inbox(own, "/archive", {"ids": of(user, "b")})
    async with Stores(tmp_path) as stores:
        phone = await opened(stores, over, "phone", shared.url, own)
        laptop = await opened(stores, "stream", "laptop", shared.url, own)
        for device in (phone, laptop):
            await device.live()
            await device.shows("dca")
        await phone.does("delete", of(user, "d"))
        await laptop.shows("ca")
        await laptop.does("archive", of(user, "c"))
        await phone.shows("a")
        # What only the server has comes back in its place, on both.
        await phone.does("unarchive", of(user, "b"))
        for device in (phone, laptop):
            await device.shows("ba")
        await phone.does("unarchive", of(user, "c"))
        for device in (phone, laptop):
            await device.shows("cba")
            await agrees(device, shared, own)


@pytest.mark.gen_test(timeout=60)
async def test_a_notification_that_expires_goes_by_itself(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path
) -> None:
    own = token(user)
    async with Stores(tmp_path) as stores:
        page = await stores.stream("page", shared.url, own)
        await page.live()
        soon = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
        await shared.publish({"user": user}, id=f"{user}.short", expires_at=soon)
        await page.shows(["short"])
        await page.shows([])
        await agrees(page, shared, own)


def shows_something_of(snapshot: Snapshot, user: str) -> bool:
    return any(item["title"] == user for item in snapshot["items"])


def assert_never_shown_to_another(page: Store, former: str, latter: str) -> None:
    """From the moment that the store was told of another user, nothing of the first was shown."""
    of_former = [shows_something_of(shown, former) for shown in page.shown]
    of_latter = [shown["user"] is not None and shown["user"]["id"] == latter for shown in page.shown]
    assert True in of_former
    assert True in of_latter
    assert not any(of_former[of_latter.index(True) :])
    assert not any(shows_something_of(s, former) and shows_something_of(s, latter) for s in page.shown)


@BOTH
@pytest.mark.parametrize("how", [pytest.param("expiring", marks=pytest.mark.check), "cut"])
@pytest.mark.gen_test(timeout=60)
async def test_another_user_begins_with_nothing_of_the_first(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str, how: str
) -> None:
    second = token("bob")
    for user in ("alice", "bob"):
        await shared.publish({"user": user}, id=user, title=user)
    async with line_to(shared.port) as line, Stores(tmp_path) as stores:
        ends = int(time.time()) + 6
        first = token("alice", exp=ends)
        page = await opened(stores, over, "page", line.url, first, second)
        await page.shows(["alice"])
        if how == "cut":
            line.sever(Cut.RESET)
            await asyncio.sleep(max(0.0, ends + 0.1 - time.time()))
            # What alice did is not done by bob.
            reading = await page.begins("read", of(user, "alice", "bob"))
            line.mend()
        await page.shows(["bob"])
        await page.live()
        if how == "cut":
            with pytest.raises(Refused) as refused:
                await reading
            assert refused.value.problem["code"] == "user_changed"
        assert page.now["user"] == {"id": "bob", "role": "freelance"}
        assert_never_shown_to_another(page, "alice", "bob")
        await agrees(page, shared, second)
        assert page.now["items"][0]["read_at"] is None


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_a_fresh_token_is_asked_for_before_the_old_one_expires(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    tokens = [token(user, ttl=ttl) for ttl in (8, 12, 600)]
    async with Stores(tmp_path) as stores:
        more = {"gives_token": True} if over == "socket" else {}
        page = await opened(stores, over, "page", shared.url, *tokens, **more)
        await page.live()
        await shared.publish({"user": user}, id=f"{user}.a")
        await page.shows(["a"])
        await page.has_asked(len(tokens))
        await asyncio.sleep(1)
        await shared.publish({"user": user}, id=f"{user}.b")
        await page.shows("ba")
        # Nobody saw any of it.
        live = [shown["status"] for shown in page.shown].index("live")
        assert {shown["status"] for shown in page.shown[live:]} == {"live"}
        assert page.asked == len(tokens)


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_a_token_that_is_not_taken_is_refused_with_the_problem(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    async with Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", shared.url, "rubbish", "other-rubbish", token(user))
        shown = await page.until(lambda shown: shown["status"] == "refused")
        assert shown["problem"]["code"] == "invalid_token"
        assert page.asked == 2
        # It stays away until its page says so.
        await asyncio.sleep(0.5)
        assert (page.asked, page.now["status"]) == (2, "refused")
        await page.does("stop")
        await page.does("start")
        await page.live()


@pytest.mark.gen_test(timeout=60)
async def test_a_token_that_cannot_be_had_is_asked_for_again(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path
) -> None:
    async with Stores(tmp_path) as stores:
        page = await stores.stream("page", shared.url, "fails", token(user, ttl=-60), "fails", token(user))
        await page.live()
        assert page.asked == 4
        assert {shown["status"] for shown in page.shown} == {"connecting", "offline", "live"}


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_who_is_sent_away_for_good_stays_away_and_who_is_not_comes_back(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    async with Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", shared.url, token(user))
        await page.live()
        await shared.connections(user, "DELETE", "?reconnect=true")
        await page.until(lambda shown: shown["status"] == "offline")
        await page.live()
        await shared.connections(user, "DELETE")
        shown = await page.until(lambda shown: shown["status"] == "refused")
        assert shown["problem"]["code"] == "disconnected_by_operator"


@pytest.mark.parametrize("is_connected_before", [True, False])
@pytest.mark.gen_test(timeout=60)
async def test_a_socket_on_which_another_signs_in_is_the_other_s(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, *, is_connected_before: bool
) -> None:
    other = f"other-{user}"
    for name in (user, other):
        await shared.publish({"user": name}, id=f"{name}.first", title=name)
    async with Stores(tmp_path) as stores:
        tokens = (token(user), token(other))
        page = await stores.socket("page", shared.url, *tokens, is_connected_before=is_connected_before)
        await page.live()
        assert [item["title"] for item in page.now["items"]] == [user]
        await page.on_socket("disconnect")
        assert (await page.until(lambda shown: shown["status"] == "offline"))["items"] == []
        await page.on_socket("connect")
        await page.live()
        assert page.now["user"] == {"id": other, "role": "freelance"}
        assert_never_shown_to_another(page, user, other)
        await shared.publish({"user": other}, id=f"{other}.second", title=other)
        await page.shows(["second", "first"])
        await agrees(page, shared, tokens[1])


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_whoever_stops_has_nothing_left_and_begins_anew(
    shared: ServerProcess, user: str, tmp_path: Path, node_modules: Path, over: str
) -> None:
    await shared.publish({"user": user}, id=f"{user}.a")
    async with Stores(tmp_path) as stores:
        page = await opened(stores, over, "page", shared.url, token(user))
        await page.live()
        await page.does("stop")
        shown = await page.until(lambda shown: shown["status"] == "offline")
        assert shown == {
            "items": [],
            "counts": None,
            "status": "offline",
            "problem": None,
            "hasMore": False,
            "user": None,
        }
        with pytest.raises(Refused) as refused:
            await page.does("read", of(user, "a"))
        assert refused.value.problem["code"] == "stopped"
        await page.does("start")
        await page.shows(["a"])
        await agrees(page, shared, token(user))
