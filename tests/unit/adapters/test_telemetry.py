"""What operators see: which lines, with which fields, how many of them, in which format."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from adapters.contract.connect_requests import connect_request
from adapters.telemetry.logging import REASONS_MAX, LoggingTelemetry
from adapters.telemetry.logs import LogFormat, LogLevel, configure_logging
from domain.model import (
    Appended,
    AppendOutcome,
    Audience,
    ConnectionId,
    DisconnectReason,
    Draft,
    Identity,
    Notification,
    Position,
    RecoveryReason,
    UserId,
)
from tests.documents import page
from tests.doubles import START, ManualClock

TOKEN = "pRiVaTe"
HELLO = connect_request({"token": TOKEN}, remote_address="203.0.113.7", transport="websocket")
IDENTITY = Identity(UserId("42"), "freelance", "https://auth.example", START)
CONNECTION = ConnectionId("c-1")
REFUSED = {"level": "warning", "event": "refused"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    names = ["synkrone.audit", "socketio", "engineio", "tornado.access", "tornado.general", "asyncio", "aiohttp"]
    levels = {name: logging.getLogger(name).level for name in names}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def telemetry(stream: io.StringIO, clock: ManualClock) -> LoggingTelemetry:
    configure_logging("info", "json", stream)
    return LoggingTelemetry(clock)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The records, without what every one of them has."""
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", record.pop("timestamp"))
        assert record.pop("logger") == "synkrone"
    return records


def test_the_life_of_a_connection(telemetry: LoggingTelemetry, stream: io.StringIO) -> None:
    telemetry.connected(CONNECTION, IDENTITY, HELLO, "phone", recovered=False, reason=RecoveryReason.TRIMMED)
    telemetry.closing(CONNECTION, IDENTITY, "slow_consumer", None)
    telemetry.disconnected(CONNECTION, IDENTITY, DisconnectReason.TRANSPORT_CLOSE, Position("e", 7))
    telemetry.closing(CONNECTION, None, "connect_timeout", "10 s")
    telemetry.disconnected(CONNECTION, IDENTITY, DisconnectReason.SUPERSEDED, None)
    connection: dict[str, Any] = {"level": "info", "connection": "c-1"}
    assert lines(stream) == [
        {
            **connection,
            "event": "connected",
            "user": "42",
            "role": "freelance",
            "device": "phone",
            "transport": "websocket",
            "address": "203.0.113.7",
            "recovered": False,
            "reason": "trimmed",
        },
        {**connection, "event": "closing", "user": "42", "code": "slow_consumer", "detail": None},
        {**connection, "event": "disconnected", "user": "42", "reason": "transport_close", "received": "e:7"},
        {**connection, "event": "closing", "user": None, "code": "connect_timeout", "detail": "10 s"},
        {**connection, "event": "disconnected", "user": "42", "reason": "superseded", "received": None},
    ]
    assert TOKEN not in stream.getvalue()


def test_refusals_are_one_line_a_second_and_the_rest_is_counted(
    telemetry: LoggingTelemetry, stream: io.StringIO, clock: ManualClock
) -> None:
    for _ in range(1000):
        telemetry.refused(CONNECTION, HELLO, "invalid_token", "the signature is not good")
    clock.advance(0.99)
    telemetry.refused(CONNECTION, HELLO, "invalid_token", "the signature is not good")
    telemetry.refused(CONNECTION, HELLO, "invalid_token", "iss is not a string")
    clock.advance(0.01)
    telemetry.refused(CONNECTION, HELLO, "invalid_token", "the signature is not good")
    clock.advance(1)
    telemetry.refused(CONNECTION, HELLO, "invalid_token", "iss is not a string")
    line = {**REFUSED, "connection": "c-1", "code": "invalid_token", "address": "203.0.113.7", "transport": "websocket"}
    assert lines(stream) == [
        {**line, "reason": "the signature is not good"},
        {**line, "reason": "iss is not a string"},
        {**line, "reason": "the signature is not good", "suppressed_before": 1000},
        {**line, "reason": "iss is not a string"},
    ]
    assert TOKEN not in stream.getvalue()


