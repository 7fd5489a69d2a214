"""``deploy/systemd``: what systemd says of the units, and whether their times and settings fit the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from entrypoints.draining import SHUTDOWN_SECONDS
from entrypoints.inherited import INTERNAL
from entrypoints.settings import Settings
from entrypoints.settings_reading import load_settings
from entrypoints.settings_types import duration
from entrypoints.workers import STOP_SECONDS
from tests.documents import ROOT
from tests.processes import SECRET
from tests.requirements import require

UNITS = ROOT / "deploy" / "systemd"
SERVICE = "synkrone-socket.service"
SOCKETS = ("synkrone-socket.socket", "synkrone-socket-internal.socket")
EXPOSURE = 15
"""Tenths, of 100; systemd calls below 20 "OK", and what listens at all has 8."""


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def value(unit: str, key: str) -> str:
    (only,) = values(unit, key)
    return only


@pytest.fixture
def analyze(tmp_path: Path) -> list[str]:
    """The command, to be run in a folder with the units, whose program is one of this machine."""
    command = shutil.which("systemd-analyze")
    require(command, "systemd-analyze is not installed: apt-get install systemd")
    assert command is not None
    for name in (SERVICE, *SOCKETS):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/synkrone/.venv/bin/synkrone-socket", "/bin/true"))
    return [command]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_finds_nothing_wrong(analyze: list[str], tmp_path: Path) -> None:
    verified = run([*analyze, "verify", "--man=no", f"./{SERVICE}", *(f"./{name}" for name in SOCKETS)], tmp_path)
    assert (verified.returncode, verified.stdout) == (0, "")
    of_ours = [line for line in verified.stderr.splitlines() if "synkrone" in line or str(tmp_path) in line]
    assert of_ours == []


def test_a_key_that_systemd_does_not_know_would_be_found(analyze: list[str], tmp_path: Path) -> None:
    unit = tmp_path / SERVICE
    unit.write_text(unit.read_text().replace("PrivateTmp=", "PrivateTemp="))
    verified = run([*analyze, "verify", "--man=no", f"./{SERVICE}"], tmp_path)
    assert "PrivateTemp" in verified.stderr


def test_the_service_is_exposed_as_little_as_one_that_listens_can_be(analyze: list[str], tmp_path: Path) -> None:
    judged = run([*analyze, "security", "--offline=yes", f"--threshold={EXPOSURE}", f"./{SERVICE}"], tmp_path)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def settings_of_the_service(folder: Path) -> Settings:
    """As it reads them, with its folders below another."""
    (folder / "auth_secret").write_text(SECRET)
    (folder / "api_key").write_text(SECRET)
    given = (text.replace("%S", str(folder)).replace("%d", str(folder)) for text in values(SERVICE, "Environment"))
    return load_settings(dict(text.split("=", 1) for text in given), Path(os.devnull))


def test_its_settings_are_good(tmp_path: Path) -> None:
    settings = settings_of_the_service(tmp_path)
    assert settings.store == f"sqlite:///{tmp_path}/{value(SERVICE, 'StateDirectory')}/synkrone.db"
    assert settings.auth.secret is not None
    assert settings.api.key is not None
    credentials = {text.partition(":")[0] for text in values(SERVICE, "LoadCredential")}
    assert credentials == set(re.findall(r"=%d/(\w+)$", "\n".join(values(SERVICE, "Environment")), re.MULTILINE))
    limits = settings.limits
    assert int(value(SERVICE, "LimitNOFILE")) > limits.connections + limits.unauthenticated


def test_it_has_the_time_that_it_needs_to_stop() -> None:
    longest = timedelta(seconds=max(SHUTDOWN_SECONDS, STOP_SECONDS))
    assert duration(value(SERVICE, "TimeoutStopSec")) > longest


def test_its_sockets_are_the_ones_that_it_takes() -> None:
    assert value(SERVICE, "Sockets").split() == list(SOCKETS)
    assert [value(name, "FileDescriptorName") for name in SOCKETS] == ["public", INTERNAL]
    # The one that is not called as the service is says whose it is.
    assert value(SOCKETS[1], "Service") == SERVICE
