"""The API is as its description says, and its description has all of it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from adapters.api.description.asyncapi import ASKED
from adapters.api.description.openapi import openapi
from adapters.api.description.problems import codes
from adapters.contract.commands import read_command
from adapters.contract.json_text import InvalidJson
from adapters.contract.publications import parse_publication
from adapters.http.files import SHORTLY, FileRequest, FileRoute, LateFileRoute
from domain.errors import InvalidPublication, SynkroneError
from domain.requests import Malformed
from entrypoints.server import Server
from tests.campaigning import examples
from tests.description import Description
from tests.serving import API_KEY, serving, token

DOCUMENT = openapi("1.0", pages=[])
DESCRIPTION = Description(DOCUMENT)
PUBLICATION = {"$ref": "#/components/schemas/Publication"}
OTHER_KEY = "a key that only reads, of at least 32 characters"
KEYS = {"key": API_KEY, "keys": [{"name": "support", "key": OTHER_KEY, "scopes": ["connections:read"]}]}
BACKEND = {"Authorization": f"Bearer {API_KEY}"}
NOTIFICATION = {"to": {"user": "42"}, "type": "hello"}


async def fetched(server: Server, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(server.url + path) as answer:
        assert answer.status == 200
        return await answer.json(content_type=None) if path.endswith(".json") else await answer.text()


@pytest.mark.gen_test
async def test_the_document_is_openapi() -> None:
    async with serving() as server:
        validate(await fetched(server, "/openapi.json"))


@pytest.mark.gen_test
async def test_every_example_is_as_its_schema_says() -> None:
    async with serving() as server:
        documents = [await fetched(server, path) for path in ("/openapi.json", "/asyncapi.json")]
    examined = 0
    for document in documents:
        description = Description(document)
        for name, schema in document["components"]["schemas"].items():
            assert schema["examples"], name
            for example in schema["examples"]:
                assert not description.problems({"$ref": f"#/components/schemas/{name}"}, example), name
                examined += 1
    for message in documents[1]["components"]["messages"].values():
        for example in message["examples"]:
            assert not Description(documents[1]).problems(message["payload"], example["payload"]), message["name"]
    for item in documents[0]["paths"].values():
        for operation in (item[method] for method in item if method != "parameters"):
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for media in (media for body in bodies for media in body.get("content", {}).values()):
                for example in media.get("examples", {}).values():
                    assert not Description(documents[0]).problems(media["schema"], example["value"])
    assert examined > 30


@pytest.mark.gen_test
async def test_what_is_mounted_is_described_and_what_is_described_is_mounted() -> None:
    async with serving() as server:
        container = server.container
        mounted = {*container.publish_routes(), *container.file_routes()}
        for transport in container.transports():
            mounted |= {path for path in transport.routes if not path.startswith("/socket.io")}
        for pattern, handler, _ in container.routes(readiness=server.readiness):
            mounted |= {f"{path} {method}" for path in expanded(pattern) for method in getattr(handler, "methods", ())}
        document = await fetched(server, "/openapi.json")
        events = await fetched(server, "/asyncapi.json")
    described = set()
    for path, item in document["paths"].items():
        described |= {path} if path in mounted else {f"{path} {method.upper()}" for method in item if len(method) < 7}
    assert described == mounted
    assert events["channels"]["connection"]["address"] == "/socket.io/"


def expanded(pattern: str) -> list[str]:
    """The paths of a route, with the name of what it takes: ``{id}`` but for topics."""
    names = iter(("{topic}", "{user}") if pattern.startswith("/v1/topics/") else ("{id}",))
    pattern = re.sub(r"\(\[\^/\]\+\)", lambda _: next(names), pattern)
    choice = re.search(r"\(([^)]*)\)", pattern)
    return [pattern.replace(choice[0], each) for each in choice[1].split("|")] if choice else [pattern]


@pytest.mark.gen_test
async def test_answers_are_as_described() -> None:
    async with serving(api=KEYS) as server, aiohttp.ClientSession() as session:
        description = Description(await fetched(server, "/openapi.json"))

        async def ask(method: str, path: str, status: int, **options: Any) -> Any:
            async with session.request(method, server.url + path, **options) as answer:
                body = await answer.text()
                value = json.loads(body) if "json" in answer.headers.get("Content-Type", "") and body else body
                assert answer.status == status, body
                description.check(method, path.partition("?")[0], status, answer.headers, value)
                return value

        user = {"Authorization": f"Bearer {token('42')}"}
        expired = {"Authorization": f"Bearer {token('42', ttl=-600)}"}
        reader = {"Authorization": f"Bearer {OTHER_KEY}"}
        for path, body, status in (
            ("/v1/notifications", {**NOTIFICATION, "id": "a", "data": {"n": 1}}, 201),
            ("/v1/notifications", {**NOTIFICATION, "id": "a", "title": "other"}, 409),
            ("/v1/notifications", {**NOTIFICATION, "to": {}}, 422),
            ("/v1/notifications", {**NOTIFICATION, "title": "x" * 70_000}, 413),
            ("/v1/notifications/batch", [NOTIFICATION, {"to": {"everyone": True}, "type": "hello"}], 200),
            ("/v1/notifications/batch", [], 422),
        ):
            await ask("POST", path, status, json=body, headers=BACKEND)
        for path in ("/v1/notifications", "/v1/notifications/batch"):
            await ask("POST", path, 400, data=b"{", headers={**BACKEND, "Content-Type": "application/json"})
            await ask("POST", path, 415, data=b"a=1", headers={**BACKEND, "Content-Type": "text/plain"})
            await ask("POST", path, 401, json=NOTIFICATION)
            await ask("POST", path, 403, json=NOTIFICATION, headers=reader)
            body = [NOTIFICATION] if path.endswith("batch") else NOTIFICATION
            await ask("POST", path, 400, json=body, headers={**BACKEND, "Idempotency-Key": "x" * 256})
        lines = b'{"to":{"user":"42"},"type":"hello"}\n' * 2
        ndjson = {**BACKEND, "Content-Type": "application/x-ndjson"}
        await ask("POST", "/v1/notifications/batch", 200, data=lines, headers=ndjson)

        listed = await ask("GET", "/v1/inbox?limit=1&state=unread&type=hello", 200, headers=user)
        assert listed["items"]
        assert listed["next"]
        await ask("GET", f"/v1/inbox?page={listed['next']}", 200, headers=user)
        await ask("GET", "/v1/inbox?limit=1000", 422, headers=user)
        await ask("GET", "/v1/inbox/count", 200, headers=user)
        ids = {"ids": [listed["items"][0]["id"]]}
        for action in ("read", "unread", "seen", "archive", "unarchive", "delete"):
            await ask("POST", f"/v1/inbox/{action}", 200, json=ids, headers=user)
            await ask("POST", f"/v1/inbox/{action}", 422, json={"ids": []}, headers=user)
            await ask("POST", f"/v1/inbox/{action}", 401, json=ids)
        await ask("POST", "/v1/inbox/read_all", 200, json={"up_to": listed["as_of"]}, headers=user)
        await ask("POST", "/v1/inbox/read_all", 200, headers=user)
        await ask("POST", "/v1/inbox/read", 400, data=b"{", headers={**user, "Content-Type": "application/json"})
        for path in ("/v1/inbox", "/v1/inbox/count", "/v1/stream"):
            await ask("GET", path, 401, headers=expired)
            await ask("GET", path, 403, headers={**user, "Origin": "https://elsewhere.example"})
        await ask("GET", "/v1/stream?token=x", 400)

        async with session.get(server.url + "/v1/stream", headers=user) as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            assert (await stream.content.readline()).startswith(b"retry:")
            connections = await ask("GET", "/v1/users/42/connections", 200, headers=BACKEND)
            assert connections["connections"]
            await ask("DELETE", "/v1/users/42/connections?reconnect=true", 200, headers=BACKEND)
        await ask("GET", "/v1/users/42/connections", 401)
        await ask("GET", "/v1/users/%00/connections", 400, headers=BACKEND)
        await ask("DELETE", "/v1/users/42/connections?reconnect=perhaps", 400, headers=BACKEND)
        await ask("DELETE", "/v1/users/42/connections", 403, headers=reader)
        for path in ("/health/live", "/health/ready"):
            await ask("GET", path, 200)
        for path in ("/docs", "/docs/docs.css", "/openapi.json", "/asyncapi.json", "/client/synkrone-inbox.js"):
            async with session.get(server.url + path) as answer:
                etag = answer.headers["ETag"]
            await ask("GET", path, 200)
            await ask("GET", path, 304, headers={"If-None-Match": etag})
    assert len(description.seen) > 40


@pytest.mark.gen_test
async def test_the_description_can_be_switched_off() -> None:
    async with serving(api={"key": API_KEY, "docs": False}) as server, aiohttp.ClientSession() as session:
        for path in ("/openapi.json", "/asyncapi.json", "/docs"):
            async with session.get(server.url + path) as answer:
                assert answer.status == 404


@pytest.mark.gen_test
async def test_the_page_shows_every_operation_event_and_code_and_loads_nothing_from_elsewhere() -> None:
    async with serving() as server:
        shown = await fetched(server, "/docs")
        document = await fetched(server, "/openapi.json")
    for wanted in (*document["paths"], *ASKED, *(code.code for code in codes())):
        assert f"<code>{wanted}</code>" in shown, wanted
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', shown) == ["docs/docs.css", "openapi.json", "asyncapi.json"]
    assert "<script" not in shown


def test_every_error_that_anybody_is_told_has_its_code_in_the_documents() -> None:
    described = set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["examples"])
    waiting: list[type[SynkroneError]] = [SynkroneError]
    for error in waiting:
        waiting.extend(error.__subclasses__())
    missing = {
        error.code for error in waiting if error.__module__.partition(".")[0] in ("domain", "adapters")
    } - described
    only_logged = {
        "checkpoint_moved",
        "connection_gone",
        "entries_missing",
        "error",
        "lease_lost",
        "protocol_error",
        "store_unusable",
    }
    assert missing <= only_logged


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(("", "42", "a b", "\n", "\u2028", "x" * 128, "x" * 129)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("user", "users", "role", "everyone", "a")), inner, max_size=2)
    ),
    max_leaves=4,
)
AUDIENCES = st.sampled_from(
    (
        {"user": "42"},
        {"users": ["42", "43"]},
        {"users": []},
        {"role": "company"},
        {"everyone": True},
        {"everyone": False},
    )
)
BODIES = st.fixed_dictionaries(
    {"to": AUDIENCES | VALUES, "type": st.just("hello") | VALUES},
    optional={
        "title": st.text(max_size=3) | VALUES,
        "body": VALUES,
        "data": VALUES,
        "id": st.sampled_from(("a.b:c-1_2", "a b", "é", "x" * 129)) | VALUES,
        "expires_at": st.sampled_from(("2030-01-31T12:00:00Z", "2030-13-31T12:00:00Z", "tomorrow")) | VALUES,
        "other": VALUES,
    },
)


@pytest.mark.campaign
@given(body=BODIES)
@settings(max_examples=examples(100, in_full=3_000))
def test_the_schema_of_a_publication_takes_what_the_server_takes(body: dict[str, object]) -> None:
    try:
        parse_publication(json.dumps(body).encode())
    except (InvalidPublication, InvalidJson):
        is_taken = False
    else:
        is_taken = True
    wrong = DESCRIPTION.problems(PUBLICATION, body)
    assert is_taken == (not wrong), wrong


ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(st.sampled_from(("a", "", "\n", "x" * 129)), max_size=2) | VALUES,
        "up_to": st.sampled_from(("6f1c:12", "6f1c:012", "6f1c", "é:1")) | VALUES,
        "limit": st.integers(-1, 101) | VALUES,
        "page": st.sampled_from(("1", "0", "01", "9" * 18, "9" * 19)) | VALUES,
        "state": st.sampled_from(("unread", "read", "archived", "all", "snoozed", "all_and_snoozed", "none")) | VALUES,
        "type": VALUES,
        "token": VALUES,
    },
)


@pytest.mark.campaign
@given(event=st.sampled_from(sorted(ASKED)), argument=ARGUMENTS | VALUES)
@settings(max_examples=examples(150, in_full=5_000))
def test_the_schema_of_a_request_takes_what_the_server_takes(event: str, argument: object) -> None:
    if argument is None:
        argument = {}
    is_taken = not isinstance(read_command(event, argument), Malformed)
    members = DOCUMENT["components"]["schemas"][ASKED[event][0]]["properties"]
    optional = set(members) - {"ids", "token"}
    if isinstance(argument, dict):
        # One that is null stands for one that is not there.
        argument = {name: value for name, value in argument.items() if value is not None or name not in optional}
    schema = {"$ref": f"#/components/schemas/{ASKED[event][0]}"}
    wrong = DESCRIPTION.problems(schema, argument)
    assert is_taken == (not wrong), wrong


@pytest.mark.gen_test
async def test_it_is_made_for_the_first_who_ask_together_and_not_again() -> None:
    made: list[threading.Thread] = []

    def make() -> FileRoute:
        made.append(threading.current_thread())
        return FileRoute(b"described", "text/plain", SHORTLY)

    late: Any = LateFileRoute(make)
    request: Any = None
    assert made == []
    first = await asyncio.gather(*(late.open(request, request) for _ in range(3)))
    assert {handler.route.body for handler in first} == {b"described"}
    assert isinstance(late.open(request, request), FileRequest)
    assert len(made) == 1
    assert made[0] is not threading.current_thread()
