"""A wrong setting stops the server before it listens: one line that names it, exit code 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from entrypoints.version import installed_version
from tests.e2e.certificates import Certificate
from tests.e2e.conftest import Serve
from tests.engine_io import http_session
from tests.processes import API_KEY, ONE_SECRET, SECRET, run_to_end
from tests.unit.entrypoints.test_settings_sources import of_kubernetes

UNREADABLE = "/nonexistent/file"


def fails(directory: Path, settings: dict[str, str]) -> str:
    """What the server says of these settings, having checked that it said it well."""
    ended = run_to_end(directory, settings)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    for secret in (SECRET, API_KEY):
        assert secret not in lines[0]
    message = lines[0].removeprefix("synkrone-socket: ")
    assert message != lines[0]
    return message


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "not-a-number": (ONE_SECRET | {"SYNKRONE_PORT": "eight"}, "SYNKRONE_PORT: "),
    "not-json": (ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": "https://a.example"}, "SYNKRONE_CORS_ORIGINS: "),
    "unknown": (ONE_SECRET | {"SYNKRONE_PROT": "8000"}, "SYNKRONE_PROT: is not a known setting"),
    "weak-secret": ({"SYNKRONE_AUTH__SECRET": SECRET[:31]}, "SYNKRONE_AUTH__SECRET: "),
    "no-auth-at-all": ({}, "auth.secret: "),
    "unreadable-key-file": ({"SYNKRONE_API__KEY_FILE": UNREADABLE}, "SYNKRONE_API__KEY_FILE: "),
    "unreadable-jwks": (
        {"SYNKRONE_AUTH__ISSUERS": json.dumps([{"issuer": "https://a.example", "jwks": UNREADABLE}])},
        "SYNKRONE_AUTH__ISSUERS[0].jwks: ",
    ),
    "unreadable-certificate": (
        ONE_SECRET | {"SYNKRONE_TLS__CERT": UNREADABLE, "SYNKRONE_TLS__KEY": UNREADABLE},
        "SYNKRONE_TLS__CERT: ",
    ),
}


@pytest.mark.parametrize(("settings", "beginning"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, str], beginning: str) -> None:
    assert fails(tmp_path, settings).startswith(beginning)


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert fails(tmp_path, ONE_SECRET | {"SYNKRONE_PORT": port}) == (
            f"SYNKRONE_PORT: cannot listen on 127.0.0.1:{port}: Address already in use: "
            "stop what listens there, or choose another port"
        )


@pytest.mark.parametrize("wrong", ["cert", "key"])
def test_files_that_are_no_certificate(tmp_path: Path, certificate: Certificate, wrong: str) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    files = {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(certificate.key)}
    files[f"SYNKRONE_TLS__{wrong.upper()}"] = str(rubbish)
    assert fails(tmp_path, ONE_SECRET | files).startswith("SYNKRONE_TLS__CERT: ")


def test_a_key_with_a_passphrase_is_not_waited_for(tmp_path: Path, certificate: Certificate) -> None:
    key = load_pem_private_key(certificate.key.read_bytes(), None)
    protected = tmp_path / "protected.pem"
    protected.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    files = {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(protected)}
    assert fails(tmp_path, ONE_SECRET | files) == (
        f"SYNKRONE_TLS__KEY: {protected} is protected by a passphrase: save it without one"
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param("host = 'x'\nport = = 1", "{file}: Invalid value (at line 2, column 8)", id="not-toml"),
        pytest.param("prot = 1", "prot: is not a known setting: did you mean port? ({file}, line 1)", id="unknown"),
        pytest.param(
            "store = 'sqlite:///nope/x.db'",
            "store: {folder}/nope/x.db cannot be opened: the folder {folder}/nope does not exist: make it first, "
            "or name another file in the setting store ({file}, line 1)",
            id="no-folder",
        ),
    ],
)
def test_a_bad_file(tmp_path: Path, content: str, line: str) -> None:
    file = tmp_path / "synkrone.toml"
    file.write_text(content)
    assert fails(tmp_path, ONE_SECRET) == line.format(file=file, folder=tmp_path)


def test_a_file_that_is_missing_is_said_where_it_matters(tmp_path: Path) -> None:
    assert fails(tmp_path, {}) == (
        f"auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers "
        f"(not set; there is no file {tmp_path}/synkrone.toml)"
    )


@pytest.mark.gen_test(timeout=40)
async def test_a_pod_beside_services_of_its_own_name_starts_and_says_how(serve: Serve) -> None:
    injected = of_kubernetes("synkrone") | of_kubernetes("synkrone-socket") | of_kubernetes("synkrone-redis")
    # The port that the test asks for is a setting beside them.
    server = serve(
        ONE_SECRET
        | injected
        | {"SYNKRONE_PORT": "0", "SYNKRONE_RETENTION__LOG": "400d", "SYNKRONE_STORE_PASSWORD": "p"}
    )
    ignored = sorted(injected.keys() - {"SYNKRONE_PORT"})
    log = [record["event"] for record in map(json.loads, server.log.splitlines())]
    assert log[:3] == [
        f"not settings, but of an orchestrator, and ignored: {', '.join(ignored)}",
        "retention.inbox was raised to 400d, as items stay no shorter than in the log (SYNKRONE_RETENTION__LOG)",
        "a store of sqlite has no password, and the one that is given is ignored (store_password)",
    ]
    (serving,) = server.records("serving")
    assert serving["version"] == installed_version()
    assert serving["url"] == server.url
    assert serving["store"] == f"sqlite:///{server.directory}/synkrone.db"
    assert serving["settings"] == f"there is no file {server.directory}/synkrone.toml"
    for value in ("10.0.0.1", SECRET, API_KEY):
        assert value not in server.log


@pytest.mark.gen_test(timeout=40)
async def test_it_says_where_the_internal_listener_and_the_page_of_operators_are(serve: Serve) -> None:
    key = {"name": "ann", "key": "a key of an operator, of 32 characters", "scopes": ["admin"]}
    wanted = {"SYNKRONE_INTERNAL__PORT": "0", "SYNKRONE_API__KEYS": json.dumps([key])}
    (serving,) = serve(ONE_SECRET | wanted | {"SYNKRONE_INTERNAL__OPS": "true"}).records("serving")
    async with http_session() as session:
        for url in (f"{serving['internal_url']}/metrics", serving["ops_url"]):
            async with session.get(url) as answer:
                assert answer.status == 200
    (without,) = serve(ONE_SECRET | wanted).records("serving")
    assert without["internal_url"] is not None
    assert without["ops_url"] is None
    (neither,) = serve(ONE_SECRET).records("serving")
    assert (neither["internal_url"], neither["ops_url"]) == (None, None)
