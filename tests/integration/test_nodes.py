"""Servers that share a PostgreSQL database: who is one, what operators see of them, and what a lost lease does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from adapters.cluster.contact import HttpContacts
from adapters.cluster.membership import Membership
from adapters.store.postgresql.connecting import Address
from adapters.store.postgresql.nodes import PostgresqlRegistry
from entrypoints.container import Container
from entrypoints.server import Server, open_server
from entrypoints.settings import validate_settings
from tests.database_line import DatabaseLine
from tests.engine_io import HandshakeRefused, WebSocketPeer, connected, event, http_session, until_closed
from tests.integration.test_commands import run
from tests.postgresql import PostgresqlServer, Servers, running_server
from tests.processes import ONE_SECRET
from tests.serving import API_KEY, SECRET, eventually, publish, token

ADMIN_KEY = "a key of operators, of at least 32 characters"
LEASE = timedelta(seconds=3)
LONG = timedelta(seconds=15)


@pytest.fixture
def postgresql_server(postgresql: Servers) -> PostgresqlServer:
    return postgresql.of(18)


@pytest.fixture
def database(postgresql_server: PostgresqlServer) -> Iterator[str]:
    name = postgresql_server.new_store()
    yield name
    postgresql_server.drop_databases([name])


@asynccontextmanager
async def node(url: str, *, lease: timedelta = LONG, **values: Any) -> AsyncIterator[Server]:
    api = {"key": API_KEY, "keys": [{"name": "operator", "key": ADMIN_KEY, "scopes": ["admin"]}]}
    settings = {"port": 0, "auth": {"secret": SECRET}, "api": api, "store": url, "internal": {"port": 0}}
    Container.registry.override(PostgresqlRegistry(Address(url), lease))
    try:
        server = open_server(validate_settings(settings | values))
    finally:
        Container.registry.reset_last_overriding()
    async with server.running():
        yield server


def membership(server: Server) -> Membership:
    found: Membership | None = server.container.membership()
    assert found is not None
    return found


async def listed(session: aiohttp.ClientSession, server: Server) -> list[dict[str, Any]]:
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with session.get(f"{server.internal_url}/admin/nodes", headers=key) as answer:
        assert answer.status == 200
        nodes: list[dict[str, Any]] = (await answer.json())["nodes"]
        return nodes


async def failures(session: aiohttp.ClientSession, server: Server) -> dict[str, str]:
    async with session.get(f"{server.internal_url}/health/ready") as answer:
        return dict((await answer.json(content_type=None)).get("failures", {}))


async def reason(peer: WebSocketPeer) -> dict[str, Any]:
    """What the client is told as its connection ends."""
    closings = [event(packet) for packet in await until_closed(peer) if packet.startswith("42")]
    name, (why,) = closings[-1]
    assert name == "session.closing"
    return dict(why)


async def let_in(session: aiohttp.ClientSession, server: Server) -> WebSocketPeer:
    """As a client that comes back where it is put off."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(HandshakeRefused):
                return await WebSocketPeer.open(session, server.url)
            await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=60)
async def test_nodes_are_listed_as_they_are(postgresql_server: PostgresqlServer, database: str) -> None:
    url = postgresql_server.url(database)
    async with node(url, lease=LEASE) as first, node(url, lease=LEASE) as second, http_session() as session:
        boots = [membership(server).boot for server in (first, second)]
        peer = await WebSocketPeer.open(session, second.url)
        await connected(peer, token("42"))
        for _ in range(3):
            await publish(session, first.url, {"to": {"user": "42"}, "type": "t"})

        async def all_known() -> bool:
            nodes = await listed(session, first)
            return [one["connections"] for one in nodes] == [0, 1] and [one["offset"] for one in nodes] == [3, 3]

        async with asyncio.timeout(10):
            while not await all_known():  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.05)
        nodes = await listed(session, first)
        assert [one["boot"] for one in nodes] == boots
        assert [one["address"] for one in nodes] == [first.internal_url, second.internal_url]
        assert [one["lag"] for one in nodes] == [0, 0]
        assert nodes == await listed(session, second)
        settings = ONE_SECRET | {"SYNKRONE_STORE": url}
        code, output, _ = await run("nodes", settings=settings)
        header, *rows = output.splitlines()
        assert code == 0
        assert header.split() == ["BOOT", "VERSION", "SINCE", "ADDRESS", "CONNECTIONS", "OFFSET", "LAG"]
        assert [row.split()[0] for row in rows] == boots
        assert rows[1].split()[-4:] == [second.internal_url, "1", "3", "0"]
        code, output, _ = await run("nodes", "--json", settings=settings)
        assert code == 0
        assert [one["boot"] for one in json.loads(output)["nodes"]] == boots
    async with node(url) as third, http_session() as session:
        # Those that ended have given their leases back.
        assert [one["boot"] for one in await listed(session, third)] == [membership(third).boot]


