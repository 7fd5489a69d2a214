"""How several workers are supervised, with processes that only say that they serve, or do not even that."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoints import worker_process, workers
from entrypoints.settings import SettingsError
from entrypoints.stopping import StopSignals
from entrypoints.workers import Workers
from tests.doubles import FixedRandomness
from tests.in_time import in_time
from tests.serving import eventually

SCRIPT = """
import os, pathlib, socket, sys, time
number, line, *_ = map(int, os.environ["WORKER_OF_SYNKRONE_SOCKET"].split(","))
line = socket.socket(fileno=line)
folder = pathlib.Path(sys.argv[1])
with (folder / "starts").open("a") as starts:
    starts.write(f"{number} {os.getpid()}\\n")
how = (folder / "how").read_text()
if how.startswith("ends"):
    sys.exit(int(how.removeprefix("ends ")))
if how != "hangs":
    line.send(b"v")
if how == "was told":
    line.send(b"r")
while order := line.recv(1):
    if order == b"r":
        with (folder / "reloads").open("a") as reloads:
            reloads.write(f"{number}\\n")
    elif how != "stays":
        break
"""
PATIENCE = 10.0


class Supervised:
    """Workers whose next ones behave as ``how`` says."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        (folder / "starts").touch()
        (folder / "reloads").touch()
        self.wrong: SettingsError | None = None
        self.how = "serves"
        self.announced = asyncio.Event()
        self.signals = StopSignals(asyncio.get_running_loop(), reloads=True)
        self.workers = Workers(size, [], FixedRandomness(), read_settings=self._read_settings)
        self.running = asyncio.create_task(self.workers.run(self.signals, self.announced.set))

    @property
    def how(self) -> str:
        return (self._folder / "how").read_text()

    @how.setter
    def how(self, how: str) -> None:
        (self._folder / "how").write_text(how)

    @property
    def starts(self) -> list[tuple[int, int]]:
        """The number and the process id of each that was started."""
        lines = (self._folder / "starts").read_text().splitlines()
        return [(int(number), int(pid)) for number, pid in map(str.split, lines)]

    @property
    def reloads(self) -> list[int]:
        """The number of each that was told to read the settings again, sorted."""
        return sorted(map(int, (self._folder / "reloads").read_text().split()))

    def _read_settings(self) -> None:
        if self.wrong is not None:
            raise self.wrong

    async def stop(self) -> int:
        self.signals.ask()
        return await in_time(self.running, PATIENCE)


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Supervised]:
    command = [sys.executable, "-S", "-c", SCRIPT, str(tmp_path)]
    monkeypatch.setattr(worker_process, "_own_command", lambda: command)
    monkeypatch.setattr(workers, "FIRST_DELAY", 0.05)
    return lambda size: Supervised(tmp_path, size)


@pytest.mark.gen_test
async def test_all_serve_and_end_in_good_order(supervised: Callable[[int], Supervised]) -> None:
    three = supervised(3)
    await three.announced.wait()
    assert sorted(number for number, _ in three.starts) == [1, 2, 3]
    assert await three.stop() == 0


@pytest.mark.gen_test
async def test_sighup_has_all_read_the_settings_again_unless_they_are_wrong(
    supervised: Callable[[int], Supervised], caplog: pytest.LogCaptureFixture
) -> None:
    three = supervised(3)
    await three.announced.wait()
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: three.reloads == [1, 2, 3], within=PATIENCE)
    three.wrong = SettingsError("auth.secret: has 5 bytes; at least 32 are needed")
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: any(record.msg == "not reloaded" for record in caplog.records), within=PATIENCE)
    three.wrong = None
    os.kill(os.getpid(), signal.SIGHUP)
    await eventually(lambda: three.reloads == [1, 1, 2, 2, 3, 3], within=PATIENCE)
    assert await three.stop() == 0


