"""What the stock client's application sees of a token that is not good, and that the client then stays away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from tests.e2e.clients import Auth, Clients, JsClient
from tests.e2e.conftest import Serve
from tests.processes import API_KEY, SECRET, token

ISSUER = "https://auth.example"
ONE_ISSUER = {
    "SYNKRONE_API__KEY": API_KEY,
    "SYNKRONE_AUTH__ISSUERS": json.dumps(
        [{"issuer": ISSUER, "secret": SECRET, "audience": "synkrone-socket", "roles": ["freelance", "company"]}]
    ),
}
INVALID = {"code": "invalid_token", "title": "The token is not valid.", "retryable": False}
EXPIRED = {"code": "token_expired", "title": "The token has expired.", "retryable": True}


def good(**changes: object) -> str:
    return token("42", **({"iss": ISSUER, "aud": "synkrone-socket"} | changes))  # type: ignore[arg-type]


REFUSED: dict[str, tuple[Callable[[], Auth | None], dict[str, object]]] = {
    "no-auth": (lambda: None, INVALID),
    "no-token": (dict, INVALID),
    "null": (lambda: {"token": None}, INVALID),
    "malformed": (lambda: {"token": "not.a.token"}, INVALID),
    "expired": (lambda: {"token": good(ttl=-31)}, EXPIRED),
    "wrongly-signed": (lambda: {"token": good(secret=SECRET[::-1])}, INVALID),
    "wrong-issuer": (lambda: {"token": good(iss="https://other.example")}, INVALID),
    "wrong-audience": (lambda: {"token": good(aud="another-service")}, INVALID),
    "wrong-role": (lambda: {"token": good(role="admin")}, INVALID),
    "expired-and-wrongly-signed": (lambda: {"token": good(ttl=-31, secret=SECRET[::-1])}, INVALID),
}


@pytest.mark.gen_test(timeout=90)
@pytest.mark.parametrize("transports", [["polling", "websocket"], ["websocket"]], ids=["default", "websocket"])
async def test_a_bad_token_is_refused_with_its_code(serve: Serve, clients: Clients, transports: list[str]) -> None:
    server = serve(ONE_ISSUER)
    # So quick that whoever came back by itself would have done so while the others are being refused.
    options = {"transports": transports, "reconnectionDelay": 1, "reconnectionDelayMax": 1}
    cases = list(REFUSED.items())
    refused: dict[str, JsClient] = {}
    for some in (cases[:5], cases[5:]):
        opened = await asyncio.gather(*(clients.js(server.url, auth(), options) for _, (auth, _) in some))
        refused |= zip((name for name, _ in some), opened, strict=True)
    for name, (_, problem) in cases:
        error = await refused[name].expect("connect_error")
        assert error["data"] == problem, name
        assert error["message"] == problem["title"], name
        # "false if the connection was denied by the server" (Socket.IO's client API): it does not retry.
        assert error["active"] is False, name

    # With a good token the application connects again: nothing at all happened to it in between.
    for client in (refused["expired"], refused["wrong-role"]):
        await client.connect({"token": good()})
    for client in (refused["expired"], refused["wrong-role"]):
        await client.ready()
    await server.publish({"everyone": True}, title="to those who are in")
    for client in (refused["expired"], refused["wrong-role"]):
        await client.event("notification.new")
    for client in refused.values():
        assert client.unseen() == []


@pytest.mark.gen_test(timeout=60)
async def test_clients_are_told_the_same_where_python_strips_docstrings(serve: Serve, clients: Clients) -> None:
    server = serve(ONE_ISSUER | {"PYTHONOPTIMIZE": "2"}, anew=True)
    client = await clients.js(server.url, {"token": "not.a.token"}, {"transports": ["websocket"]})
    error = await client.expect("connect_error")
    assert (error["message"], error["data"]) == (INVALID["title"], INVALID)
