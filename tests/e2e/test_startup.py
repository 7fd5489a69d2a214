"""A wrong setting stops the server before it listens: one line that names it, exit code 2."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.certificates import Certificate
from tests.processes import API_KEY, ONE_SECRET, SECRET, run_to_end

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
    "not-a-number": (ONE_SECRET | {"SYNKRONE_PORT": "eight"}, "port: "),
    "not-json": (ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": "https://a.example"}, "cors_origins: "),
    "unknown": (ONE_SECRET | {"SYNKRONE_PROT": "8000"}, "prot: is not a known setting"),
    "weak-secret": ({"SYNKRONE_AUTH__SECRET": SECRET[:31]}, "auth.secret: "),
    "no-auth-at-all": ({}, "auth.secret: "),
    "unreadable-key-file": ({"SYNKRONE_API__KEY_FILE": UNREADABLE}, "api.key_file: "),
    "unreadable-jwks": (
        {"SYNKRONE_AUTH__ISSUERS": json.dumps([{"issuer": "https://a.example", "jwks": UNREADABLE}])},
        "auth.issuers[0].jwks: ",
    ),
    "unreadable-certificate": (
        ONE_SECRET | {"SYNKRONE_TLS__CERT": UNREADABLE, "SYNKRONE_TLS__KEY": UNREADABLE},
        "tls.cert: ",
    ),
}


@pytest.mark.parametrize(("settings", "beginning"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, str], beginning: str) -> None:
    assert fails(tmp_path, settings).startswith(beginning)


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert fails(tmp_path, ONE_SECRET | {"SYNKRONE_PORT": port}) == (
            f"port: cannot listen on 127.0.0.1:{port}: Address already in use"
        )


@pytest.mark.parametrize("wrong", ["cert", "key"])
def test_files_that_are_no_certificate(tmp_path: Path, certificate: Certificate, wrong: str) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("rubbish")
    files = {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(certificate.key)}
    files[f"SYNKRONE_TLS__{wrong.upper()}"] = str(rubbish)
    assert fails(tmp_path, ONE_SECRET | files).startswith("tls.")


@pytest.mark.parametrize(
    ("write", "beginning"),
    [
        pytest.param(lambda file: file.write_text("port = = 1"), "synkrone.toml: ", id="not-toml"),
        pytest.param(lambda file: file.write_text("prot = 1"), "prot: is not a known setting", id="unknown"),
    ],
)
def test_a_bad_file(tmp_path: Path, write: Callable[[Path], object], beginning: str) -> None:
    write(tmp_path / "synkrone.toml")
    assert fails(tmp_path, ONE_SECRET).startswith(beginning)
