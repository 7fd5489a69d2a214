"""Publishing over HTTP, seen by the backend that publishes and by the user whom it is for."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from adapters.store.memory import MemoryStore
from adapters.system.clock import SystemClock
from domain.errors import StoreUnavailable
from domain.model import Appended, Checkpoint, Draft
from entrypoints.server import Server, open_server
from entrypoints.settings import validate_settings
from tests.engine_io import WebSocketPeer, connected, event, http_session
from tests.serving import API_KEY, SECRET, serving, token

OTHER_KEY = "another key of the tests, at least 32 characters"
READER_KEY = "a key that only reads, of at least 32 characters"
KEYS = {
    "key": API_KEY,
    "keys": [
        {"name": "billing", "key": OTHER_KEY},
        {"name": "support", "key": READER_KEY, "scopes": ["connections:read"]},
    ],
}
TO_42 = {"to": {"user": "42"}, "type": "mission.assigned"}
JSON = "application/json"
NDJSON = "application/x-ndjson"


class Backend:
    """A backend, and the user 42 who listens on a device."""

    def __init__(self, session: aiohttp.ClientSession, server: Server, peer: WebSocketPeer, cursor: str) -> None:
        self.session = session
        self.server = server
        self._peer = peer
        self.cursor = cursor

    async def send(
        self,
        body: object,
        path: str = "",
        *,
        key: str | None = API_KEY,
        media_type: str | None = JSON,
        method: str = "POST",
        **fields: str | list[str],
    ) -> tuple[int, Any, dict[str, str]]:
        """``body`` is sent as JSON unless it is bytes. The status, body and headers of the answer."""
        if key is not None:
            fields.setdefault("Authorization", f"Bearer {key}")
        if media_type is not None:
            fields["Content-Type"] = media_type
        headers = [
            (name.replace("_", "-"), value)
            for name, values in fields.items()
            for value in ([values] if isinstance(values, str) else values)
        ]
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(
            method,
            f"{self.server.url}/v1/notifications{path}",
            data=data,
            headers=headers,
            skip_auto_headers=["Content-Type"],
        ) as answer:
            return answer.status, await answer.json(content_type=None), dict(answer.headers)

    async def batch(self, body: object, **options: Any) -> tuple[int, Any, dict[str, str]]:
        return await self.send(body, "/batch", **options)

    async def packet(self) -> str:
        return await self._peer.next()

    async def arrives(self) -> dict[str, Any]:
        """The next notification at the user's device."""
        name, (notification, self.cursor) = event(await self._peer.next())
        assert name == "notification.new"
        return dict(notification)

    async def nothing_happened(self) -> None:
        """Nothing has been stored or delivered since the last notification that arrived."""
        before = offset(self.cursor)
        status, answer, _ = await self.send({**TO_42, "type": "marker"})
        assert status == 201
        assert (await self.arrives())["id"] == answer["id"]
        assert offset(self.cursor) == before + 1


def offset(cursor: str) -> int:
    return int(cursor.rpartition(":")[2])