@pytest.mark.gen_test(timeout=30)
async def test_there_are_no_nodes_where_a_store_is_one_servers_own_or_nobody_was_there(
    postgresql_server: PostgresqlServer, database: str
) -> None:
    code, _, error = await run("nodes", settings=ONE_SECRET)
    assert code == 2
    assert error.startswith(
        "synkrone-socket: store: only servers that share a postgresql:// store are nodes (not set; "
    )
    code, _, error = await run("nodes", settings=ONE_SECRET | {"SYNKRONE_STORE": postgresql_server.url(database)})
    assert (code, error) == (1, "synkrone-socket: no node has registered yet\n")


@pytest.mark.gen_test(timeout=60)
async def test_a_node_that_others_took_for_dead_sends_its_clients_away_and_serves_on_as_another(
    postgresql_server: PostgresqlServer, database: str
) -> None:
    url = postgresql_server.url(database)
    async with node(url, lease=LEASE) as server, node(url, lease=LEASE) as other, http_session() as session:
        before = membership(server).boot
        peer, bystander = [await WebSocketPeer.open(session, each.url) for each in (server, other)]
        await connected(peer, token("42"))
        await connected(bystander, token("42"))
        postgresql_server.execute(f"DELETE FROM synkrone.nodes WHERE boot = '{before}'", database)  # noqa: S608
        why = await reason(peer)
        assert (why["code"], why["reconnect"]) == ("unavailable", True)
        await eventually(lambda: membership(server).boot != before, within=5)
        assert await failures(session, server) == {}
        peer = await let_in(session, server)
        await connected(peer, token("42"))
        await publish(session, other.url, {"to": {"user": "42"}, "type": "t"})
        for each in (peer, bystander):
            assert event(await each.next())[0] == "notification.new"
        assert [one["boot"] for one in await listed(session, server)] == [
            membership(other).boot,
            membership(server).boot,
        ]


@pytest.mark.gen_test(timeout=60)
async def test_a_node_that_is_cut_off_sends_its_clients_away_and_one_whose_store_is_down_keeps_them(
    postgresql_server: PostgresqlServer, database: str
) -> None:
    with DatabaseLine(postgresql_server) as line, DatabaseLine(postgresql_server) as lines_of_others:
        first, second = line.url(database), lines_of_others.url(database)
        async with node(first, lease=LEASE) as cut, node(second, lease=LEASE) as other, http_session() as session:
            peer, bystander = [await WebSocketPeer.open(session, each.url) for each in (cut, other)]
            await connected(peer, token("42"))
            await connected(bystander, token("42"))
            # Each is known to the other.
            for here, there in ((cut, other), (other, cut)):
                assert await membership(here).find(membership(there).boot) is not None
            for each in (line, lines_of_others):
                each.sever()
            await eventually(lambda: membership(cut).fault is not None, within=10)
            await eventually(lambda: membership(other).fault is not None, within=10)
            waiting = asyncio.create_task(reason(peer))
            # All that time nobody reaches the store.
            await asyncio.sleep(2 * LEASE.total_seconds())
            assert not waiting.done()
            lines_of_others.mend()
            assert (await waiting)["code"] == "unavailable"
            assert set(await failures(session, cut)) >= {"store", "listener", "lease"}
            line.mend()
            await eventually(lambda: membership(cut).fault is None, within=10)
            await publish(session, other.url, {"to": {"user": "42"}, "type": "t"})
            assert event(await bystander.next())[0] == "notification.new"


@pytest.mark.gen_test(timeout=60)
async def test_behind_a_restart_of_the_database_a_node_comes_over_before_its_lease_is_due() -> None:
    with running_server(18) as own:
        database = own.new_store()
        async with node(own.url(database), lease=timedelta(seconds=60)) as server, http_session() as session:
            # Its first renewals are over by then.
            await listed(session, server)
            own.stop()
            own.start()

            def has_come_over() -> bool:
                boots = own.execute(
                    "SELECT boot FROM synkrone.nodes, synkrone.cluster WHERE incarnation = synkrone.incarnation()",
                    database,
                )
                return boots == [(membership(server).boot,)]

            await eventually(has_come_over, within=10)


