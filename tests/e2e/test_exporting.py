"""Exports beside a server, and imports that are killed at random lines and run again, as an operator does it.

``make campaign`` kills in full.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import random
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.inbox_harness import draft, register
from tests.documents import block
from tests.doubles import ManualClock
from tests.forked import CLI, Forked
from tests.in_time import in_time
from tests.integration.test_backup import names_in
from tests.integration.test_commands import run
from tests.processes import ONE_SECRET, ServerProcess, environment, token
from tests.transfers import (
    KINDS,
    RETENTION,
    InDatabase,
    InFile,
    Place,
    empty_place,
    export,
    fill,
    lines_of,
    opened,
    said,
)

KILLS = 20 if os.environ.get("CAMPAIGN") == "full" else 4
STEP_SECONDS = 60.0

pytestmark = pytest.mark.check


def settings_of(place: Place) -> dict[str, str]:
    return {"SYNKRONE_STORE": place.url if isinstance(place, InDatabase) else f"sqlite:///{place.path}"}  # type: ignore[attr-defined]


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Somewhere that a store may be imported into."""
    with empty_place(request, tmp_path) as place:
        yield place


@pytest.mark.gen_test(timeout=120)
async def test_a_store_is_exported_beside_its_server_and_served_from_elsewhere(empty: Place, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", ONE_SECRET)
    source = ONE_SECRET | {"SYNKRONE_STORE": f"sqlite:///{server.directory}/synkrone.db"}
    target = ONE_SECRET | settings_of(empty)
    file = tmp_path / "copy.ndjson"
    try:
        server.wait_until_ready()
        await server.inbox(token("42"))
        before = await server.publish({"user": "42"}, title="before")

        async def write() -> None:
            while True:
                await server.publish({"user": "43"})

        writing = asyncio.create_task(write())
        code, output, errors = await run("export", "--json", "--output", str(file), settings=source)
        writing.cancel()
        assert (code, errors) == (0, "")
        exported = json.loads(output)
        assert exported["file"] == str(file)
        assert exported["bytes"] == file.stat().st_size
        assert exported["lines"] == len(lines_of(file))
        assert exported["notifications"] == exported["entries"] == exported["head"]
        assert exported["epoch"] == before["cursor"].partition(":")[0]
        assert file.stat().st_mode & 0o777 == 0o600
        assert sorted(names_in(tmp_path)) == ["copy.ndjson", "server"]
        after = await server.publish({"user": "42"}, title="after")

        # It is not written over, and a server's store is not imported into.
        code, output, errors = await run("export", "--output", str(file), settings=source)
        assert (code, output) == (1, "")
        assert errors == f"synkrone-socket: {file} exists: it is not written over, name another file\n"
        code, output, errors = await run("import", str(file), settings=source)
        assert (code, output) == (1, "")
        assert "is in use by another process" in errors

        code, output, errors = await run("import", "--json", str(file), settings=target)
        assert (code, errors) == (0, "")
        imported = json.loads(output)
        assert imported | {"store": ""} == {
            "store": "",
            "lines": exported["lines"],
            "entries": exported["entries"],
            "notifications": exported["notifications"],
            "epoch": exported["epoch"],
            "head": exported["head"],
            "went_on_after_line": 0,
            "before": False,
        }
        assert server.stop() == 0
        server.change(target)
        server.start_again()
        server.wait_until_ready()
        items = (await server.inbox(token("42")))["items"]
        assert [item["title"] for item in items] == ["before"]
        anew = await server.publish({"user": "42"}, title="anew")
        assert after["cursor"].partition(":")[0] != anew["cursor"].partition(":")[0]
    finally:
        server.kill()


@pytest.mark.gen_test(timeout=120)
async def test_what_the_page_says_to_type_carries_a_store_over(tmp_path: Path) -> None:
    source = InFile(tmp_path / "synkrone.db")
    await fill(source)
    exported = settings_of(source)
    page = "docs/how-to/export.md"
    (tmp_path / "new.toml").write_text('store = "sqlite:///new.db"\n')
    await typed(block(page, "bash", "export --output"), tmp_path, exported)
    await typed(block(page, "bash", "new.toml copy.ndjson"), tmp_path, {})
    (tmp_path / "new.db").rename(tmp_path / "first.db")
    await typed(block(page, "bash", "gunzip"), tmp_path, {})
    for name in ("first.db", "new.db"):
        export(InFile(tmp_path / name), tmp_path / f"{name}.ndjson")
        assert said(lines_of(tmp_path / f"{name}.ndjson")) == said(lines_of(tmp_path / "copy.ndjson"))


async def typed(text: str, folder: Path, settings: dict[str, str]) -> None:
    command = text.replace("synkrone-socket", f"{sys.executable} -m entrypoints.cli")
    bash = await asyncio.create_subprocess_exec(
        "bash", "-euc", f"set -o pipefail; {command}", cwd=folder, env=environment(settings)
    )
    assert await in_time(bash.wait(), STEP_SECONDS) == 0


@pytest.mark.gen_test(timeout=60)
async def test_on_standard_output_and_from_standard_input_there_is_nothing_else(tmp_path: Path) -> None:
    place = InFile(tmp_path / "synkrone.db")
    await fill(place)
    code, output, errors = await run("export", settings=settings_of(place))
    assert code == 0
    # Only a line feed ends a line: strings may hold what others take for one.
    lines = [json.loads(line) for line in output.removesuffix("\n").split("\n")]
    assert (lines[0]["kind"], lines[-1]["kind"]) == ("export", "end")
    assert errors.startswith("Exported ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export",), "there is nothing to export"),
        (("import", "/none/there.ndjson"), "cannot be read: No such file or directory"),
    ],
)
@pytest.mark.gen_test(timeout=60)
async def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    code, output, errors = await run(*arguments, settings=settings_of(InFile(tmp_path / "none.db")))
    assert (code, output) == (1, "")
    assert says in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("command", [("export",), ("import", "x")])
