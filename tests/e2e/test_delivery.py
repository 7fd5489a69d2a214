"""A user is authenticated, put in their rooms, and gets their notifications: the stock clients over every transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import aiohttp
import pytest

from tests.e2e.clients import Client, Clients
from tests.e2e.conftest import Serve
from tests.e2e.expectations import assert_notification, assert_ready
from tests.processes import API_KEY, token

Connect: TypeAlias = Callable[[Clients, str, str], Awaitable[Client]]
"""Connects to a URL with a token."""


def js(*transports: str) -> Connect:
    async def connect(clients: Clients, url: str, user_token: str) -> Client:
        options = {"transports": transports} if transports else {}
        return await clients.js(url, {"token": user_token}, options)

    return connect


def python(*transports: str) -> Connect:
    async def connect(clients: Clients, url: str, user_token: str) -> Client:
        return await clients.python(url, {"token": user_token}, transports=transports or None)

    return connect


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize(
    ("connect", "transport"),
    [
        pytest.param(js(), "websocket", id="js"),
        pytest.param(js("polling"), "polling", id="js-polling"),
        pytest.param(js("websocket"), "websocket", id="js-websocket"),
        pytest.param(python(), "websocket", id="python"),
        pytest.param(python("polling"), "polling", id="python-polling"),
        pytest.param(python("websocket"), "websocket", id="python-websocket"),
    ],
)
async def test_everybody_gets_what_is_theirs_and_nothing_else(
    serve: Serve, clients: Clients, connect: Connect, transport: str
) -> None:
    server = serve()
    exp = int(time.time()) + 3600
    identities = (("42", "freelance"), ("42", "freelance"), ("43", "freelance"), ("7", "company"))
    phone, laptop, colleague, company = await asyncio.gather(
        *(connect(clients, server.url, token(user, role, exp=exp)) for user, role in identities)
    )
    everybody = (phone, laptop, colleague, company)
    for client, (user, role) in zip(everybody, identities, strict=True):
        assert_ready(await client.ready(), user=user, role=role, expires_at=exp)

    async def publish(recipients: Sequence[Client], audience: str, to: dict[str, object], **members: object) -> None:
        published = await server.publish(to, **members)
        for client in recipients:
            arguments = await client.event("notification.new")
            assert_notification(arguments, published, audience=audience, **({"type": "mission.assigned"} | members))

    async def publish_to_all_kinds() -> None:
        await publish(
            (phone, laptop),
            "user",
            {"user": "42"},
            type="mission.offered",
            title="Nouvelle mission: dépôt \u2028 \U0001f69a",
            body='with "quotes" and \\ and </script>',
            data={"price": 12.50, "big": 9007199254740991, "nested": [{"a": None}, True, "\x00"], "é": {}},
            expires_at="2999-12-31T23:59:59.000Z",
        )
        await publish((phone, laptop, company), "user", {"users": ["42", "7", "nobody"]}, title="two")
        await publish((company,), "role", {"role": "company"}, title="companies")
        await publish((phone, laptop, colleague), "role", {"role": "freelance"}, title="freelances")
        await publish((colleague,), "user", {"user": "43"}, body="yours alone")
        await publish(everybody, "everyone", {"everyone": True}, title="all")

    # The default client is about to upgrade at this moment, and must neither lose nor repeat anything.
    await publish_to_all_kinds()
    for client in everybody:
        await client.uses(transport)
    await publish_to_all_kinds()
    # What was to everyone came last to each of them: nothing else had been on its way.
    assert [client.unseen() for client in everybody] == [[], [], [], []]


@pytest.mark.gen_test(timeout=90)
async def test_two_devices_get_what_is_for_who_is_in_all_of_some_groups(serve: Serve, clients: Clients) -> None:
    """Through a kill of the server; and nobody else does, who is in some of them."""
    server = serve()
    identities = (("42", "freelance"), ("42", "freelance"), ("43", "freelance"), ("7", "company"))
    transports = (["websocket"], ["polling"], ["websocket"], ["websocket"])
    options = {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
    devices = [
        await clients.js(server.url, {"token": token(user, role)}, options | {"transports": some})
        for (user, role), some in zip(identities, transports, strict=True)
    ]
    for device in devices:
        await device.ready()
    to: dict[str, object] = {"all_of": [{"role": "freelance"}, {"topic": "on-call"}]}

    async def change_members(**users: list[str]) -> None:
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session,
            session.post(f"{server.url}/v1/topics/on-call/members", json=users) as response,
        ):
            assert response.status == 204

    async def are_told(*titles: list[str]) -> None:
        """So much each, and nothing between; what is for everyone comes last."""
        await server.publish({"everyone": True}, title="all")
        for device, expected in zip(devices, titles, strict=True):
            for title in (*expected, "all"):
                assert (await device.event("notification.new"))[0]["title"] == title

    await server.publish(to, title="before")
    await change_members(add=["42", "7"])
    await server.publish(to, title="first")
    await are_told(["first"], ["first"], [], [])
    server.kill()
    for device in devices:
        await device.expect("disconnect")
    server.start_again()
    await server.ready()
    await server.publish(to, title="second")
    await change_members(add=["43"], remove=["42"])
    await server.publish(to, title="third")
    for device in devices:
        await device.back(recovered=True)
    await are_told(["second"], ["second"], ["third"], [])


@pytest.mark.gen_test(timeout=60)
async def test_a_client_may_leave_while_its_poll_waits(serve: Serve, clients: Clients) -> None:
    server = serve()
    client = await clients.python(server.url, {"token": token("42")}, transports=["polling"])
    await client.ready()
    async with asyncio.timeout(10):
        await client.disconnect()
        await client.expect("disconnect")