def refused(answer: tuple[int, Any, dict[str, str]], status: int, code: str) -> dict[str, Any]:
    """The problem object of a refusal, which has to look as RFC 9457 says."""
    assert answer[0] == status, answer
    problem = answer[1]
    assert answer[2]["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    return dict(problem)


@asynccontextmanager
async def publishing(**settings: Any) -> AsyncIterator[Backend]:
    async with serving(**{"api": KEYS, **settings}) as server, listening(server) as backend:
        yield backend


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[Backend]:
    async with http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        _, cursor = await connected(peer, token("42"))
        yield Backend(session, server, peer, cursor)


@pytest.mark.gen_test
async def test_one_notification() -> None:
    async with publishing() as backend:
        status, answer, headers = await backend.send(
            {**TO_42, "title": "A", "body": "B", "data": {"c": [1, None]}, "id": "x-1", "expires_at": None}
        )
        assert status == 201
        assert headers["Content-Type"] == JSON
        notification = await backend.arrives()
        assert answer == {"id": "x-1", "cursor": backend.cursor, "duplicate": False}
        created_at = notification.pop("created_at")
        assert created_at.endswith("Z")
        assert notification == {
            "id": "x-1",
            "type": "mission.assigned",
            "title": "A",
            "body": "B",
            "data": {"c": [1, None]},
            "expires_at": None,
            "audience": "user",
            "read_at": None,
            "seen_at": None,
            "archived_at": None,
        }


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("to", "audience"),
    [
        ({"user": "42"}, "user"),
        ({"users": ["1", "42", "42"]}, "user"),
        ({"role": "freelance"}, "role"),
        ({"everyone": True}, "everyone"),
        ({"users": ["42", *(str(number) for number in range(1000, 10_999))]}, "user"),
    ],
    ids=["user", "users", "role", "everyone", "10000 users"],
)
async def test_recipients_are_told_the_kind_of_audience_and_no_names(to: dict[str, Any], audience: str) -> None:
    async with publishing() as backend:
        for others in ({"user": "43"}, {"users": ["43", "44"]}, {"role": "company"}):
            assert (await backend.send({**TO_42, "to": others}))[0] == 201
        assert (await backend.send({**TO_42, "to": to, "id": "mine"}))[0] == 201
        notification = await backend.arrives()
        assert (notification["id"], notification["audience"]) == ("mine", audience)
        assert "to" not in notification


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "data",
    [
        '{"f":1.0,"e":1e2,"E":1E+2,"n":-0.0,"big":123456789012345678901234567890,"tiny":1e-400,"p":0.1000}',
        '{"z":1,"a":2,"m":{"y":[],"b":{}}}',
        '{"ü":"é😀","escaped":"\\u00e9\\ud83d\\ude00\\/\\n","nul":"\\u0000","sep":"\\u2028"}',
        '{ "white" : [ 1 ,\t2 ] ,\r\n "space":true }',
        "{}",
    ],
)
async def test_data_arrives_byte_for_byte(data: str) -> None:
    async with publishing() as backend:
        body = '{"type":"t","data":%s,"to":{"user":"42"}}' % data  # noqa: UP031 (braces)
        assert (await backend.send(body.encode()))[0] == 201
        assert f'"data":{data},' in await backend.packet()


@pytest.mark.gen_test
async def test_the_same_id_again_is_a_duplicate_and_other_content_a_conflict() -> None:
    async with publishing() as backend:
        body = {**TO_42, "id": "x-1", "data": {"a": 1, "b": 2}}
        _, first, _ = await backend.send(body)
        await backend.arrives()
        for same in (body, {"data": {"b": 2, "a": 1}, **{k: v for k, v in body.items() if k != "data"}}):
            assert (await backend.send(same))[:2] == (201, {**first, "duplicate": True})
        for other in ({"title": "x"}, {"to": {"user": "43"}}, {"data": {"a": 1}}, {"type": "other"}):
            problem = refused(await backend.send({**body, **other}), 409, "conflict")
            assert "x-1" in problem["detail"]
            assert problem["retryable"] is False
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_fifty_retries_at_once_are_stored_once() -> None:
    async with publishing() as backend:
        answers = await asyncio.gather(*(backend.send({**TO_42, "id": "x-1"}) for _ in range(50)))
        assert {status for status, _, _ in answers} == {201}
        assert sorted(answer["duplicate"] for _, answer, _ in answers) == [False, *[True] * 49]
        assert (await backend.arrives())["id"] == "x-1"
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_an_idempotency_key_makes_a_retry_safe_without_an_id() -> None:
    async with publishing() as backend:
        _, first, _ = await backend.send(TO_42, Idempotency_Key="order 7")
        notification = await backend.arrives()
        assert notification["id"] == first["id"]
        assert "order 7" not in json.dumps(notification)
        assert (await backend.send(TO_42, Idempotency_Key="order 7"))[1] == {**first, "duplicate": True}
        refused(await backend.send({**TO_42, "title": "other"}, Idempotency_Key="order 7"), 409, "conflict")
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_idempotency_keys_of_two_callers_do_not_meet() -> None:
    async with publishing() as backend:
        ids = []
        for key in (API_KEY, OTHER_KEY):
            _, answer, _ = await backend.send(TO_42, key=key, Idempotency_Key="1")
            assert answer["duplicate"] is False
            ids.append((await backend.arrives())["id"])
        assert len(set(ids)) == 2


