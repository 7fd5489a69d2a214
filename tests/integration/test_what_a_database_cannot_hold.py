"""PostgreSQL takes no U+0000, and nothing that is no UTF-8, and what one reads with it fails all who read meanwhile: no
route and no event brings it either."""

from __future__ import annotations

import itertools
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from yarl import URL

from adapters.api.description.asyncapi import ASKED
from adapters.api.description.openapi import openapi
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.postgresql import Servers
from tests.serving import API_KEY, publish, serving, token

DOCUMENT = openapi("1.0", pages=[])
SCHEMAS = DOCUMENT["components"]["schemas"]
IN_ADDRESSES = ("%00", "a%00b", "%ED%A0%80", "%FF")
"""U+0000, half of a surrogate pair, and an octet that UTF-8 never has."""
IN_TEXTS = ("\x00", "a\x00b", "\ud800", "a\udfffb")
METHODS = ("get", "put", "post", "patch", "delete")
QUICKLY = {
    "requests_per_second": 10_000,
    "requests_burst": 100_000,
    "events_per_second": 10_000,
    "events_burst": 100_000,
}
KNOWN = "n-1"


class Asked:
    """One request: ``who`` says whose credential it takes."""

    def __init__(self, method: str, address: str, body: object = None, media_type: str = "", **headers: str) -> None:
        self.method = method.upper()
        self.address = address
        self.octets = json.dumps(body).encode() if media_type else None
        who = token("42") if address.startswith(("/v1/inbox", "/v1/stream")) else API_KEY
        self.headers = {"Authorization": f"Bearer {who}", **headers}
        if media_type:
            self.headers["Content-Type"] = media_type

    def __str__(self) -> str:
        shown = [f"{name}: {value!r}" for name, value in self.headers.items() if name != "Authorization"]
        return " ".join([self.method, self.address, *shown, repr(self.octets or "")])


def parameters(item: Mapping[str, Any], method: str, kind: str) -> list[str]:
    described = [*item.get("parameters", []), *item[method].get("parameters", [])]
    return [each["name"] for each in described if each["in"] == kind]


def filled(path: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def requests() -> Iterator[Asked]:
    """Of every operation that is described: each argument that it has in turn, and each string of its body."""
    for path, item in DOCUMENT["paths"].items():
        for method in (name for name in item if name in METHODS):
            places = parameters(item, method, "path")
            good = {name: "42" if name == "user" or path.startswith("/v1/users/") else KNOWN for name in places}
            address = filled(path, good)
            for name, bad in itertools.product(places, IN_ADDRESSES):
                yield Asked(method, filled(path, good | {name: bad}), *a_body(item[method]))
            for name, bad in itertools.product(parameters(item, method, "query"), IN_ADDRESSES):
                yield Asked(method, f"{address}?{name}={bad}", *a_body(item[method]))
            for bad in IN_ADDRESSES:
                yield Asked(method, f"{address}?{bad}={bad}", *a_body(item[method]))
            for name in parameters(item, method, "header"):
                yield Asked(method, address, *a_body(item[method]), **{name: "a\xed\xa0\x80\xffb"})
            for media_type, example in bodies(item[method]):
                for bad in IN_TEXTS:
                    for body in spoiled(example, bad):
                        yield Asked(method, address, body, media_type)
    page = urlsafe_b64encode(b"1:a\x00b").decode()
    yield Asked("get", f"/v1/notifications/{KNOWN}/recipients?page={page}")


def bodies(operation: Mapping[str, Any]) -> list[tuple[str, Any]]:
    content = operation.get("requestBody", {}).get("content", {})
    return [
        (media_type, example["value"])
        for media_type, described in content.items()
        if media_type != "application/x-ndjson"
        for example in described["examples"].values()
    ]


def a_body(operation: Mapping[str, Any]) -> tuple[Any, str]:
    (media_type, example), *_ = [*bodies(operation), ("", None)]
    return example, media_type


def spoiled(value: Any, bad: str) -> Iterator[Any]:
    """The value, with each of its strings and names in turn as one that is bad."""
    if isinstance(value, str):
        yield bad
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for each in spoiled(item, bad):
                yield [*value[:index], each, *value[index + 1 :]]
    elif isinstance(value, dict):
        yield {**value, bad: 1}
        for name, item in value.items():
            for each in spoiled(item, bad):
                yield {**value, name: each}


@pytest.mark.gen_test(timeout=180)
async def test_no_request_brings_what_a_database_cannot_hold(postgresql: Servers) -> None:
    database_server = postgresql.of(18)
    database = database_server.new_store()
    try:
        async with serving(store=database_server.url(database), limits=QUICKLY) as server, http_session() as session:
            await publish(session, server.url, {"to": {"user": "42"}, "type": "t", "id": KNOWN})
            asked = list(requests())
            answered = [await status_of(session, server.url, one) for one in asked]
            failed = [f"{status} {one}" for status, one in zip(answered, asked, strict=True) if status >= 500]
            assert not failed, "\n".join(failed)
            # Every one of them was looked at, and not only whether others were too many.
            assert 429 not in answered
            assert len(asked) > 500
    finally:
        database_server.drop_databases([database])


async def status_of(session: aiohttp.ClientSession, url: str, asked: Asked) -> int:
    address = URL(url + asked.address, encoded=True)
    async with session.request(asked.method, address, data=asked.octets, headers=asked.headers) as answer:
        return answer.status


@pytest.mark.gen_test(timeout=60)
async def test_no_event_brings_what_a_database_cannot_hold(postgresql: Servers) -> None:
    database_server = postgresql.of(18)
    database = database_server.new_store()
    try:
        async with serving(store=database_server.url(database), limits=QUICKLY) as server, http_session() as session:
            peer = await WebSocketPeer.open(session, server.url)
            await connected(peer, token("42"), device="phone")
            failed: list[str] = []
            for event, bad in itertools.product(ASKED, IN_TEXTS):
                for example in SCHEMAS[ASKED[event][0]]["examples"]:
                    for argument in spoiled(example, bad):
                        packet = json.dumps([event, argument])
                        await peer.send(f"421{packet}")
                        answer = await peer.next()
                        while not answer.startswith("431"):
                            answer = await peer.next()
                        if "store_unavailable" in answer:
                            failed.append(f"{packet}: {answer}")
            assert not failed, "\n".join(failed)
            for auth in spoiled(
                {"token": token("42"), "device": "d", "cursor": "a:1", "pid": "p", "offset": "o"}, "\0"
            ):
                peer = await WebSocketPeer.open(session, server.url)
                await peer.send(f"40{json.dumps(auth)}")
                answer = await peer.next()
                assert answer.startswith(("40", "44")), answer
                assert "store_unavailable" not in answer
                await peer.close()
    finally:
        database_server.drop_databases([database])
