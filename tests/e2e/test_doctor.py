"""What ``doctor`` says of real servers, seen directly and through nginx, set up well and badly."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.certificates import Certificate
from tests.e2e.conftest import Serve
from tests.e2e.proxy import PROXY_ADDRESS, Proxy, Upstream, find_nginx
from tests.forked import CLI, run_forked
from tests.processes import ONE_SECRET, ServerProcess, environment, port_to_keep, token
from tests.tokens import KeyServer, key_for, public_jwk

PATIENCE = 40.0
BEHIND_PROXY = ONE_SECRET | {"SYNKRONE_TRUSTED_PROXIES": json.dumps([PROXY_ADDRESS])}
PAGES = "https://app.example"


def doctor(*arguments: str, settings: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Its exit code, and what it says: the verdict, words and mend of each check, and what it did not try."""
    with tempfile.TemporaryDirectory() as folder:
        # Authorities are read once a process, and so before it is forked.
        run = _run_anew if "SSL_CERT_FILE" in settings else _run_forked
        ended = run(Path(folder), ["doctor", "--json", *arguments], environment(settings))
    assert ended.stderr == ""
    said = json.loads(ended.stdout)
    assert said["well"] == (ended.returncode == 0)
    found = {one["check"]: (one["verdict"], one["said"], one["mend"]) for one in said["findings"]}
    return ended.returncode, found | {"untried": said["untried"]}


