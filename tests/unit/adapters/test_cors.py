"""Which headers an answer gets for the sake of pages."""

from __future__ import annotations

import pytest

from adapters.http.cors import MAX_NAME_LENGTH, MAX_NAMES, answer_headers, preflight_headers
from tests.unit.adapters.test_peer import request

ORIGIN = ("Origin", "https://app.example")
ASKED = "Access-Control-Request-Headers"


def allowed_names(*headers: tuple[str, str]) -> list[str]:
    lines = dict(preflight_headers(request(ORIGIN, *headers), allowed=True, methods=("GET",)))
    return lines["Access-Control-Allow-Headers"].split(", ")


ALWAYS = ["Authorization", "Content-Type", "Last-Event-ID", "Cache-Control"]


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ([], []),
        ([""], []),
        (["authorization,content-type"], []),
        (
            ["traceparent,tracestate , ngrok-skip-browser-warning"],
            ["traceparent", "tracestate", "ngrok-skip-browser-warning"],
        ),
        (["x-a", "x-b,X-A"], ["x-a", "x-b"]),
        (['x-a, ,x b,x\xe9,x"y,x:y,x-c'], ["x-a", "x-c"]),
        (["*"], ["*"]),
        (["x" * MAX_NAME_LENGTH, "y" * (MAX_NAME_LENGTH + 1)], ["x" * MAX_NAME_LENGTH]),
        ([",".join(f"x-{n}" for n in range(2000))], [f"x-{n}" for n in range(MAX_NAMES)]),
    ],
)
def test_a_preflight_allows_the_headers_it_asks_for(asked: list[str], more: list[str]) -> None:
    assert allowed_names(*((ASKED, line) for line in asked)) == ALWAYS + more


def test_a_page_of_an_allowed_origin_may_send_credentials_and_read_the_answer() -> None:
    lines = dict(answer_headers(request(ORIGIN), allowed=True))
    assert lines == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "https://app.example",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate",
    }
    preflight = dict(preflight_headers(request(ORIGIN), allowed=True, methods=("GET", "POST")))
    assert preflight.items() > (lines | {"Vary": "Origin, Access-Control-Request-Headers"}).items()
    assert preflight["Access-Control-Allow-Methods"] == "GET, POST"
    assert int(preflight["Access-Control-Max-Age"]) > 0


def test_others_get_no_more_than_what_a_cache_has_to_know() -> None:
    for asked, allowed in ((request(), True), (request(ORIGIN), False)):
        assert answer_headers(asked, allowed=allowed) == [("Vary", "Origin")]
        assert preflight_headers(asked, allowed=allowed, methods=("GET",)) == [("Vary", "Origin")]
