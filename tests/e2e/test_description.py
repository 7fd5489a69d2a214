"""The server's documents of itself, before those who have the last word on them."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import NODE
from tests.e2e.conftest import Serve
from tests.e2e.npm import installed
from tests.processes import API_KEY, ONE_SECRET, REPOSITORY, ServerProcess, token
from tests.requirements import require

pytestmark = pytest.mark.check

VALIDATORS = Path(__file__).parent / "validators"
SCHEMATHESIS = REPOSITORY / ".venv" / "schemathesis" / "bin" / "schemathesis"
FEWEST_CASES = 1_500
SECONDS = 240.0
NOTIFICATION = "a"
REVISED = "b"
USER, ROLE = "42", "freelance"
PAGE = urlsafe_b64encode(b"0:a").decode()


def document(server: ServerProcess, name: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.url}/{name}", timeout=5) as answer:  # noqa: S310
        read: dict[str, Any] = json.load(answer)
        return read


def publish(server: ServerProcess, id_: str) -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{server.url}/v1/notifications",
        json.dumps({"id": id_, "to": {"everyone": True}, "type": "t"}).encode(),
        {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        assert answer.status == 201


def erase(server: ServerProcess, user: str) -> str:
    """The id of the erasure."""
    request = urllib.request.Request(  # noqa: S310
        f"{server.url}/v1/users/{user}", headers={"Authorization": f"Bearer {API_KEY}"}, method="DELETE"
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        assert answer.status == 202
        return str(json.load(answer)["id"])


def come(server: ServerProcess) -> None:
    """The user, in their role."""
    headers = {"Authorization": f"Bearer {token(USER, ROLE)}"}
    with urllib.request.urlopen(  # noqa: S310
        urllib.request.Request(f"{server.url}/v1/inbox", headers=headers),  # noqa: S310
        timeout=5,
    ) as answer:
        assert answer.status == 200


def test_the_events_are_described_as_asyncapi_says(serve: Serve) -> None:
    installed(VALIDATORS)
    done = subprocess.run(
        [NODE, VALIDATORS / "asyncapi.mjs"],
        input=json.dumps(document(serve(), "asyncapi.json")),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # 3.0 is what the tools that read it know; the parser would have the newest.
    assert [found for found in json.loads(done.stdout) if found["code"] != "asyncapi-latest-version"] == []


def test_schemathesis_finds_nothing(serve: Serve, tmp_path: Path) -> None:
    require(SCHEMATHESIS.exists(), "schemathesis is not installed: make .venv/.installed-schemathesis")
    # On a machine that is fast enough one user asks for more than a user may; and times are drawn from all there are.
    limits = {"SYNKRONE_LIMITS__REQUESTS_PER_SECOND": "10000", "SYNKRONE_LIMITS__SCHEDULE_AHEAD": "36500d"}
    server = serve({**ONE_SECRET, **limits})
    come(server)
    publish(server, NOTIFICATION)
    publish(server, REVISED)
    described = document(server, "openapi.json")
    # A stream has no end, and a schema cannot say what the lines of a body are.
    del described["paths"]["/v1/stream"]
    del described["paths"]["/v1/notifications/batch"]["post"]["requestBody"]["content"]["application/x-ndjson"]
    (tmp_path / "openapi.json").write_text(json.dumps(described))
    report = tmp_path / "report.json"
    command = (SCHEMATHESIS, "--config-file", VALIDATORS / "schemathesis.toml", "run", "openapi.json")
    done = subprocess.run(
        [*command, "--url", server.url, "--no-color", "--report", "json", "--report-json-path", report],
        cwd=tmp_path,
        env={
            **os.environ,
            "BACKEND_KEY": API_KEY,
            "USER_TOKEN": token(USER, ROLE),
            "NOTIFICATION": NOTIFICATION,
            "REVISED": REVISED,
            "ERASURE": erase(server, "somebody"),
            "PAGE": PAGE,
            "USER": USER,
            "ROLE": ROLE,
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(report.read_text())
    assert run["complete"]
    assert run["operations"]["tested"] == run["operations"]["total"] >= len(described["paths"])
    assert run["test_cases"]["generated"] > FEWEST_CASES