@pytest.mark.gen_test(timeout=30)
async def test_however_often_the_nodes_are_listed_a_lease_is_renewed(
    postgresql_server: PostgresqlServer, database: str
) -> None:
    everybody = aiohttp.TCPConnector(limit=0)
    async with node(postgresql_server.url(database)) as server, http_session(everybody) as session:
        await listed(session, server)
        postgresql_server.pause()
        try:
            lists = [asyncio.ensure_future(listed(session, server)) for _ in range(300)]
            # Behind the answer to the last of them all others have been asked.
            await failures(session, server)
            renewal = asyncio.ensure_future(membership(server).step())
            await asyncio.sleep(0)
        finally:
            postgresql_server.go_on()
        assert {len(nodes) for nodes in await asyncio.gather(*lists)} == {1}
        await renewal
        assert membership(server).fault is None


@pytest.mark.gen_test(timeout=30)
async def test_nodes_answer_one_another_and_nobody_else(postgresql_server: PostgresqlServer, database: str) -> None:
    url = postgresql_server.url(database)
    async with node(url) as server, http_session() as session:
        (own,) = membership(server).members
        secrets = membership(server).secrets
        seconds = await HttpContacts().ask(own, secrets)
        assert seconds is not None
        assert 0 <= seconds < 5
        assert await HttpContacts().ask(own, [b"x" * 32]) is None
        async with session.get(f"{server.internal_url}/cluster/contact") as answer:
            assert answer.status == 403
        async with session.get(f"{server.url}/cluster/contact") as answer:
            assert answer.status == 404
        async with session.get(f"{server.url}/admin/nodes") as answer:
            assert answer.status == 404


@pytest.mark.gen_test(timeout=30)
async def test_the_list_of_nodes_is_for_keys_of_operators(postgresql_server: PostgresqlServer, database: str) -> None:
    async with node(postgresql_server.url(database)) as server, http_session() as session:
        for key, status in ((None, 401), ("x" * 40, 401), (API_KEY, 403), (ADMIN_KEY, 200)):
            headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
            for method in ("GET", "HEAD"):
                async with session.request(method, f"{server.internal_url}/admin/nodes", headers=headers) as answer:
                    assert answer.status == status, key
            if status == 403:
                assert answer.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="admin"')
        async with session.get(f"{server.internal_url}/admin/nodes?boot=a", headers=headers) as answer:
            assert (answer.status, (await answer.json())["detail"]) == (400, "boot: is not known")


@pytest.mark.check
@pytest.mark.gen_test(timeout=60)
async def test_an_idle_cluster_says_nothing_and_renews_a_lease_a_node_every_five_seconds(
    postgresql_server: PostgresqlServer, database: str
) -> None:
    url, seconds = postgresql_server.url(database), 21.0
    # The first two are told apart by what they hold: what was counted of them may be from before.
    written = """
        SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
        WHERE schemaname = 'synkrone' AND relname NOT IN ('nodes', 'cluster')"""
    clusters = "SELECT * FROM synkrone.cluster"
    with postgresql_server.connect(database) as watching:
        watching.execute("LISTEN synkrone_log")
        async with node(url), node(url):
            before = [postgresql_server.execute(each, database) for each in (written, clusters)]
            renewals: set[tuple[str, int]] = set()
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                renewals |= {tuple(row) for row in watching.execute("SELECT boot, renewed_at FROM synkrone.nodes")}
                await asyncio.sleep(0.1)
            # Those at the start, and then every 4 to 5 s.
            for boot in {boot for boot, _ in renewals}:
                assert 5 <= sum(one == boot for one, _ in renewals) <= 1 + seconds // 4
            assert [postgresql_server.execute(each, database) for each in (written, clusters)] == before
            assert list(watching.notifies(timeout=0)) == []


@pytest.mark.gen_test(timeout=30)
async def test_a_session_may_be_asked_for_at_any_node(postgresql_server: PostgresqlServer, database: str) -> None:
    url, path = postgresql_server.url(database), "/socket.io/?EIO=4&transport=polling"
    async with node(url) as first, node(url) as second, http_session() as session:
        async with session.get(first.url + path) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        connect = "40" + json.dumps({"token": token("42")})
        async with session.post(f"{second.url}{path}&sid={sid}", data=connect) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        async with session.get(f"{second.url}{path}&sid={sid}") as answer:
            assert (await answer.text()).startswith("40{")
