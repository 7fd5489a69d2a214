from __future__ import annotations

import asyncio
import gc
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from tornado.ioloop import IOLoop

from tests.campaigning import examples

if TYPE_CHECKING:
    from tests.postgresql import Servers

# The base classes of suites are no test modules themselves; without this their failures would show no values.
pytest.register_assert_rewrite("tests.contract", "tests.unit", "tests.engine_io", "tests.e2e.pollers")

# Whoever started the tests may have them ignored, as nohup does, and a shell for what runs in its background; servers
# and commands that inherit that would not hear them either.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is.
settings.register_profile(
    "untimed",
    settings(),
    max_examples=examples(50, in_full=500),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")


WAYS_INTO_THE_CHECK = ("pytest.mark.check", "from tests.transfers import")
ALL_FOR_THE_CHECK = re.compile(r"^pytestmark = .*\bpytest\.mark\.check\b", re.MULTILINE)

# Hundreds of thousands of objects are imported and collected, all to stay: no search for garbage is to go through them.
gc.disable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For ``make test`` and ``make check`` only files are collected that have something for it: to collect all of them
    takes longer, and each of the processes does."""
    expression = config.option.markexpr
    if expression not in ("check", "not check") or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    if expression == "check":
        return None if any(way in text for way in WAYS_INTO_THE_CHECK) else True
    return True if ALL_FOR_THE_CHECK.search(text) else None


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """What was left open and forgotten is to be told of in the end, wherever it is."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def no_stray_loop() -> None:
    """Otherwise pytest-tornado has asyncio make a loop that nobody closes."""
    asyncio.set_event_loop(None)


@pytest.fixture
def io_loop(io_loop: IOLoop) -> Iterator[IOLoop]:
    """The loop of pytest-tornado, which in the end cancels what libraries left running, as ``asyncio.run`` does."""
    yield io_loop
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_asyncgens())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Servers]:
    """PostgreSQL servers, started when a test asks for one and ended with the session."""
    from tests.postgresql import Servers  # noqa: PLC0415 (without its driver everything else can be tested)

    with Servers() as servers:
        yield servers