def test_a_request_that_is_refused_is_logged_with_its_route(telemetry: LoggingTelemetry, stream: io.StringIO) -> None:
    for _ in range(2):
        telemetry.request_refused("203.0.113.7", "GET /v1/inbox", "token_expired", "exp is past")
        telemetry.caller_refused("203.0.113.8", "unauthenticated", "the credential is not known")
    assert lines(stream) == [
        {
            **REFUSED,
            "code": "token_expired",
            "reason": "exp is past",
            "address": "203.0.113.7",
            "route": "GET /v1/inbox",
        },
        {
            **REFUSED,
            "event": "caller refused",
            "code": "unauthenticated",
            "reason": "the credential is not known",
            "address": "203.0.113.8",
        },
    ]


def test_however_many_reasons_there_are_the_lines_and_the_memory_are_bounded_and_all_is_counted(
    telemetry: LoggingTelemetry, stream: io.StringIO, clock: ManualClock
) -> None:
    def other_reasons() -> int:
        (reasons,) = telemetry._repeated.values()
        return len(reasons.known)

    for number in range(10_000):
        telemetry.refused(CONNECTION, HELLO, "invalid_argument", f"ids[{number}]")
    # For those beyond there is one more line a second.
    assert len(lines(stream)) == REASONS_MAX + 1
    assert other_reasons() == REASONS_MAX
    for second in range(3):
        clock.advance(1)
        for _ in range(2):
            for number in range(REASONS_MAX + 5):
                telemetry.refused(CONNECTION, HELLO, "invalid_argument", f"other {second} {number}")
    clock.advance(1)
    for number in range(REASONS_MAX + 5):
        telemetry.refused(CONNECTION, HELLO, "invalid_argument", f"last {number}")
    logged = lines(stream)
    assert len(logged) == 5 * (REASONS_MAX + 1)
    assert other_reasons() == REASONS_MAX
    # But for what is left out since the last line of its kind.
    told = len(logged) + sum(line.get("suppressed_before", 0) for line in logged)
    assert told == 10_000 + 3 * 2 * (REASONS_MAX + 5) + REASONS_MAX + 1


def test_a_reason_that_comes_back_later_is_not_hidden_by_others(
    telemetry: LoggingTelemetry, stream: io.StringIO, clock: ManualClock
) -> None:
    for second in range(3):
        for number in range(REASONS_MAX - 1):
            telemetry.refused(CONNECTION, HELLO, "invalid_token", f"{second} {number}")
        telemetry.refused(CONNECTION, HELLO, "invalid_token", "the issuer is not known here")
        clock.advance(1)
    assert [line["reason"] for line in lines(stream)].count("the issuer is not known here") == 3


def test_one_kind_of_refusal_does_not_hide_another(telemetry: LoggingTelemetry, stream: io.StringIO) -> None:
    for _ in range(2):
        for code in ("invalid_token", "token_expired", "keys_unavailable"):
            telemetry.refused(CONNECTION, HELLO, code, "x")
    assert [line["code"] for line in lines(stream)] == ["invalid_token", "token_expired", "keys_unavailable"]


def test_refused_origins_are_limited_by_the_setting_that_would_allow_them(
    telemetry: LoggingTelemetry, stream: io.StringIO, clock: ManualClock
) -> None:
    def refuse(number: int) -> None:
        for setting in ("cors_origins", "trusted_proxies", None):
            origin = f"https://{number}.example"
            telemetry.origin_refused(
                remote_address="203.0.113.7", origin=origin, own="http://own.example", setting=setting, advice="x"
            )

    refuse(1)
    refuse(2)
    clock.advance(1)
    refuse(3)
    line = {"level": "warning", "event": "origin refused", "own_origin": "http://own.example", "address": "203.0.113.7"}
    settings = ("cors_origins", "trusted_proxies", None)
    first = [{**line, "origin": "https://1.example", "setting": setting, "advice": "x"} for setting in settings]
    third = [{**one, "origin": "https://3.example", "suppressed_before": 1} for one in first]
    assert lines(stream) == first + third