@pytest.mark.gen_test
async def test_where_one_was_told_to_read_the_settings_again_the_others_are_told(
    supervised: Callable[[int], Supervised],
) -> None:
    three = supervised(3)
    await three.announced.wait()
    three.how = "was told"
    os.kill(three.starts[0][1], signal.SIGKILL)
    await eventually(lambda: three.reloads == [2, 3], within=PATIENCE)
    assert await three.stop() == 0


@pytest.mark.parametrize(("code", "expected"), [(2, 2), (1, 1), (3, 1)])
@pytest.mark.gen_test
async def test_where_the_first_one_does_not_serve_no_other_is_started(
    supervised: Callable[[int], Supervised], code: int, expected: int
) -> None:
    three = supervised(3)
    three.how = f"ends {code}"
    assert await in_time(three.running, PATIENCE) == expected
    assert len(three.starts) == 1
    assert not three.announced.is_set()


@pytest.mark.gen_test
async def test_one_that_ends_is_started_again_after_pauses_that_double(
    supervised: Callable[[int], Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_DELAY", 0.2)
    two = supervised(2)
    await two.announced.wait()
    two.how = "ends 1"
    began = time.monotonic()
    os.kill(two.starts[0][1], signal.SIGKILL)
    await eventually(lambda: len(two.starts) >= 6, within=PATIENCE)
    # Four pauses lie between those starts, each at least half of 0.05, 0.1, 0.2 and 0.2 s.
    assert time.monotonic() - began >= 0.27
    assert {number for number, _ in two.starts[2:]} == {two.starts[0][0]}
    two.how = "serves"
    starts = len(two.starts)
    await eventually(lambda: len(two.starts) > starts, within=PATIENCE)
    assert await two.stop() == 0


@pytest.mark.gen_test
async def test_where_none_serves_they_are_given_up(
    supervised: Callable[[int], Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.05)
    two = supervised(2)
    await two.announced.wait()
    two.how = "ends 1"
    for _, pid in two.starts:
        os.kill(pid, signal.SIGKILL)
    assert await in_time(two.running, PATIENCE) == 1


@pytest.mark.gen_test
async def test_one_that_does_not_end_is_killed(
    supervised: Callable[[int], Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.3)
    two = supervised(2)
    two.how = "stays"
    await two.announced.wait()
    assert await two.stop() == 1


@pytest.mark.gen_test
async def test_they_are_replaced_one_after_another_by_one_more_than_there_are(
    supervised: Callable[[int], Supervised],
) -> None:
    two = supervised(2)
    await two.announced.wait()
    two.workers.replace_all()
    await eventually(lambda: len(two.starts) == 4, within=PATIENCE)
    assert [number for number, _ in two.starts[2:]] == [3, two.starts[0][0]]
    assert await two.stop() == 0


@pytest.mark.parametrize("how", ["hangs", "ends 1"])
@pytest.mark.gen_test
async def test_a_successor_that_does_not_serve_replaces_nobody(
    supervised: Callable[[int], Supervised], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    monkeypatch.setattr(workers, "START_SECONDS", 1.0)
    two = supervised(2)
    await two.announced.wait()
    before = two.starts
    two.how = how
    two.workers.replace_all()
    refused = "the other workers are not replaced, as a new one does not serve"
    await eventually(lambda: refused in caplog.messages, within=PATIENCE)
    assert len(two.starts) == 3
    for _, pid in before:
        os.kill(pid, 0)
    # The number of the one that failed is free again.
    two.how = "serves"
    two.workers.replace_all()
    await eventually(lambda: len(two.starts) == 5, within=PATIENCE)
    assert two.starts[3][0] == 3
    assert await two.stop() == 0


@pytest.mark.gen_test
async def test_a_stop_while_the_first_one_starts_ends_it(supervised: Callable[[int], Supervised]) -> None:
    two = supervised(2)
    two.how = "hangs"
    await eventually(lambda: len(two.starts) == 1, within=PATIENCE)
    assert await two.stop() == 0
    assert len(two.starts) == 1
