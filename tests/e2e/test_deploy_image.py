"""``deploy/Containerfile``, as far as that goes without a container runtime: what it has run inside is run here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from entrypoints.draining import SHUTDOWN_SECONDS
from entrypoints.settings_types import duration
from tests.documents import ROOT, block
from tests.e2e.conftest import Serve
from tests.processes import ONE_SECRET

CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
LAST_STAGE = CONTAINERFILE.rpartition("\nFROM ")[2]


def healthy(port: int) -> bool:
    """What the image's health check says of a server on that port."""
    (command,) = re.findall(r"^    CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    program, *arguments = json.loads(command)
    assert program == "python"
    checked = subprocess.run(
        [sys.executable, *arguments],
        env={"SYNKRONE_PORT": str(port)},
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return checked.returncode == 0


def test_the_health_check_tells_a_server_that_serves_from_none(serve: Serve) -> None:
    # The image has nothing but /data to write to.
    server = serve(ONE_SECRET | {"TMPDIR": "/nonexistent"})
    assert healthy(server.port)
    assert server.stop() == 0
    assert not healthy(server.port)


def test_it_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\d+):(\d+)$", LAST_STAGE, re.MULTILINE) == [("10001", "10001")]
    assert LAST_STAGE.index("\nUSER ") < LAST_STAGE.index("\nENTRYPOINT ")


@pytest.fixture(scope="module")
def nodes() -> list[dict[str, Any]]:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    return [service for service in services.values() if "build" in service]


def test_compose_has_the_image_read_only_and_without_rights(nodes: list[dict[str, Any]]) -> None:
    assert len(nodes) == 2
    for node in nodes:
        assert node["read_only"] is True
        assert node["cap_drop"] == ["ALL"]
        assert node["security_opt"] == ["no-new-privileges:true"]


def test_there_is_time_to_stop(nodes: list[dict[str, Any]]) -> None:
    (by_hand,) = re.findall(r"--stop-timeout (\d+)", block("docs/how-to/deploy.md", "bash", "docker build"))
    given = [duration(node["stop_grace_period"]).total_seconds() for node in nodes] + [float(by_hand)]
    assert min(given) > SHUTDOWN_SECONDS + 5