def test_skipped_items_are_limited_by_source(
    telemetry: LoggingTelemetry, stream: io.StringIO, clock: ManualClock
) -> None:
    for number in range(3):
        telemetry.skipped("feed", f"r-{number}", "type: is required")
        telemetry.skipped("other", f"o-{number}", "type: is required")
    clock.advance(1)
    telemetry.skipped("feed", "r-3", "to: is required")
    line = {"level": "warning", "event": "item skipped"}
    assert lines(stream) == [
        {**line, "source": "feed", "resume_id": "r-0", "reason": "type: is required"},
        {**line, "source": "other", "resume_id": "o-0", "reason": "type: is required"},
        {**line, "source": "feed", "resume_id": "r-3", "reason": "to: is required", "suppressed_before": 2},
    ]


def test_the_limit_goes_by_the_monotonic_clock(stream: io.StringIO, clock: ManualClock) -> None:
    configure_logging("info", "json", stream)
    telemetry = LoggingTelemetry(clock, seconds_between=60)
    for seconds in (0, 59, 1):
        clock.advance(seconds)
        clock.jump(START - clock.now())
        telemetry.refused(CONNECTION, HELLO, "invalid_token", "x")
    assert [line.get("suppressed_before") for line in lines(stream)] == [None, 1]


@pytest.mark.parametrize(
    ("log_format", "terminal", "is_json"),
    [("auto", False, True), ("auto", True, False), ("json", True, True), ("text", False, False)],
)
def test_formats(log_format: LogFormat, terminal: bool, is_json: bool) -> None:  # noqa: FBT001 (columns of the table)
    stream = Terminal() if terminal else io.StringIO()
    configure_logging("info", log_format, stream)
    logging.getLogger("synkrone").info("connected", extra={"user": "42"})
    assert stream.getvalue().startswith("{") == is_json
    assert ("\x1b[" in stream.getvalue()) == (terminal and not is_json)
    assert "connected" in stream.getvalue()
    assert "42" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("forged", ["a\nlevel=error", "\x1b[2J", "é\r\n", "\u2028", "\u202e", "\u2066a\u2069"])
def test_one_record_is_one_line_whatever_is_in_it(log_format: LogFormat, forged: str, stream: io.StringIO) -> None:
    configure_logging("info", log_format, stream)
    logging.getLogger("synkrone").info("skipped %s", forged, extra={"reason": forged})
    line = stream.getvalue().removesuffix("\n")
    assert line.isprintable()
    assert "skipped" in line


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_shows_no_values(log_format: LogFormat) -> None:
    stream = Terminal()
    configure_logging("info", log_format, stream)

    def fails(token: str) -> None:
        raise ValueError(len(token))

    try:
        fails(TOKEN)
    except ValueError:
        logging.getLogger("synkrone").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "in fails" in stream.getvalue()
    assert TOKEN not in stream.getvalue()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels(level: LogLevel, stream: io.StringIO) -> None:
    configure_logging(level, "json", stream)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("synkrone.server").log(number, "x")
    logged = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    everything = ["debug", "info", "warning", "error"]
    assert logged == everything[everything.index(level) :]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("socketio.server", logging.ERROR),
        ("engineio.server", logging.ERROR),
        ("tornado.access", logging.WARNING),
        ("tornado.general", logging.ERROR),
        ("aiohttp", logging.WARNING),
    ],
)
def test_libraries_that_log_what_clients_send_are_never_talkative(name: str, least: int, stream: io.StringIO) -> None:
    configure_logging("debug", "json", stream)
    logging.getLogger(name).log(least - 10, "received %s", TOKEN)
    assert stream.getvalue() == ""
    logging.getLogger(name).log(least, "x")
    assert json.loads(stream.getvalue())["logger"] == name


def test_configuring_again_replaces_what_was_before(stream: io.StringIO) -> None:
    first = io.StringIO()
    configure_logging("info", "json", first)
    configure_logging("info", "json", stream)
    logging.getLogger("synkrone").info("x")
    assert first.getvalue() == ""
    assert len(stream.getvalue().splitlines()) == 1


def draft(to: Audience, title: str = "a secret") -> Draft:
    notification = Notification("n-1", "mission.assigned", title, title, None, to.kind, START, None)
    return Draft(notification, to.rooms, own_id=False)