def _run_anew(folder: Path, command: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", CLI, *command],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _run_forked(folder: Path, command: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as outputs:
        return run_forked(
            CLI, *command, directory=folder, environment=settings, outputs=Path(outputs), timeout=PATIENCE
        )


def of(server: ServerProcess, settings: Mapping[str, str]) -> dict[str, str]:
    """The settings of a server as somebody beside it has them."""
    store = f"sqlite:///{server.directory}/synkrone.db"
    return {**settings, "SYNKRONE_PORT": str(server.port), "SYNKRONE_STORE": store}


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[Any]:
    nginx = find_nginx()
    proxies: list[Proxy] = []

    def start(
        upstream: str, certificate: Certificate | None = None, how: Upstream = Upstream.DOCUMENTED, more: str = ""
    ) -> Proxy:
        folder = tmp_path / f"nginx-{len(proxies)}"
        proxies.append(Proxy(nginx, folder, upstream, certificate, how, more=more))
        proxies[-1].wait_until_ready()
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def test_a_server_that_is_well(serve: Serve) -> None:
    settings = ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": json.dumps([PAGES])}
    server = serve(settings)
    code, said = doctor("--url", f"{server.url}/", "--origin", PAGES, settings=of(server, settings))
    assert code == 0
    assert said.pop("untried") == ["the clock against a key server: the settings name none"]
    assert said.pop("descriptors")[0] in ("ok", "warn")
    assert said.pop("disk")[0] in ("ok", "warn")
    assert {check: verdict for check, (verdict, _, _) in said.items()} == dict.fromkeys(
        (
            *("settings", "listening", "keys", "store", "clock", "scheme and host", "origin", "ready"),
            *("websocket", "client address", "stream"),
        ),
        "ok",
    )
    assert said["client address"][1] == "it is seen as 127.0.0.1, as this machine has it"


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for a socket, whose path may not be long."""
    with tempfile.TemporaryDirectory(prefix="doctor") as folder:
        yield Path(folder)


@pytest.mark.parametrize("way", ["tls", "unix", "internal"])
def test_a_server_is_known_however_it_listens(
    certificate: Certificate, tmp_path: Path, short_path: Path, way: str
) -> None:
    port = {"SYNKRONE_PORT": str(port_to_keep())}
    ways = {
        "tls": port | {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(certificate.key)},
        "unix": {"SYNKRONE_HOST": f"unix:{short_path}/socket"},
        "internal": port | {"SYNKRONE_INTERNAL__PORT": str(port_to_keep())},
    }
    settings = ONE_SECRET | ways[way]
    server = ServerProcess(tmp_path, settings, ca=certificate.cert)
    try:
        server.wait_until_ready()
        _, said = doctor(settings=settings | {"SYNKRONE_STORE": f"sqlite:///{tmp_path}/synkrone.db"})
    finally:
        server.kill()
    assert said["listening"][0] == "ok"
    assert said["listening"][1].endswith("is in use by a server that runs: another one would not start beside it")
    assert said["store"][1] == f"{tmp_path}/synkrone.db is in use by a server that runs"


def test_a_page_that_may_not_connect_and_an_address_where_nobody_is(serve: Serve) -> None:
    server = serve()
    code, said = doctor("--url", server.url, "--origin", PAGES, settings=of(server, ONE_SECRET))
    assert (code, said["origin"]) == (
        1,
        ("fail", f"pages of {PAGES} may not connect", "add it to cors_origins"),
    )
    assert said["scheme and host"][0] == said["websocket"][0] == "ok"
    nowhere = f"http://127.0.0.1:{port_to_keep()}"
    code, said = doctor("--url", nowhere, settings=of(server, ONE_SECRET))
    assert (code, said["reached"][0]) == (1, "fail")
    assert said["reached"][1].endswith("cannot be reached: nothing listens there (connection refused)")
    assert f"all else that is seen through {nowhere}" in said["untried"]


def test_a_server_that_believes_everybody(serve: Serve) -> None:
    settings = ONE_SECRET | {"SYNKRONE_TRUSTED_PROXIES": '["0.0.0.0/0"]'}
    server = serve(settings)
    # With its own settings it cannot be told: what this machine says is believed rightly.
    code, said = doctor("--url", server.url, settings=of(server, settings))
    assert "client address" not in said
    assert any("run doctor elsewhere" in reason for reason in said["untried"])
    code, said = doctor("--url", server.url, settings=of(server, ONE_SECRET))
    assert (code, said["client address"][:2]) == (
        1,
        ("fail", "the server believes what a client says in X-Forwarded-For"),
    )


def test_a_token_that_is_refused_and_one_that_is_given(serve: Serve) -> None:
    server = serve()
    issuers = json.dumps([{"issuer": "https://a.example", "secret": "x" * 40}])
    settings = of(server, {"SYNKRONE_AUTH__ISSUERS": issuers, "SYNKRONE_API__KEY": ONE_SECRET["SYNKRONE_API__KEY"]})
    code, said = doctor("--url", server.url, settings=settings)
    assert code == 0
    assert "the client's address, and streams: give --token, or auth.secret" in said["untried"]
    code, said = doctor("--url", server.url, "--token", token("42"), settings=settings)
    assert (code, said["client address"][0], said["stream"][0]) == (0, "ok", "ok")
    code, said = doctor("--url", server.url, "--token", "x", settings=settings)
    assert (code, said["token"][1]) == (1, "the server refuses it: invalid_token")


def test_behind_nginx_as_the_documents_have_it(
    serve: Serve, start_proxy: Any, certificate: Certificate, tmp_path: Path
) -> None:
    server = serve(BEHIND_PROXY)
    proxy = start_proxy(server.url, certificate)
    settings = of(server, BEHIND_PROXY) | {"SSL_CERT_FILE": str(certificate.cert)}
    code, said = doctor("--url", proxy.url, settings=settings)
    assert code == 0
    for check in ("scheme and host", "websocket", "client address", "ready"):
        assert said[check][0] == "ok", said[check]
    # It is of the tests, and of a day.
    assert said["certificate"][0] == "warn"
    assert f"whether streams are held back: {proxy.url}/v1/stream is not passed on" in said["untried"]
    code, said = doctor("--url", proxy.url, settings=of(server, BEHIND_PROXY))
    assert code == 1
    assert "its certificate cannot be verified" in said["reached"][1]


def test_a_proxy_that_is_not_trusted(serve: Serve, start_proxy: Any, certificate: Certificate) -> None:
    server = serve()
    proxy = start_proxy(server.url, certificate)
    settings = of(server, ONE_SECRET) | {"SSL_CERT_FILE": str(certificate.cert)}
    code, said = doctor("--url", proxy.url, settings=settings)
    assert (code, said["scheme and host"][:2]) == (
        1,
        ("fail", f"the server does not know that it is {proxy.url}"),
    )
    assert said["client address"][0] == "warn"
    assert said["client address"][1] == f"it is seen as {PROXY_ADDRESS}, and this machine has 127.0.0.1"


@pytest.mark.check
def test_a_proxy_that_passes_no_upgrade_on_and_holds_streams_back(serve: Serve, start_proxy: Any) -> None:
    server = serve(BEHIND_PROXY)
    holding = "location /v1/ { proxy_pass {upstream}; proxy_ignore_headers X-Accel-Buffering; }"
    proxy = start_proxy(server.url, None, Upstream.DEFAULT, more=holding)
    code, said = doctor("--url", proxy.url, settings=of(server, BEHIND_PROXY))
    assert code == 1
    assert said["websocket"][0] == "fail"
    assert "Upgrade" in said["websocket"][2]
    assert said["stream"][:2] == ("fail", "nothing of it comes within 5 s")


@pytest.mark.gen_test
async def test_keys_and_the_clock_of_their_server() -> None:
    async with KeyServer() as good, KeyServer() as bad:
        keys, nothing = good.url(), bad.url("/none")
        good.publish(public_jwk(key_for("RS256")))
        issuers = [
            {"issuer": "a", "user_prefix": "a-", "jwks": keys},
            {"issuer": "b", "user_prefix": "b-", "jwks": nothing},
        ]
        settings = {"SYNKRONE_PORT": "0", "SYNKRONE_AUTH__ISSUERS": json.dumps(issuers), "SYNKRONE_STORE": "memory://"}
        code, said = await asyncio.to_thread(doctor, settings=settings)
    assert code == 1
    assert said["clock"][:2] == ("ok", f"as that of {keys}")
    assert said["keys"][0] == "fail"
    assert said["keys"][1].endswith(f"the keys of {nothing} cannot be had: the answer has status 404")
    assert said["store"][0] == said["api"][0] == "warn"