@pytest.mark.gen_test
@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", ["a", "b"], ["a", "a"]])
async def test_what_is_no_idempotency_key(key: str | list[str]) -> None:
    async with publishing() as backend:
        problem = refused(await backend.send(TO_42, Idempotency_Key=key), 400, "invalid_argument")
        assert problem["detail"].startswith("Idempotency-Key: ")
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_idempotency_keys_are_compared_by_their_octets() -> None:
    """Keys in UTF-8, in anything else, and such as differ only in an octet that is white space somewhere."""
    keys = [bytes([octet]) for octet in range(0x80, 0x100)]
    keys += [b"a" + key for key in keys] + [key + b"a" for key in keys]
    keys += [
        "Bestellung ü".encode(),
        "Bestellung ü".encode("latin-1"),
        "注文７".encode(),
        "\u00e0".encode(),
        b"a b",
        b"!",
    ]
    keys += ["\U0001f600".encode() * 63, b"\xff" * 255]
    async with publishing() as backend:
        parts = urlsplit(backend.server.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        body = json.dumps({"to": {"user": "nobody"}, "type": "t"}).encode()

        async def publish(key: bytes) -> tuple[int, dict[str, Any]]:
            writer.write(
                b"POST /v1/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % API_KEY.encode()
                + b"Content-Type: application/json\r\nIdempotency-Key: %s\r\n" % key
                + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            return int(head.split()[1]), json.loads(await reader.readexactly(int(length.split(b":")[1])))

        first = {key: await publish(key) for key in keys}
        assert {status for status, _ in first.values()} == {201}
        assert not any(answer["duplicate"] for _, answer in first.values())
        assert len({answer["id"] for _, answer in first.values()}) == len(set(keys))
        for key, (_, answer) in first.items():
            assert await publish(key) == (201, {**answer, "duplicate": True})
        for key in (b"\xff" * 256, b"a\tb"):
            status, problem = await publish(key)
            assert (status, problem["code"]) == (400, "invalid_argument")
            assert "octets" in problem["detail"]
        writer.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("media_type", [JSON, NDJSON, "Application/X-NDJSON; charset=utf-8"])
async def test_a_batch_arrives_in_its_order(media_type: str) -> None:
    async with publishing() as backend:
        items = [{**TO_42, "id": f"x-{number}", "data": {"n": number}} for number in range(3)]
        await backend.send(items[1])
        await backend.arrives()
        if media_type == JSON:
            body = json.dumps(items).encode()
        else:
            body = b"\n".join([b"", *(json.dumps(item).encode() + b"\r" for item in items), b" "])
        status, answer, _ = await backend.batch(body, media_type=media_type)
        assert status == 200
        assert (answer["accepted"], answer["duplicates"]) == (2, 1)
        assert [(result["id"], result["duplicate"]) for result in answer["results"]] == [
            ("x-0", False),
            ("x-1", True),
            ("x-2", False),
        ]
        for result in (answer["results"][0], answer["results"][2]):
            assert (await backend.arrives())["id"] == result["id"]
            assert backend.cursor == result["cursor"]
        again = (await backend.batch(body, media_type=media_type))[1]
        assert (again["accepted"], again["duplicates"]) == (0, 3)
        assert [result["cursor"] for result in again["results"]] == [result["cursor"] for result in answer["results"]]
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_a_batch_is_made_safe_by_one_idempotency_key() -> None:
    async with publishing() as backend:
        batch = [TO_42, TO_42, {**TO_42, "title": "x"}]
        _, first, _ = await backend.batch(batch, Idempotency_Key="b")
        assert first["accepted"] == 3
        for _ in batch:
            await backend.arrives()
        _, again, _ = await backend.batch(batch, Idempotency_Key="b")
        assert (again["accepted"], again["duplicates"]) == (0, 3)
        assert [result["id"] for result in again["results"]] == [result["id"] for result in first["results"]]
        await backend.nothing_happened()


GOOD = {**TO_42, "id": "good"}


@pytest.mark.gen_test
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
@pytest.mark.parametrize(
    ("bad", "status", "code", "says"),
    [
        ({"to": {"user": "42"}}, 422, "invalid_notification", "[2].type"),
        ({**TO_42, "to": {"users": ["1", 2]}}, 422, "invalid_notification", "[2].to.users[1]"),
        ({**TO_42, "id": "no spaces"}, 422, "invalid_notification", "[2].id"),
        ({**TO_42, "topic": "x"}, 422, "invalid_notification", "[2].topic"),
        (7, 422, "invalid_notification", "[2]"),
        ({**TO_42, "body": "x" * 65_536}, 413, "too_large", "[2]"),
        ({**GOOD, "title": "other"}, 409, "conflict", "[2]: good"),
        ({**TO_42, "id": "stored", "title": "other"}, 409, "conflict", "[2]: stored"),
    ],
    ids=str,
)
async def test_one_bad_item_keeps_the_whole_batch_out_and_is_named(
    media_type: str, bad: object, status: int, code: str, says: str
) -> None:
    async with publishing() as backend:
        await backend.send({**TO_42, "id": "stored"})
        await backend.arrives()
        items = [GOOD, {**TO_42, "id": "good-2"}, bad, {**TO_42, "id": "good-3"}]
        body = json.dumps(items) if media_type == JSON else "\n".join(json.dumps(item) for item in items)
        problem = refused(await backend.batch(body.encode(), media_type=media_type), status, code)
        if status == 422:
            assert [error["path"] for error in problem["errors"]] == [says]
        else:
            assert problem["detail"].startswith(says)
        await backend.nothing_happened()
        for item in items[:2]:
            assert (await backend.send(item))[1]["duplicate"] is False


@pytest.mark.gen_test
async def test_a_line_that_is_no_json_is_named() -> None:
    async with publishing() as backend:
        good = json.dumps(GOOD).encode()
        for bad in (b"{", b'{"title":"\\ud800"}', b"[" * 50_000, b"\xff"):
            body = b"\n".join([good, bad, good])
            problem = refused(await backend.batch(body, media_type=NDJSON), 400, "invalid_json")
            assert problem["detail"].startswith("[1]: ")
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
async def test_every_bad_item_of_a_batch_is_named(media_type: str) -> None:
    def batch(*items: object) -> bytes:
        texts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        return b"[%s]" % b",".join(texts) if media_type == JSON else b"\n".join(texts)

    large = {**TO_42, "body": "x" * 65_536}
    twice = b'{"to":{"user":"42"},"type":"t","\\u0074o":{"everyone":true}}'
    huge = b'{"to":{"user":"42"},"type":"t","data":{"a":1e999}}'
    async with publishing() as backend:
        body = batch({"to": {"user": 1}}, GOOD, large, twice, 7)
        problem = refused(await backend.batch(body, media_type=media_type), 422, "invalid_notification")
        paths = ["[0].to.user", "[0].type", "[2]", "[3].to", "[4]"]
        assert [error["path"] for error in problem["errors"]] == paths
        assert problem["errors_total"] == 5
        body = batch(GOOD, large, GOOD, large)
        problem = refused(await backend.batch(body, media_type=media_type), 413, "too_large")
        assert [error["path"] for error in problem["errors"]] == ["[1]", "[3]"]
        # That it is no JSON comes first, and all the others are named with it.
        body = batch(large, huge, {}, huge)
        problem = refused(await backend.batch(body, media_type=media_type), 400, "invalid_json")
        assert [error["path"] for error in problem["errors"]] == ["[0]", "[1]", "[2].to", "[2].type", "[3]"]
        assert problem["detail"].startswith("[1]: ")
        body = batch({**GOOD, "id": "a"}, {**GOOD, "id": "a", "title": "x"}, GOOD, {**GOOD, "title": "x"})
        problem = refused(await backend.batch(body, media_type=media_type), 409, "conflict")
        assert [error["path"] for error in problem["errors"]] == ["[1]", "[3]"]
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
async def test_of_ten_thousand_bad_items_a_hundred_are_named(media_type: str) -> None:
    async with publishing() as backend:
        items = [b"{}"] * 10_000
        body = b"[%s]" % b",".join(items) if media_type == JSON else b"\n".join(items)
        answer = await backend.batch(body, media_type=media_type)
        problem = refused(answer, 422, "invalid_notification")
        assert [error["path"] for error in problem["errors"]] == [f"[{number}].to" for number in range(100)]
        assert problem["errors_total"] == 20_000
        assert problem["detail"].endswith("; and 19995 more")
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_a_member_that_is_given_twice_is_refused_and_named() -> None:
    async with publishing() as backend:
        for name in ("to", "\\u0074o"):
            body = b'{"to":{"user":"7"},"type":"t","%s":{"everyone":true}}' % name.encode()
            problem = refused(await backend.send(body), 422, "invalid_notification")
            assert problem["errors"] == [{"path": "to", "message": "is given more than once"}]
            problem = refused(await backend.batch(b"[%s]" % body), 422, "invalid_notification")
            assert [error["path"] for error in problem["errors"]] == ["[0].to"]
        body = b'{"to":{"user":"42"},"type":"t","data":{"url":"/a","url":"/b"}}'
        assert refused(await backend.send(body), 422, "invalid_notification")["errors"][0]["path"] == "data.url"
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["", "/batch"])
async def test_a_compressed_body_is_refused_as_such(path: str) -> None:
    async with publishing() as backend:
        body = json.dumps([TO_42] if path else TO_42).encode()
        for coding in ("gzip", "GZIP", "br", "deflate", "zstd", "x-unknown", "identity, gzip", "gzip,"):
            answer = await send_octets(backend, path, gzip.compress(body), f"Content-Encoding: {coding}")
            assert "must not be compressed" in refused(answer, 415, "unsupported_media_type")["detail"]
            assert answer[2]["Accept-Encoding"] == "identity"
        await backend.nothing_happened()
        for number, coding in enumerate(("identity", " Identity ", "", "identity, identity")):
            status, _, _ = await send_octets(backend, path, body, f"Content-Encoding: {coding}")
            assert status == (200 if path else 201), number
            await backend.arrives()


async def send_octets(backend: Backend, path: str, body: bytes, *lines: str) -> tuple[int, Any, dict[str, str]]:
    """What ``Backend.send`` gives, with header lines as they are: the client library has views of its own on some."""
    parts = urlsplit(backend.server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    fields = ["Host: x", f"Authorization: Bearer {API_KEY}", f"Content-Type: {JSON}", f"Content-Length: {len(body)}"]
    start = f"POST /v1/notifications{path} HTTP/1.1"
    writer.write("\r\n".join([start, *fields, *lines, "Connection: close", "", ""]).encode() + body)
    async with asyncio.timeout(10):
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *given = head.decode().split("\r\n")
    return int(first.split()[1]), json.loads(rest), dict(line.split(": ", 1) for line in given)


@pytest.mark.gen_test
async def test_every_bad_field_of_an_item_is_named_with_its_path() -> None:
    async with publishing() as backend:
        bad = {"to": {"user": 1}, "type": 1, "title": 1, "body": [], "data": [], "id": 1, "expires_at": "soon", "x": 1}
        problem = refused(await backend.send(bad), 422, "invalid_notification")
        names = {"to.user", "type", "title", "body", "data", "id", "expires_at", "x"}
        assert {error["path"] for error in problem["errors"]} == names
        assert all(error["message"] for error in problem["errors"])
        problem = refused(await backend.send({"type": "", "id": "", "to": {"user": ""}}), 422, "invalid_notification")
        assert {error["path"] for error in problem["errors"]} == {"type", "id", "to.user"}
        problem = refused(await backend.send([]), 422, "invalid_notification")
        assert [error["path"] for error in problem["errors"]] == ["body"]
        no_arrays: list[object] = [7, "x", None, {}]
        for item in no_arrays:
            assert refused(await backend.batch(item), 422, "invalid_notification")["errors"][0]["path"]
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "to",
    [
        {},
        None,
        "42",
        {"user": "42", "role": "freelance"},
        {"users": []},
        {"users": "42"},
        {"everyone": False},
        {"everyone": 1},
        {"group": "x"},
        {"topic": ""},
        {"any_of": []},
        {"any_of": [{"user": "42"}]},
        {"all_of": []},
        {"all_of": [{"user": "42"}]},
        {"all_of": [{"any_of": [{"role": "company"}]}]},
        {"user": "a\nb"},
        {"role": "x" * 129},
        {"users": [str(number) for number in range(10_001)]},
    ],
    ids=lambda to: str(to)[:40],
)
async def test_what_is_no_audience(to: object) -> None:
    async with publishing() as backend:
        problem = refused(await backend.send({**TO_42, "to": to}), 422, "invalid_notification")
        assert all(error["path"].startswith("to") for error in problem["errors"])
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["", "/batch"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"'", b"\xff", b'{"to":"\xff"}', b"[" * 100_000, b'{"to":' * 50_000, b"[1,]", b"NaN", b"{} {}"],
    ids=lambda body: repr(body)[:20],
)
async def test_what_is_no_json(path: str, body: bytes) -> None:
    async with publishing() as backend:
        problem = refused(await backend.send(body, path), 400, "invalid_json")
        assert problem["detail"]
        await backend.nothing_happened()


