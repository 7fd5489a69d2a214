"""The internal listener: where it is, what it answers, and what it leaves to the public one."""

from __future__ import annotations

import socket

import pytest

from adapters.http.binding import bind
from entrypoints.checking import check
from entrypoints.settings import SettingsError, validate_settings
from tests.engine_io import http_session
from tests.serving import SECRET, serving


async def status(url: str) -> int:
    async with http_session() as session, session.get(url) as answer:
        return answer.status


@pytest.mark.gen_test
async def test_it_answers_whether_the_server_is_well_and_serves_no_client() -> None:
    async with serving(internal={"port": 0}) as server:
        assert server.internal_url is not None
        assert server.internal_url != server.url
        assert await status(f"{server.internal_url}/health/live") == 200
        assert await status(f"{server.internal_url}/health/ready") == 200
        assert await status(f"{server.internal_url}/socket.io/?EIO=4&transport=polling") == 404
        assert await status(f"{server.internal_url}/v1/inbox") == 404


@pytest.mark.gen_test
async def test_it_says_what_is_counted_to_whoever_asks_there_and_to_nobody_else() -> None:
    async with serving(internal={"port": 0}) as server, http_session() as session:
        async with session.get(f"{server.internal_url}/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert "synkrone_receipts_total 0.0" in await answer.text()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        async with session.get(f"{server.internal_url}/metrics", headers=accept) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert (await answer.text()).endswith("# EOF\n")
        assert await status(f"{server.url}/metrics") == 404


@pytest.mark.gen_test
async def test_there_is_none_unless_it_is_wanted() -> None:
    async with serving() as server:
        assert server.internal_url is None


@pytest.mark.gen_test
async def test_its_address_is_what_the_settings_say_where_they_do() -> None:
    async with serving(
        internal={"host": "0.0.0.0", "port": 0},  # noqa: S104 (what is tested)
        node={"address": "http://node-1.internal:8001"},
    ) as server:
        assert server.internal_url == "http://node-1.internal:8001"


def test_a_port_that_is_taken_is_named() -> None:
    with bind("127.0.0.1", 0)[0] as taken:
        port = taken.getsockname()[1]
        settings = validate_settings(
            {"port": 0, "auth": {"secret": SECRET}, "store": "memory://", "internal": {"port": port}}
        )
        (said,) = check(settings).taken.values()
        assert said.startswith(f"internal.port: cannot listen on 127.0.0.1:{port}: Address already in use: ")


def test_a_host_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    settings = validate_settings(
        {"port": 0, "auth": {"secret": SECRET}, "store": "memory://", "internal": {"port": 0, "host": "nowhere.test"}}
    )
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SettingsError, match=r"internal\.host: nowhere\.test is not an address of this machine"):
        check(settings)
