"""What clients ask for over a connection, and what they are answered: every event, well-formed or not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from domain.errors import StoreUnavailable
from entrypoints.server import Server
from tests.engine_io import (
    SEPARATOR,
    Asking,
    Peer,
    PollingPeer,
    WebSocketPeer,
    acknowledged,
    connected,
    event,
    http_session,
    until_closed,
)
from tests.serving import publish, serving, token

BOTH = pytest.mark.parametrize("peer_class", [WebSocketPeer, PollingPeer])
PLENTY = {"events_per_second": 1_000_000, "events_burst": 10_000}
MARKS = ["read", "unread", "seen", "archive", "unarchive", "delete"]
UP_TO_SECONDS = 5.0


class House:
    """A server and its backend; ``connect`` brings the clients."""

    def __init__(self, session: aiohttp.ClientSession, server: Server, peer_class: Any) -> None:
        self.session = session
        self.server = server
        self._peer_class = peer_class

    async def open(self) -> Peer:
        peer: Peer = await self._peer_class.open(self.session, self.server.url)
        return peer

    async def connect(self, user: str = "42", role: str = "freelance", **auth: object) -> Asking:
        peer = await self.open()
        await connected(peer, token(user, role), **auth)
        return Asking(peer)

    async def publish(self, *ids: str, to: Mapping[str, object] | None = None, **members: object) -> list[str]:
        """One after the other; their cursors."""
        cursors = []
        for identifier in ids:
            body = {"to": to or {"user": "42"}, "type": "t", "id": identifier, **members}
            status, answer = await publish(self.session, self.server.url, body)
            assert status == 201
            cursors.append(answer["cursor"])
        return cursors


@asynccontextmanager
async def house(peer_class: Any = WebSocketPeer, **settings: Any) -> AsyncIterator[House]:
    async with serving(**settings) as server, http_session() as session:
        yield House(session, server, peer_class)


def counts(answer: Mapping[str, Any]) -> tuple[int, int, int]:
    return answer["counts"]["unread"], answer["counts"]["unseen"], answer["counts"]["total"]


def ids(answer: Mapping[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def failed(answer: Mapping[str, Any], code: str, *, retryable: bool = False) -> dict[str, Any]:
    """The problem of an answer that says no."""
    assert list(answer) == ["ok", "error"], answer
    assert answer["ok"] is False
    problem: dict[str, Any] = answer["error"]
    assert (problem["code"], problem["retryable"]) == (code, retryable)
    assert problem["title"]
    return problem


def offset(cursor: str) -> int:
    return int(cursor.rpartition(":")[2])


# every event, as it is meant


@BOTH
@pytest.mark.gen_test
async def test_listing_and_counting(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        empty = await client.ask("inbox.list", {})
        assert empty == {"ok": True, "items": [], "next": None, "counts": empty["counts"], "as_of": empty["as_of"]}
        assert counts(empty) == (0, 0, 0)
        cursors = await it.publish("n-1", "n-2", "n-3")
        sent = [await client.hear("notification.new") for _ in range(3)]
        assert [cursor for _, cursor in sent] == cursors
        listed = await client.ask("inbox.list", {"limit": 2})
        assert listed["items"] == [sent[2][0], sent[1][0]]
        assert (listed["as_of"], counts(listed)) == (cursors[-1], (3, 3, 3))
        rest = await client.ask("inbox.list", {"limit": 2, "page": listed["next"]})
        assert (ids(rest), rest["next"]) == (["n-1"], None)
        counted = await client.ask("inbox.count", {})
        assert counted == {"ok": True, "counts": listed["counts"], "as_of": cursors[-1]}


CHANGES = [
    ("read", ["n-1"], {"read_at", "seen_at"}, (1, 1, 2)),
    ("seen", ["n-2"], {"seen_at"}, (2, 1, 2)),
    ("archive", ["n-1", "n-2"], {"archived_at"}, (0, 0, 0)),
]


@pytest.mark.parametrize(("action", "which", "times", "left"), CHANGES)
@BOTH
@pytest.mark.gen_test
async def test_a_mark_is_heard_by_every_device_and_is_in_the_list(
    peer_class: Any, action: str, which: list[str], times: set[str], left: tuple[int, int, int]
) -> None:
    async with house(peer_class) as it:
        client, other = await it.connect(), await it.connect()
        await it.publish("n-1", "n-2")
        for device in (client, other):
            for _ in range(2):
                await device.hear("notification.new")
        answer = await client.ask(f"notification.{action}", {"ids": which})
        assert answer == {
            "ok": True,
            "changed": len(which),
            "counts": answer["counts"],
            "as_of": answer["as_of"],
        }
        assert counts(answer) == left
        # The asking device has heard of it before the answer.
        ((name, arguments),) = client.heard
        assert (name, arguments) == ("notification.updated", await other.hear("notification.updated"))
        updated, cursor = arguments
        assert (updated, cursor) == ({"ids": updated["ids"], "change": updated["change"]}, answer["as_of"])
        assert sorted(updated["ids"]) == which
        assert set(updated["change"]) == times
        listed = await client.ask("inbox.list", {"state": "all"})
        for item in listed["items"]:
            state = {name: item[name] for name in ("read_at", "seen_at", "archived_at") if item[name] is not None}
            assert state == (updated["change"] if item["id"] in which else {})


@BOTH
@pytest.mark.gen_test
async def test_marks_are_taken_back(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        await it.publish("n-1")
        await client.hear("notification.new")
        for action, undo, time in (("read", "unread", "read_at"), ("archive", "unarchive", "archived_at")):
            await client.ask(f"notification.{action}", {"ids": ["n-1"]})
            answer = await client.ask(f"notification.{undo}", {"ids": ["n-1"]})
            assert answer["changed"] == 1
            _, (name, (updated, cursor)) = client.heard
            assert (name, cursor) == ("notification.updated", answer["as_of"])
            assert updated == {"ids": ["n-1"], "change": {time: None}}
            client.heard.clear()
        (item,) = (await client.ask("inbox.list", {}))["items"]
        assert (item["read_at"], item["archived_at"]) == (None, None)
        assert item["seen_at"] is not None


@BOTH
@pytest.mark.gen_test
async def test_what_is_deleted_is_gone_everywhere(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client, other = await it.connect(), await it.connect()
        await it.publish("n-1", "n-2")
        for device in (client, other):
            for _ in range(2):
                await device.hear("notification.new")
        answer = await client.ask("notification.delete", {"ids": ["n-1", "n-1", "unknown"]})
        assert (answer["changed"], counts(answer)) == (1, (1, 1, 1))
        assert client.heard == [("notification.deleted", [{"ids": ["n-1"]}, answer["as_of"]])]
        assert await other.hear("notification.deleted") == [{"ids": ["n-1"]}, answer["as_of"]]
        assert ids(await client.ask("inbox.list", {"state": "all"})) == ["n-2"]
        again = await client.ask("notification.delete", {"ids": ["n-1"]})
        assert (again["changed"], again["as_of"]) == (0, answer["as_of"])


@BOTH
@pytest.mark.gen_test
async def test_reading_all_is_one_event_and_with_a_cursor_names_which(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        cursors = await it.publish("n-1", "n-2", "n-3")
        for _ in cursors:
            await client.hear("notification.new")
        answer = await client.ask("notification.read_all", {"up_to": cursors[1]})
        assert (answer["changed"], counts(answer)) == (2, (1, 1, 3))
        ((name, (updated, cursor)),) = client.heard
        assert (name, sorted(updated["ids"]), cursor) == ("notification.updated", ["n-1", "n-2"], answer["as_of"])
        client.heard.clear()
        every: list[list[object]] = [[{}], [None], []]
        for number, arguments in enumerate(every):
            await it.publish(f"more-{number}")
            await client.hear("notification.new")
            answer = await client.ask("notification.read_all", *arguments)
            assert counts(answer)[:2] == (0, 0)
            ((_, (updated, _)),) = client.heard
            assert (updated["all"], set(updated["change"])) == (True, {"read_at", "seen_at"})
            assert "ids" not in updated
            client.heard.clear()


@BOTH
@pytest.mark.gen_test
async def test_refreshing_the_token_keeps_the_connection_past_the_first_one_s_end(peer_class: Any) -> None:
    async with house(peer_class, auth={"secret": "a secret of the tests, long enough for HS256", "leeway": "0s"}) as it:
        peer, left = await it.open(), await it.open()
        for each in (peer, left):
            await connected(each, token("42", ttl=4))
        client = Asking(peer)
        answer = await client.ask("auth.refresh", {"token": token("42", ttl=600)})
        assert list(answer) == ["ok", "expires_at"]
        assert answer["expires_at"].endswith("Z")
        closing = event((await until_closed(left))[-1])[1][0]
        assert closing["code"] == "token_expired"
        assert (await client.ask("inbox.count", {}))["ok"] is True


@BOTH
@pytest.mark.gen_test
async def test_a_token_of_somebody_else_refreshes_nothing(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        for wrong, code, retryable in (
            (token("43"), "identity_mismatch", False),
            (token("42", "company"), "identity_mismatch", False),
            (token("42", ttl=-60), "token_expired", True),
            ("nonsense", "invalid_token", False),
            (token("42", secret="another secret, long enough for HS256"), "invalid_token", False),
        ):
            problem = failed(await client.ask("auth.refresh", {"token": wrong}), code, retryable=retryable)
            assert "detail" not in problem
        await it.publish("for-43", to={"user": "43"})
        await it.publish("for-42")
        assert (await client.hear("notification.new"))[0]["id"] == "for-42"


@BOTH
@pytest.mark.gen_test
async def test_another_user_s_ids_are_as_unknown_ones(peer_class: Any) -> None:
    async with house(peer_class) as it:
        owner, stranger = await it.connect(), await it.connect("43")
        await it.publish("n-1")
        await owner.hear("notification.new")
        for action in MARKS:
            of_another = await stranger.ask(f"notification.{action}", {"ids": ["n-1"]})
            unknown = await stranger.ask(f"notification.{action}", {"ids": ["never-published"]})
            assert of_another == unknown
            assert (of_another["changed"], counts(of_another)) == (0, (0, 0, 0))
        (item,) = (await owner.ask("inbox.list", {"state": "all"}))["items"]
        assert (item["read_at"], item["seen_at"], item["archived_at"]) == (None, None, None)
        assert owner.heard == []


@pytest.mark.gen_test
async def test_a_list_of_large_notifications_is_more_pages_and_cuts_nobody_off() -> None:
    async with house(limits=PLENTY) as it:
        large = [f"n-{number}" for number in range(60)]
        # JSON needs six characters for each of these.
        await it.publish(*large, body="\x01" * 60_000)
        client = await it.connect(cursor=(await it.publish("last"))[0])
        listed: list[str] = []
        page = None
        while page is not None or not listed:
            answer = await client.ask("inbox.list", {"limit": 100, "page": page})
            listed += ids(answer)
            page = answer["next"]
        assert listed == ["last", *reversed(large)]


@pytest.mark.gen_test
async def test_counts_follow_changes_and_the_last_ones_always_come() -> None:
    async with house() as it:
        client = await it.connect()
        client.peer.hears_counts = True
        await it.publish("n-1", "n-2", "n-3")
        await client.ask("notification.read", {"ids": ["n-1"]})
        heard: list[Any] = []
        async with asyncio.timeout(UP_TO_SECONDS):
            while heard != [{"unread": 2, "unseen": 2, "total": 3}]:
                name, arguments = event(await client.peer.next())
                # Not part of the log, and so without a cursor.
                heard = arguments if name == "inbox.counts" else heard


# wrong, missing, over-long and hostile arguments

WRONG: list[tuple[str, str]] = [
    *(
        (f'["notification.read",{argument}]', field)
        for argument, field in (
            ("{}", "ids"),
            ("null", "ids"),
            ("[]", "argument"),
            ('"n-1"', "argument"),
            ("42", "argument"),
            ("true", "argument"),
            ('["n-1"]', "argument"),
            ('{"ids":null}', "ids"),
            ('{"ids":[]}', "ids"),
            ('{"ids":"n-1"}', "ids"),
            ('{"ids":{}}', "ids"),
            ('{"ids":[null]}', "ids[0]"),
            ('{"ids":["n-1",["n-1"]]}', "ids[1]"),
            ('{"ids":[""]}', "ids[0]"),
            ('{"ids":["%s"]}' % ("x" * 129), "ids[0]"),
            ('{"ids":["a\\u0000"]}', "ids[0]"),
            ('{"ids":["\\ud800"]}', "ids[0]"),
            ('{"ids":[%s"x"]}' % ('"x",' * 500), "ids"),
            ('{"ids":["n-1"],"all":true}', "all"),
            ('{"ids":["n-2"],"ids":["n-1"]}', "ids"),
            ('{"ids":["n-2"],"\\u0069ds":["n-1"]}', "ids"),
            ('{"ids":["%s"],"ids":["n-1"]}' % ("x" * 5000), "argument"),
            ('{"ids":["a\\u2028"]}', "ids[0]"),
            ('{"ids":["n-1"],"%s":1}' % ("y" * 300), "y" * 128),
        )
    ),
    *(
        (f'["inbox.list",{argument}]', field)
        for argument, field in (
            ('{"limit":0}', "limit"),
            ('{"limit":101}', "limit"),
            ('{"limit":-1}', "limit"),
            ('{"limit":1.0}', "limit"),
            ('{"limit":1e400}', "limit"),
            ('{"limit":"1"}', "limit"),
            ('{"limit":true}', "limit"),
            ('{"limit":[1]}', "limit"),
            ('{"limit":%s}' % ("9" * 4000), "limit"),
            ('{"page":0}', "page"),
            ('{"page":"0"}', "page"),
            ('{"page":"-1"}', "page"),
            ('{"page":"%s"}' % ("9" * 19), "page"),
            ('{"page":"\\u0661"}', "page"),
            ('{"state":"READ"}', "state"),
            ('{"state":["read"]}', "state"),
            ('{"state":"\\ud800"}', "state"),
            ('{"type":1}', "type"),
            ('{"type":"%s"}' % ("x" * 60_000), "type"),
            ('{"offset":1}', "offset"),
        )
    ),
    *(
        (f'["notification.read_all",{argument}]', "up_to")
        for argument in (
            '{"up_to":1}',
            '{"up_to":""}',
            '{"up_to":"e"}',
            '{"up_to":"unknown:1"}',
            '{"up_to":"e:-1"}',
            '{"up_to":"e:%s"}' % ("9" * 300),
            '{"up_to":"\\ud800:1"}',
        )
    ),
    ('["inbox.count",{"x":1}]', "x"),
    ('["auth.refresh",{}]', "token"),
    ('["auth.refresh",{"token":1}]', "token"),
    ('["auth.refresh",{"token":""}]', "token"),
    ('["auth.refresh",{"token":"%s"}]' % ("x" * 16_385), "token"),
    (f'["inbox.count",{"[" * 200}{"]" * 200}]', "argument"),
    (f'["inbox.list",{{"type":{"[" * 200}{"]" * 200}}}]', "type"),
]


@BOTH
@pytest.mark.gen_test
async def test_a_wrong_argument_is_answered_with_its_name_and_the_connection_stays(peer_class: Any) -> None:
    async with house(peer_class, limits=PLENTY) as it:
        client = await it.connect()
        await it.publish("n-1")
        await client.hear("notification.new")
        for array, field in WRONG:
            problem = failed(await client.ask_raw(array), "invalid_argument")
            assert problem["detail"].startswith(f"{field}: "), (array, problem)
        assert counts(await client.ask("inbox.count", {})) == (1, 1, 1)
        assert client.heard == []


@BOTH
@pytest.mark.gen_test
async def test_half_a_character_as_a_name_is_a_wrong_argument_too(
    peer_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        for name in ("inbox.count", "inbox.list", "notification.read", "notification.read_all", "auth.refresh"):
            failed(await client.ask_raw(f'["{name}",{{"\\ud800":1}}]'), "invalid_argument")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@BOTH
@pytest.mark.gen_test
async def test_an_unknown_event_is_answered_and_the_connection_stays(peer_class: Any) -> None:
    async with house(peer_class, limits=PLENTY) as it:
        client = await it.connect()
        names = [
            "x",
            "",
            " ",
            "notification.new",
            "session.ready",
            "inbox.counts",
            "inbox",
            "Inbox.list",
            "inbox.list ",
        ]
        every: list[list[object]] = [[], [{}], [None, 1, "2"], [{"ids": ["n-1"]}]]
        names += ["notification.", "__init__", "é😀", "x" * 60_000, "*", "message", "error"]
        for name in names:
            for arguments in every:
                failed(await client.ask(name, *arguments), "unknown_event")
        failed(await client.ask_raw('["\\ud800",{}]'), "unknown_event")
        assert (await client.ask("inbox.count", {}))["ok"] is True


@BOTH
@pytest.mark.gen_test
async def test_what_comes_behind_the_argument_is_ignored(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        assert (await client.ask("inbox.count", {}, {"x": 1}, None))["ok"] is True
        assert (await client.ask("inbox.count"))["ok"] is True
        assert (await client.ask("inbox.list"))["ok"] is True
        assert (await client.ask("inbox.list", None))["ok"] is True
        assert (await client.ask("inbox.list", {"limit": None, "page": None, "state": None, "type": None}))[
            "ok"
        ] is True


@BOTH
@pytest.mark.gen_test
async def test_a_megabyte_is_answered_where_it_may_be_sent_at_all(peer_class: Any) -> None:
    async with house(peer_class, limits={"message_bytes": 2_000_000}) as it:
        client = await it.connect()
        megabyte = "x" * 1_000_000
        failed(await client.ask("auth.refresh", {"token": megabyte}), "invalid_argument")
        problem = failed(await client.ask("inbox.list", {megabyte: 1}), "invalid_argument")
        assert len(json.dumps(problem)) < 1000
        failed(await client.ask("notification.read", {"ids": [megabyte]}), "invalid_argument")
        failed(await client.ask(megabyte, {}), "unknown_event")
        assert (await client.ask("inbox.count", {}))["ok"] is True


@BOTH
@pytest.mark.parametrize(
    "array",
    [
        '["inbox.list",{"limit":NaN}]',
        '["inbox.list",{"limit":Infinity}]',
        '["inbox.list",{"limit":%s}]' % ("9" * 5000),
        f'["inbox.list",{"[" * 30_000}{"]" * 30_000}]',
        '["inbox.list",{]',
        '["inbox.list",{"limit":1}',
    ],
    ids=["NaN", "Infinity", "5000 digits", "30000 deep", "broken", "cut off"],
)
@pytest.mark.gen_test
async def test_what_is_no_json_or_too_much_of_it_ends_the_connection_in_silence(
    peer_class: Any, array: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with house(peer_class) as it:
        client = await it.connect()
        await client.peer.send(f"421{array}")
        assert await until_closed(client.peer) == []
    assert caplog.records == []


# when, and how many


@BOTH
@pytest.mark.gen_test
async def test_what_is_asked_before_the_connection_is_ready_is_answered_after_the_replay(peer_class: Any) -> None:
    async with house(peer_class) as it:
        await it.publish("n-1", "n-2")
        peer = await it.open()
        packets = [
            "40" + json.dumps({"token": token("42")}),
            '421["inbox.count",{}]',
            '422["notification.read",{"ids":["n-1"]}]',
            '42["notification.read",{"ids":["n-2"]}]',
            '423["nonsense"]',
            '424["inbox.list",{"state":"read"}]',
        ]
        if peer_class is PollingPeer:
            await peer.send(SEPARATOR.join(packets))
        else:
            for packet in packets:
                await peer.send(packet)
        assert (await peer.next()).startswith("40{")
        assert event(await peer.next())[0] == "session.ready"
        client = Asking(peer)
        replayed = [(await client.hear("notification.new"))[0]["id"] for _ in range(2)]
        assert replayed == ["n-1", "n-2"]
        assert counts(await client.answer_to(1)) == (2, 2, 2)
        assert client.heard == []
        assert (await client.answer_to(2))["changed"] == 1
        failed(await client.answer_to(3), "unknown_event")
        assert [name for name, _ in client.heard] == ["notification.updated"] * 2
        assert ids(await client.answer_to(4)) == ["n-2", "n-1"]


@BOTH
@pytest.mark.gen_test
async def test_who_wants_no_answer_gets_none_and_it_is_done_all_the_same(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        await it.publish("n-1")
        await client.hear("notification.new")
        for packet in ('42["nonsense"]', '42["inbox.count",{}]', '42["notification.read",{}]'):
            await client.peer.send(packet)
        await client.peer.send('42["notification.read",{"ids":["n-1"]}]')
        assert (await client.hear("notification.updated"))[0]["ids"] == ["n-1"]
        assert counts(await client.ask("inbox.count", {})) == (0, 0, 1)


@BOTH
@pytest.mark.gen_test
async def test_acknowledgements_have_whatever_id_the_client_gave(peer_class: Any) -> None:
    async with house(peer_class) as it:
        client = await it.connect()
        for number in (0, 7, 7, 10**30):
            await client.peer.send(f'42{number}["inbox.count",{{}}]')
            assert acknowledged(await client.peer.next())[0] == number


@BOTH
@pytest.mark.gen_test
async def test_a_flood_is_closed_with_the_reason_and_comes_back(peer_class: Any) -> None:
    burst = 10
    async with house(peer_class, limits={"events_per_second": 0.1, "events_burst": burst}) as it:
        client = await it.connect()
        for _ in range(burst):
            assert (await client.ask("inbox.count", {}))["ok"] is True
        await client.peer.send('421["inbox.count",{}]')
        # No answer, and no DISCONNECT, after which the stock client would stay away.
        (closing,) = await until_closed(client.peer)
        name, (problem,) = event(closing)
        assert name == "session.closing"
        assert (problem["code"], problem["retryable"], problem["reconnect"]) == ("rate_limited", True, True)
        assert problem["retry_after_ms"] > 0
        assert (await (await it.connect()).ask("inbox.count", {}))["ok"] is True


TIMES = ("read_at", "seen_at", "archived_at")


class Mirror:
    """The inbox as a client has it that goes by the events alone."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, str | None]] = {}

    def take(self, name: str, content: dict[str, Any]) -> None:
        if name == "notification.new":
            self.items[content["id"]] = {time: content[time] for time in TIMES}
        elif name == "notification.deleted":
            for identifier in content["ids"]:
                del self.items[identifier]
        else:
            assert name == "notification.updated"
            for identifier in self.items if content.get("all") else content["ids"]:
                times = self.items[identifier]
                times |= {time: at for time, at in content["change"].items() if at is None or times[time] is None}

    def current(self) -> list[str]:
        return [identifier for identifier, times in self.items.items() if times["archived_at"] is None]

    def counts(self) -> tuple[int, int, int]:
        current = [self.items[identifier] for identifier in self.current()]
        unread, unseen = (sum(times[time] is None for times in current) for time in ("read_at", "seen_at"))
        return unread, unseen, len(current)