@pytest.mark.gen_test(timeout=60)
async def test_a_batch_of_ten_thousand_and_not_one_more() -> None:
    async with publishing() as backend:
        batch = [TO_42] * 10_000
        for media_type, body in (
            (JSON, json.dumps([*batch, TO_42]).encode()),
            (NDJSON, b"\n".join([json.dumps(TO_42).encode()] * 10_001)),
            (JSON, b"[]"),
            (NDJSON, b"\n \n"),
        ):
            problem = refused(await backend.batch(body, media_type=media_type), 422, "invalid_notification")
            assert "1 to 10000" in problem["errors"][0]["message"]
        await backend.nothing_happened()
        status, answer, _ = await backend.batch(batch)
        assert (status, answer["accepted"], len(answer["results"])) == (200, 10_000, 10_000)
        assert [(await backend.arrives())["id"] for _ in batch] == [result["id"] for result in answer["results"]]


@pytest.mark.gen_test
async def test_a_notification_that_has_expired_is_accepted_and_not_delivered() -> None:
    async with publishing() as backend:
        status, answer, _ = await backend.send({**TO_42, "expires_at": "2020-01-31T12:00:00Z"})
        assert (status, answer["duplicate"]) == (201, False)
        before = offset(backend.cursor)
        await backend.send({**TO_42, "id": "next", "expires_at": "2099-01-31T13:00:00+01:00"})
        notification = await backend.arrives()
        assert (notification["id"], notification["expires_at"]) == ("next", "2099-01-31T12:00:00.000Z")
        assert offset(backend.cursor) == before + 2