def stored(id_: str, offset: int, outcome: AppendOutcome = AppendOutcome.STORED) -> Appended:
    return Appended(outcome, id_, Position("e", offset))


def test_a_publish_is_one_line_without_its_content(telemetry: LoggingTelemetry, stream: io.StringIO) -> None:
    one, all_ = Audience.users(["42", "43"]), Audience.everyone()
    telemetry.published("billing", [draft(one)], [stored("n-1", 7)], 0.0123456789)
    appended = [stored("n-1", 7, AppendOutcome.DUPLICATE), stored("n-2", 8), stored("n-3", 9)]
    telemetry.published("feed", [draft(one), draft(one), draft(all_)], appended, 2.0)
    line = {"level": "info", "event": "published"}
    assert lines(stream) == [
        {
            **line,
            "caller": "billing",
            "id": "n-1",
            "cursor": "e:7",
            "count": 1,
            "audience": "user",
            "rooms": 2,
            "outcome": "stored",
            "duplicates": 0,
            "seconds": 0.012346,
        },
        {
            **line,
            "caller": "feed",
            "id": None,
            "cursor": "e:9",
            "count": 3,
            "audience": "everyone+user",
            "rooms": 5,
            "outcome": "mixed",
            "duplicates": 1,
            "seconds": 2.0,
        },
    ]
    assert "secret" not in stream.getvalue()


@pytest.mark.parametrize("level", get_args(LogLevel))
def test_what_operators_do_is_logged_at_every_level(level: LogLevel, stream: io.StringIO) -> None:
    configure_logging(level, "json", stream)
    telemetry = LoggingTelemetry(ManualClock())
    telemetry.acted("support", "disconnected", UserId("42"), detail="2 connections")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    del line["timestamp"]
    assert line == {
        "level": "info",
        "logger": "synkrone.audit",
        "event": "disconnected",
        "caller": "support",
        "user": "42",
        "detail": "2 connections",
    }


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_facts_are_the_same_in_every_format(log_format: LogFormat, stream: io.StringIO) -> None:
    configure_logging("info", log_format, stream)
    telemetry = LoggingTelemetry(ManualClock())
    telemetry.published("billing", [draft(Audience.users(["42"]))], [stored("n-1", 7)], 0.5)
    telemetry.closing(CONNECTION, IDENTITY, "slow_consumer", None)
    for fact in (
        "published",
        "billing",
        "n-1",
        "e:7",
        "user",
        "stored",
        "0.5",
        "closing",
        "c-1",
        "42",
        "slow_consumer",
    ):
        assert fact in stream.getvalue()


def test_the_page_of_lines_has_each_with_its_fields(telemetry: LoggingTelemetry, stream: io.StringIO) -> None:
    telemetry.connected(CONNECTION, IDENTITY, HELLO, None, recovered=True, reason=None)
    telemetry.closing(CONNECTION, IDENTITY, "slow_consumer", None)
    telemetry.disconnected(CONNECTION, IDENTITY, DisconnectReason.TRANSPORT_CLOSE, None)
    telemetry.published("billing", [draft(Audience.everyone())], [stored("n-1", 7)], 0.5)
    telemetry.refused(CONNECTION, HELLO, "invalid_token", "x")
    telemetry.caller_refused("203.0.113.8", "unauthenticated", "x")
    telemetry.publish_refused("billing", "conflict", "x")
    telemetry.origin_refused(remote_address="203.0.113.8", origin="a", own="b", setting="cors_origins", advice="x")
    telemetry.skipped("feed", "1", "x")
    telemetry.parked("1", "x")
    told = {line.pop("event"): (line.pop("level"), set(line)) for line in lines(stream)}
    rows = re.findall(r"^\| `([a-z ]+)` \| (\w+) \| (`[^;|]+`)", page("docs/reference/logs.md"), re.MULTILINE)
    assert {event: (level, set(re.findall(r"`(\w+)`", fields))) for event, level, fields in rows} == told
    # Every one of the port that says anything is above.
    silent = {"came_due", "waiting", "delivered", "replayed", "received", "request_refused", "acted"}
    assert len(told) == len([name for name in vars(LoggingTelemetry) if name[0] != "_"]) - len(silent)
