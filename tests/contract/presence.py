"""What every presence must do; and what those must that several servers share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import pytest
from tornado.ioloop import IOLoop

from adapters.store.served import ServedPresence
from domain.errors import StoreUnavailable, SynkroneError
from domain.model import ConnectionId, ConnectionInfo, Present, UserId
from tests.doubles import START
from tests.serving import eventually

MOST = 3
"""How many connections a user may have."""

ANN, BOB = UserId("ann"), UserId("bob")
DISPLACED_WITHIN = 10.0
SEEN_WITHIN = 10.0


@dataclass(eq=False)
class Client:
    """A connection of a user, and why it had to go."""

    id: ConnectionId
    user: UserId = ANN
    pid: str = ""
    continues: str | None = None
    device: str | None = None
    technology: str = "polling"
    roles: tuple[str, ...] = ("company",)
    since: int = 0
    displaced: list[str] = field(default_factory=list)

    @property
    def info(self) -> ConnectionInfo:
        since = START + timedelta(seconds=self.since)
        return ConnectionInfo(self.device, self.roles, self.technology, "192.0.2.7", since)

    @property
    def present(self) -> Present:
        return Present(self.user, self.pid or f"pid of {self.id}", self.continues, self.info)


class Server:
    """One server's presence, followed, and who is connected there. Whoever is displaced or not admitted leaves, as the
    domain has it."""

    def __init__(self, name: str, presence: ServedPresence) -> None:
        self.name = name
        self.presence = presence
        self.clients: dict[ConnectionId, Client] = {}
        self._numbers = 0
        self._following = asyncio.get_running_loop().create_task(presence.follow())

    async def connect(self, **of_client: Any) -> Client:
        self._numbers += 1
        client = Client(ConnectionId(f"{self.name}-{self._numbers}"), **of_client)

        def displaced(why: SynkroneError) -> None:
            client.displaced.append(why.code)
            self.leave(client)

        self.clients[client.id] = client
        try:
            await self.presence.admit(client, client.present, displaced)
        except StoreUnavailable:
            self.leave(client)
            raise
        return client

    def leave(self, client: Client) -> None:
        self.clients.pop(client.id, None)
        self.presence.leave(client)

    async def elsewhere(self, user: UserId = ANN) -> list[ConnectionInfo]:
        return list(await self.presence.elsewhere(user))

    async def sees(self, *clients: Client) -> None:
        """Before long, exactly these elsewhere."""
        expected = [client.info for client in clients]
        async with asyncio.timeout(SEEN_WITHIN):
            while True:
                if await self.elsewhere() == expected:
                    return
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        self._following.cancel()
        await asyncio.wait((self._following,))
        await self.presence.close()


class OpenServer(Protocol):
    """Another server, by its own name, that has the same store as those before."""

    async def __call__(self) -> Server: ...


class PresenceContract:
    """Subclass it, and give it an ``open_server``. Users may have MOST connections."""

    @pytest.fixture
    def open_server(self) -> OpenServer:
        raise NotImplementedError

    @pytest.fixture
    def server(self, io_loop: IOLoop, open_server: OpenServer) -> Server:
        opened: Server = io_loop.run_sync(open_server)
        return opened

    @pytest.mark.gen_test
    async def test_what_is_here_is_not_elsewhere(self, server: Server) -> None:
        assert await server.elsewhere() == []
        client = await server.connect()
        assert await server.elsewhere() == []
        server.leave(client)
        assert await server.elsewhere() == []

    @pytest.mark.gen_test
    async def test_who_never_came_may_leave_and_twice(self, server: Server) -> None:
        client = Client(ConnectionId("nobody"))
        for _ in range(2):
            server.leave(client)
        client = await server.connect()
        for _ in range(2):
            server.leave(client)
        assert (await server.connect()).displaced == []

    @pytest.mark.gen_test
    async def test_many_come_and_go_at_once(self, server: Server) -> None:
        for _ in range(3):
            clients = await asyncio.gather(*(server.connect(user=UserId(f"u-{number}")) for number in range(300)))
            for client in clients:
                server.leave(client)
        assert await server.elsewhere(UserId("u-7")) == []

    @pytest.mark.gen_test
    async def test_who_leaves_while_being_admitted_has_left(self, server: Server) -> None:
        admitting = asyncio.ensure_future(server.connect())
        await asyncio.sleep(0)
        server.leave(server.clients[ConnectionId(f"{server.name}-1")])
        await admitting
        assert server.clients == {}


class SharedPresenceContract(PresenceContract):
    """Of servers that share a store."""

    @pytest.fixture
    def other(self, io_loop: IOLoop, open_server: OpenServer) -> Server:
        opened: Server = io_loop.run_sync(open_server)
        return opened

    @pytest.mark.gen_test
    async def test_each_sees_what_the_others_have_in_the_order_in_which_it_came(
        self, server: Server, other: Server, open_server: OpenServer
    ) -> None:
        third = await open_server()
        phone = await server.connect(device="Ann's phone é", since=60)
        tablet = await other.connect(technology="sse", since=30)
        await other.connect(user=BOB)
        assert await third.elsewhere() == [phone.info, tablet.info]
        assert await other.elsewhere() == [phone.info]
        assert await server.elsewhere() == [tablet.info]
        server.leave(phone)
        await third.sees(tablet)
        assert await other.elsewhere() == []

    @pytest.mark.gen_test
    async def test_several_roles_are_seen_in_their_order(self, server: Server, other: Server) -> None:
        client = await server.connect(roles=("company", "admin"))
        (seen,) = await other.elsewhere()
        assert (seen, seen.role) == (client.info, "company")

    @pytest.mark.gen_test
    async def test_beyond_the_limit_the_oldest_goes_wherever_it_is(self, server: Server, other: Server) -> None:
        first = await server.connect()
        rest = [await other.connect(), await server.connect()]
        of_bob = await server.connect(user=BOB)
        newest = await other.connect()
        await eventually(lambda: first.displaced == ["too_many_connections"], within=DISPLACED_WITHIN)
        assert [client.displaced for client in (*rest, newest, of_bob)] == [[]] * 4
        await other.sees(rest[1])

    @pytest.mark.gen_test
    async def test_the_last_ones_of_many_that_come_at_once_stay(self, server: Server, other: Server) -> None:
        servers = (server, other)
        clients = await asyncio.gather(*(servers[number % 2].connect(since=number) for number in range(60)))
        await eventually(lambda: sum(not client.displaced for client in clients) == MOST, within=5.0)
        assert {code for client in clients for code in client.displaced} == {"too_many_connections"}
        assert all(len(client.displaced) <= 1 for client in clients)
        newest = await server.connect(since=100)
        await eventually(lambda: sum(not client.displaced for client in clients) == MOST - 1, within=DISPLACED_WITHIN)
        assert newest.displaced == []
        assert len(await server.elsewhere()) + len(server.clients) == MOST

    @pytest.mark.gen_test
    async def test_a_client_that_comes_again_supersedes_its_connection_elsewhere(
        self, server: Server, other: Server
    ) -> None:
        older, sibling = await server.connect(pid="p"), await server.connect(pid="q")
        stranger = await server.connect(user=BOB, pid="p")
        newer = await other.connect(pid="p", continues="p")
        await eventually(lambda: older.displaced == ["superseded"], within=DISPLACED_WITHIN)
        assert [client.displaced for client in (sibling, stranger, newer)] == [[]] * 3
        # It could not continue, and has a new pid, but is the same client.
        newest = await server.connect(pid="r", continues="p")
        await eventually(lambda: newer.displaced == ["superseded"], within=DISPLACED_WITHIN)
        assert [client.displaced for client in (sibling, newest)] == [[]] * 2

    @pytest.mark.gen_test
    async def test_who_is_superseded_makes_room(self, server: Server, other: Server) -> None:
        clients = [await server.connect(pid=f"p-{number}") for number in range(MOST)]
        await other.connect(pid="p-1", continues="p-1")
        await eventually(lambda: clients[1].displaced == ["superseded"], within=DISPLACED_WITHIN)
        assert [clients[0].displaced, clients[2].displaced] == [[], []]

    @pytest.mark.gen_test
    async def test_who_has_left_takes_no_place(self, server: Server, other: Server) -> None:
        clients = [await server.connect() for _ in range(MOST)]
        for client in clients:
            server.leave(client)
        await other.sees()
        newer = [await other.connect() for _ in range(MOST)]
        await server.connect()
        await eventually(lambda: newer[0].displaced == ["too_many_connections"], within=DISPLACED_WITHIN)
        assert [client.displaced for client in (*newer[1:], *clients)] == [[]] * (2 * MOST - 1)

    @pytest.mark.gen_test
    async def test_what_a_server_that_ends_had_is_gone(self, server: Server, other: Server) -> None:
        await server.connect()
        assert len(await other.elsewhere()) == 1
        await server.close()
        assert await other.elsewhere() == []

    @pytest.mark.gen_test
    async def test_a_change_of_transport_is_seen(self, server: Server, other: Server) -> None:
        client = await server.connect()
        await other.sees(client)
        client.technology = "websocket"
        await other.sees(client)