@pytest.mark.gen_test
async def test_racing_publishers_are_heard_in_the_order_of_their_positions() -> None:
    async with publishing() as backend:
        singles = [backend.send({**TO_42, "id": f"s-{number}"}) for number in range(100)]
        batches = [backend.batch([{**TO_42, "id": f"b-{n}-{i}"} for i in range(20)]) for n in range(5)]
        cursors: dict[str, str] = {}
        for _, answer, _ in await asyncio.gather(*singles, *batches):
            for result in answer.get("results", [answer]):
                cursors[result["cursor"]] = result["id"]
        heard = {}
        for _ in range(200):
            notification = await backend.arrives()
            heard[backend.cursor] = notification["id"]
        assert list(heard) == sorted(heard, key=offset)
        assert heard == cursors


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["", "/batch"])
async def test_who_does_not_say_who_they_are(path: str) -> None:
    async with publishing() as backend:
        for authorization in (None, f"Basic {API_KEY}", API_KEY, "Bearer", "Bearer "):
            headers = {"Authorization": authorization} if authorization is not None else {}
            answer = await backend.send([TO_42], path, key=None, **headers)
            refused(answer, 401, "unauthenticated")
            assert answer[2]["WWW-Authenticate"] == 'Bearer realm="synkrone-socket"'
        await backend.nothing_happened()


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["", "/batch"])
async def test_credentials_that_are_not_known(path: str) -> None:
    async with publishing() as backend:
        for key in ("x" * 40, API_KEY + "x", API_KEY[:-1], "a.b.c", token("42"), token("42", scope="publish")):
            answer = await backend.send([TO_42], path, key=key)
            refused(answer, 401, "unauthenticated")
            assert answer[1]["detail"] == (
                "the credential is not known: this needs an API key, or the token of a service, and not of a user"
            )
            assert answer[2]["WWW-Authenticate"] == 'Bearer realm="synkrone-socket", error="invalid_token"'
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_a_key_without_the_scope() -> None:
    async with publishing() as backend:
        for path in ("", "/batch"):
            answer = await backend.send([TO_42], path, key=READER_KEY)
            assert "publish" in refused(answer, 403, "forbidden")["detail"]
            assert answer[2]["WWW-Authenticate"] == (
                'Bearer realm="synkrone-socket", error="insufficient_scope", scope="publish"'
            )
        assert (await backend.send(TO_42, Authorization=f"bearer  {OTHER_KEY}"))[0] == 201
        await backend.arrives()
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_without_any_key_the_routes_are_closed() -> None:
    async with serving(api={}) as server, listening(server) as backend:
        answer = await backend.send(TO_42)
        refused(answer, 403, "forbidden")
        assert answer[2]["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.gen_test
async def test_other_methods_and_other_paths() -> None:
    async with publishing() as backend:
        for path in ("", "/batch"):
            for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
                answer = await backend.send(b"", path, method=method, media_type=None)
                refused(answer, 405, "method_not_allowed")
                assert answer[2]["Allow"] == "POST"
        async with backend.session.post(f"{backend.server.url}/health/live") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        for path in ("/", "/batch/x", "s", "/../../etc/passwd"):
            refused(await backend.send(TO_42, path), 404, "not_found")
        await backend.nothing_happened()


@pytest.mark.gen_test
async def test_media_types() -> None:
    async with publishing() as backend:
        for media_type in (None, "text/plain", "application/x-www-form-urlencoded", NDJSON):
            problem = refused(await backend.send(TO_42, media_type=media_type), 415, "unsupported_media_type")
            assert JSON in problem["detail"]
        refused(await backend.batch([TO_42], media_type="text/csv"), 415, "unsupported_media_type")
        assert (await backend.send(TO_42, media_type="Application/JSON;charset=utf-8"))[0] == 201
        await backend.arrives()
        await backend.nothing_happened()


class FailingInbox(MemoryStore):
    """A store that can be lost and found."""

    lost = False

    async def append(
        self, batch: Sequence[Draft], *, checkpoint: Checkpoint | None = None, all_or_nothing: bool = False
    ) -> Sequence[Appended]:
        if self.lost:
            raise StoreUnavailable
        return await super().append(batch, checkpoint=checkpoint, all_or_nothing=all_or_nothing)

    async def ensure_writable(self) -> None:
        if self.lost:
            raise StoreUnavailable


async def ready(backend: Backend) -> tuple[int, Any]:
    async with backend.session.get(f"{backend.server.url}/health/ready") as answer:
        return answer.status, await answer.json()


@pytest.mark.gen_test
async def test_a_store_that_is_down_and_comes_back() -> None:
    inbox = FailingInbox(clock=SystemClock())
    server = open_server(validate_settings({"port": 0, "auth": {"secret": SECRET}, "api": KEYS, "store": "memory://"}))
    server.container.store.override(inbox)
    server.container.reset_singletons()
    async with server.running(), listening(server) as backend:
        assert await ready(backend) == (200, {"status": "ready"})
        inbox.lost = True
        for path in ("", "/batch"):
            body = [{**TO_42, "id": "x"}] if path else {**TO_42, "id": "x"}
            answer = await backend.send(body, path)
            assert refused(answer, 503, "store_unavailable")["retryable"] is True
            assert int(answer[2]["Retry-After"]) > 0
        assert await ready(backend) == (503, {"status": "not ready", "failures": {"store": "store_unavailable"}})
        async with backend.session.get(f"{server.url}/health/live") as response:
            assert (response.status, await response.json()) == (200, {"status": "live"})
        inbox.lost = False
        await backend.nothing_happened()
        assert (await backend.send({**TO_42, "id": "x"}))[1]["duplicate"] is False
        assert (await ready(backend))[0] == 200


@pytest.mark.gen_test
async def test_while_draining_nothing_is_taken_and_the_server_is_not_ready() -> None:
    async with publishing() as backend:
        # A connection of before: new ones are not accepted any more.
        assert (await backend.send(TO_42))[0] == 201
        await backend.arrives()
        await backend.server.drain()
        answer = await backend.send({**TO_42, "id": "late"})
        refused(answer, 503, "shutting_down")
        assert int(answer[2]["Retry-After"]) > 0
        status, body = await ready(backend)
        assert status == 503
        assert body["failures"]["server"] == "shutting_down"


@pytest.mark.gen_test
async def test_no_answer_names_the_software_or_may_be_cached() -> None:
    async with publishing() as backend:
        for answer in (await backend.send(TO_42), await backend.send(TO_42, "/nowhere"), await backend.send(b"{")):
            assert "Server" not in answer[2]
            assert answer[2]["Cache-Control"] == "no-store"