@pytest.mark.gen_test(timeout=60)
async def test_what_is_kept_in_memory_cannot_be_carried(command: tuple[str, ...]) -> None:
    code, _, errors = await run(*command, settings={"SYNKRONE_STORE": "memory://"})
    assert code in {1, 2}
    assert errors.count("\n") == 1


@pytest.mark.gen_test(timeout=60)
async def test_a_folder_that_knows_of_no_store_is_given_none(tmp_path: Path) -> None:
    file, server = tmp_path / "export.ndjson", ServerProcess(tmp_path / "server", ONE_SECRET)
    try:
        server.wait_until_ready()
        await server.publish({"user": "42"})
    finally:
        server.stop()
    source = ONE_SECRET | {"SYNKRONE_STORE": f"sqlite:///{server.directory}/synkrone.db"}
    assert (await run("export", "--output", str(file), settings=source))[0] == 0
    code, output, errors = await run("import", str(file), settings={})
    assert (code, output) == (2, "")
    assert errors.startswith("synkrone-socket: store: nothing says where it is, and FOLDER/synkrone.db does not exist")


class Import:
    """A process that imports what is written into a pipe."""

    def __init__(self, place: Place, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        os.mkfifo(folder / "pipe")
        for name in ("stdout", "stderr"):
            (folder / name).touch()
        self._process = Forked(
            CLI,
            "import",
            "--json",
            str(folder / "pipe"),
            directory=folder,
            environment=environment(settings_of(place)),
            stdout=folder / "stdout",
            stderr=folder / "stderr",
        )
        self._pipe = -1
        self._until(self._has_opened_it)
        os.set_blocking(self._pipe, True)

    def feed(self, octets: bytes) -> None:
        """Return when it has read them all."""
        view = memoryview(octets)
        while view:
            view = view[os.write(self._pipe, view) :]
        self._until(lambda: _waiting_in(self._pipe) == 0)

    def ends(self) -> dict[str, object]:
        os.close(self._pipe)
        self._until(lambda: self._process.poll() is not None)
        assert self._process.poll() == 0, (self._folder / "stderr").read_text()
        found: dict[str, object] = json.loads((self._folder / "stdout").read_text())
        return found

    def kill_within(self, seconds: float) -> None:
        """Once it has begun to do what is left to do with the whole file, it may be."""
        os.close(self._pipe)
        time.sleep(seconds)
        self._process.kill()
        self._process.wait(STEP_SECONDS)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(STEP_SECONDS)
        os.close(self._pipe)

    def _has_opened_it(self) -> bool:
        try:
            self._pipe = os.open(self._folder / "pipe", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        return self._pipe >= 0

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STEP_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            assert self._process.poll() in {None, 0}, (self._folder / "stderr").read_text()
            time.sleep(0.001)


def _waiting_in(pipe: int) -> int:
    """How many bytes nobody has read."""
    (number,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return int(number)


@pytest.mark.campaign
@pytest.mark.gen_test(timeout=480)
async def test_an_import_that_is_killed_at_random_lines_is_the_same_in_the_end(empty: Place, tmp_path: Path) -> None:
    source = InFile(tmp_path / "synkrone.db")
    clock = ManualClock()
    await fill(source, clock)
    async with opened(source, clock, **RETENTION) as store:
        ann = await register(store)
        for batch in range(8):
            await store.append([draft(f"many-{batch}-{number}") for number in range(1000)])
            await store.acknowledge({(ann.user, ann.role): await store.head()})
    file = tmp_path / "export.ndjson"
    export(source, file)
    octets = file.read_bytes()
    lines = octets.splitlines(keepends=True)
    numbers = random.Random()
    seed = numbers.randrange(1 << 30)
    numbers.seed(seed)
    print("seed", seed)
    for kill in range(KILLS):
        importing = Import(empty, tmp_path / f"kill-{kill}")
        if numbers.random() < 0.75:
            importing.feed(b"".join(lines[: numbers.randrange(len(lines))]))
            importing.kill()
        else:
            importing.feed(octets)
            importing.kill_within(numbers.random())
    imported = Import(empty, tmp_path / "last")
    imported.feed(octets)
    report = imported.ends()
    print(report)
    assert report["lines"] == len(lines)
    async with opened(empty, clock, **RETENTION) as store:
        assert (await store.head()).offset == report["head"]
        assert (await store.count(ann)).counts.total > 8000
    again = tmp_path / "again.ndjson"
    export(empty, again)
    assert said(lines_of(again)) == said(lines_of(file))