def request_of(number: int) -> tuple[str, dict[str, object]]:
    """All kinds, about what was published at about that time."""
    names: list[object] = [f"n-{number // 2}", f"n-{number // 3}"]
    kinds: list[tuple[str, dict[str, object]]] = [
        ("inbox.count", {}),
        ("notification.read", {"ids": names}),
        ("inbox.list", {"limit": 5}),
        ("notification.delete", {"ids": names[:1]}),
        ("notification.archive", {"ids": names[1:]}),
        ("nonsense", {}),
        ("notification.unarchive", {"ids": names[1:]}),
        ("notification.unread", {"ids": names}),
    ]
    return ("notification.read_all", {}) if number % 50 == 49 else kinds[number % len(kinds)]


@BOTH
@pytest.mark.gen_test(timeout=60)
async def test_hundreds_of_requests_during_hundreds_of_publications_are_in_one_order(peer_class: Any) -> None:
    """Every event up to an answer's ``as_of`` comes before it, and every later one follows it."""
    requests, publications, in_flight = 400, 200, 20
    async with house(peer_class, limits=PLENTY) as it:
        client, other = await it.connect(), await it.connect()
        slots = asyncio.Semaphore(in_flight)

        async def backend() -> None:
            for number in range(publications):
                await it.publish(f"n-{number}", to={"users": ["42", "43"]} if number % 3 else {"role": "freelance"})

        async def another_device() -> None:
            for number in range(publications):
                await other.ask("notification.seen", {"ids": [f"n-{number}"]})

        async def asking() -> None:
            for number in range(requests):
                await slots.acquire()
                await client.peer.send(f"42{number}" + json.dumps(request_of(number)))

        mirror = Mirror()
        last = offset_of_last_event = heard = answered = 0
        running = [asyncio.create_task(work) for work in (backend(), another_device(), asking())]
        while answered < requests or heard < publications:
            packet = await client.peer.next()
            if packet.startswith("42"):
                name, (content, cursor) = event(packet)
                assert offset(cursor) > last, "it was counted in an answer before, or comes out of order"
                last = offset_of_last_event = offset(cursor)
                mirror.take(name, content)
                heard += name == "notification.new"
                continue
            number, answer = acknowledged(packet)
            assert number == answered, "answers come in the order of the requests"
            answered += 1
            slots.release()
            if not answer["ok"]:
                continue
            assert offset(answer["as_of"]) >= offset_of_last_event
            last = offset(answer["as_of"])
            assert counts(answer) == mirror.counts(), "what the answer counts has been heard of, and nothing else"
            if "items" in answer:
                assert ids(answer) == mirror.current()[:-6:-1]
        await asyncio.gather(*running)


# while something is wrong


@BOTH
@pytest.mark.gen_test
async def test_while_the_store_is_down_requests_fail_and_the_connection_stays(
    peer_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_arguments: object, **_options: object) -> object:
        raise StoreUnavailable

    async with house(peer_class, limits=PLENTY) as it:
        client = await it.connect()
        await it.publish("n-1")
        await client.hear("notification.new")
        requests: list[tuple[str, dict[str, object]]] = [("inbox.count", {}), ("inbox.list", {})]
        requests += [(f"notification.{action}", {"ids": ["n-1"]}) for action in MARKS]
        requests.append(("notification.read_all", {}))
        with monkeypatch.context() as patch:
            for name in ("count", "list_items", "change", "read_all"):
                patch.setattr(it.server.container.store(), name, down)
            for name, argument in requests:
                failed(await client.ask(name, argument), "store_unavailable", retryable=True)
        # What needs no store is answered meanwhile, and what was published before the fault and after it arrives.
        await it.publish("n-2")
        assert (await client.hear("notification.new"))[0]["id"] == "n-2"
        assert counts(await client.ask("inbox.count", {})) == (2, 2, 2)
        for name, argument in requests:
            assert (await client.ask(name, argument))["ok"] is True
