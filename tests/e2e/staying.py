"""Clients that are to stay up through all that happens, and what they have to have in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp

from tests.e2e.followers import Follower, JsFollower
from tests.e2e.publishing import Backend


def check_all_came_once(follower: Follower, backend: Backend) -> None:
    """And in order, and nothing else; and where it was cut it was recovered each time, as it says itself.

    Of what another device of the user deleted while it was away it need only hear that it is no more.
    """
    diary, name = follower.diary, follower.name
    offsets = [logged.offset for logged in diary.logged]
    assert offsets == sorted(set(offsets)), f"{name}: something came twice, or out of order"
    got = {logged.id: logged.cursor for logged in diary.logged if logged.id is not None}
    missing = backend.acknowledged.keys() - got.keys()
    lost = missing - diary.deleted
    assert not lost, f"{name}: {len(lost)} were lost, {sorted(lost)[:5]} among them"
    wanted = {id_: cursor for id_, cursor in backend.acknowledged.items() if id_ not in missing}
    assert got == wanted, f"{name}: something came that was for others, or another place was acknowledged"
    assert sum(logged.id is not None for logged in diary.logged) == len(got), f"{name}: an id came twice"
    assert all(diary.recovered), f"{name}: {diary.recovered.count(False)} times it was not recovered"
    if isinstance(follower, JsFollower):
        assert all(follower.connects), f"socket.recovered was false {follower.connects.count(False)} times"


def check_all_got_the_same(followers: Sequence[Follower]) -> None:
    """At the same places, and also what users did to their notifications; but for what was deleted, which some may
    have been away for."""
    deleted = {id_ for follower in followers for id_ in follower.diary.deleted}
    got = [[logged for logged in follower.diary.logged if logged.id not in deleted] for follower in followers]
    assert all(logged == got[0] for logged in got)


def report_on(line: str, followers: Sequence[Follower]) -> None:
    """For the output of a campaign."""
    parts = [
        f"{f.name} got {len(f.diary.ids)} in {f.diary.welcomes} connections, {sum(f.diary.recovered)} recovered"
        for f in followers
    ]
    print(f"campaign {line}; {'; '.join(parts)}", flush=True)


@asynccontextmanager
async def following(followers: Sequence[Follower]) -> AsyncIterator[None]:
    try:
        for follower in followers:
            await follower.start()
        yield
    finally:
        for follower in followers:
            await follower.stop()


@asynccontextmanager
async def reading(url: Callable[[], str], backend: Backend, own: str) -> AsyncIterator[None]:
    """Another device of the user reads, archives and deletes meanwhile. What it has asked for is done at the end.

    ``url`` gives a server that serves.
    """
    enough = asyncio.Event()
    task = asyncio.create_task(read_now_and_then(url, backend, own, enough))
    try:
        yield
    finally:
        enough.set()
        await task


async def read_now_and_then(url: Callable[[], str], backend: Backend, own: str, enough: asyncio.Event) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {own}"}) as session:
        while not enough.is_set():
            await asyncio.sleep(0.1)
            ids = list(backend.acknowledged)[-5:]
            action = random.choice(("read", "unread", "seen", "archive", "unarchive", "delete", "read_all"))
            body = {} if action == "read_all" else {"ids": ids}
            if not ids:
                continue
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(
                    f"{url()}/v1/inbox/{action}", json=body, timeout=aiohttp.ClientTimeout(total=5)
                ) as answer:
                    assert answer.status in (200, 503), await answer.text()
