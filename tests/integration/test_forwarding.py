"""Requests of one session at several nodes: whichever they come to, the client notices nothing."""

from __future__ import annotations

import json

import pytest

from tests.engine_io import http_session
from tests.serving import token
from tests.two_nodes import two_nodes


@pytest.mark.gen_test
async def test_a_session_is_polled_and_posted_to_at_another_node() -> None:
    async with two_nodes() as (one, other), http_session() as session:
        path = "/socket.io/?EIO=4&transport=polling"
        async with session.get(one.url + path) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        connect = "40" + json.dumps({"token": token("42")})
        async with session.post(f"{other.url}{path}&sid={sid}", data=connect) as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        async with session.get(f"{other.url}{path}&sid={sid}") as answer:
            assert answer.status == 200
            assert (await answer.text()).startswith("40{")
