"""``bench``: what it measures of a server, and when it says that something is wrong."""

from __future__ import annotations

import json
import os

import pytest

from entrypoints.bench.load import Measured
from entrypoints.bench.report import Report, Usage
from tests.integration.test_commands import run, running
from tests.processes import API_KEY, ONE_SECRET, SECRET, ServerProcess, port_to_keep


def report(measured: Measured, before: Usage | None = None, after: Usage | None = None) -> Report:
    return Report.of(measured, 10.0, before, after)


def test_a_report_has_what_was_measured() -> None:
    hundred = [number / 1000 for number in range(100, 0, -1)]
    measured = Measured(connected=5, published=100, answers=hundred, deliveries=hundred)
    said = report(measured, Usage(1.0, 7), Usage(2.0, 3 * 2**20))
    assert (said.publishes_per_second, said.server_cores, said.has_lost) == (10.0, 0.1, False)
    assert said.answer_ms == said.delivery_ms == {"p50": 50.0, "p99": 99.0}
    text = said.as_text()
    assert "published to had  p50 50.0 ms, p99 99.0 ms (100 of 100)" in text
    assert "server            0.10 of a core, 3 MiB" in text
    assert "does about 100 such publishes/s" in text
    assert json.loads(said.as_json())["connections"] == 5


def test_what_did_not_come_or_was_refused_or_late_is_said() -> None:
    said = report(Measured(connected=1, published=3, refused=2, deliveries=[0.1], late=4.0))
    assert said.has_lost
    assert said.answer_ms == {"p50": None, "p99": None}
    text = said.as_text()
    assert "(1 of 3)" in text
    assert "refused           2" in text
    assert "fell behind by 4.0 s" in text
    assert "of a core" not in text


def test_a_process_is_read_from_the_system() -> None:
    usage = Usage.of(os.getpid())
    assert usage.processor > 0
    assert usage.resident > 2**20


@pytest.mark.gen_test(timeout=90)
async def test_a_load_on_a_server_of_its_own_and_on_one_that_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    load = ("bench", "--connections", "3", "--rate", "20", "--seconds", "1", "--json")
    async with running("-m", "entrypoints.cli", *load, settings={}) as command:
        code, output, errors = await command.ended()
        assert (code, errors) == (0, "")
        assert command.left_behind() == []
    said = json.loads(output)
    assert (said["connections"], said["published"], said["received"], said["refused"]) == (3, 20, 20, 0)
    assert said["server_bytes"] > 2**20
    folder = tmp_path_factory.mktemp("server")
    server = ServerProcess(folder, ONE_SECRET)
    (folder / "api.key").write_text(f"{API_KEY}\n")
    secret = {name: value for name, value in ONE_SECRET.items() if name != "SYNKRONE_API__KEY"}
    try:
        server.wait_until_ready()
        key_file = str(folder / "api.key")
        code, output, errors = await run(*load, "--url", server.url, "--key-file", key_file, settings=secret)
        assert (code, errors) == (0, "")
        said = json.loads(output)
        assert (said["received"], said["server_cores"]) == (20, None)
    finally:
        server.kill()


@pytest.mark.gen_test
async def test_a_load_that_cannot_be_put() -> None:
    nowhere = f"http://127.0.0.1:{port_to_keep()}"
    code, output, errors = await run("bench", "--url", nowhere, "--seconds", "1", settings=ONE_SECRET)
    assert (code, output) == (1, "")
    assert errors == f"synkrone-socket: {nowhere}: cannot connect: nothing listens there (connection refused)\n"
    code, _, errors = await run("bench", "--url", nowhere, settings={})
    assert code == 2
    assert errors.startswith("synkrone-socket: auth.secret: is needed to sign the tokens")
    code, _, errors = await run("bench", "--url", nowhere, settings={"SYNKRONE_AUTH__SECRET": SECRET})
    assert code == 2
    assert errors.startswith("synkrone-socket: api.key: is required (SYNKRONE_API__KEY), or --key-file FILE")
