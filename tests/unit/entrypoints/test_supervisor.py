"""Long-running work: begun again after a passing fault, given up after any other."""

from __future__ import annotations

import asyncio
import logging

import pytest

from domain.errors import StoreUnavailable
from entrypoints.supervisor import Supervisor, every, until
from tests.doubles import FixedRandomness, ManualClock
from tests.in_time import in_time


class Work:
    """Fails with each of the faults in turn, then ends. ``lasts`` is how long each run takes, in seconds."""

    def __init__(self, clock: ManualClock, *faults: Exception, lasts: float = 0.0) -> None:
        self._clock = clock
        self._faults = list(faults)
        self._lasts = lasts
        self.runs = 0
        self.supervisor = Supervisor("delivery", self.run, clock=clock, randomness=FixedRandomness(share=1.0))
        self.fault_while_running: list[str | None] = []

    async def run(self) -> None:
        self.runs += 1
        self.fault_while_running.append(self.supervisor.fault)
        self._clock.advance(self._lasts)
        if self._faults:
            raise self._faults.pop(0)


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes any time."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr("entrypoints.supervisor.asyncio.sleep", sleep)
    return made


@pytest.mark.gen_test
async def test_a_passing_fault_is_told_and_tried_again(delays: list[float], caplog: pytest.LogCaptureFixture) -> None:
    work = Work(ManualClock(), StoreUnavailable("disk full"), StoreUnavailable())
    assert work.supervisor.fault == "not started"
    await work.supervisor()
    assert work.runs == 3
    assert work.fault_while_running == [None, None, None]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [(r.getMessage(), r.__dict__["code"], r.__dict__["detail"]) for r in warnings] == [
        ("delivery is interrupted", "store_unavailable", "disk full"),
        ("delivery is interrupted", "store_unavailable", None),
    ]


@pytest.mark.gen_test
async def test_while_it_waits_it_has_a_fault() -> None:
    failing = asyncio.Event()

    async def run() -> None:
        failing.set()
        raise StoreUnavailable

    it = Supervisor("delivery", run, clock=ManualClock(), randomness=FixedRandomness())
    task = asyncio.create_task(it())
    await failing.wait()
    assert it.fault == "store_unavailable"
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.gen_test
async def test_pauses_double_up_to_a_bound(delays: list[float]) -> None:
    await Work(ManualClock(), *(StoreUnavailable() for _ in range(9))).supervisor()
    assert delays == [0.5, 1, 2, 4, 8, 10, 10, 10, 10]


@pytest.mark.gen_test
async def test_a_run_that_went_well_for_long_begins_with_short_pauses_again(delays: list[float]) -> None:
    await Work(ManualClock(), *(StoreUnavailable() for _ in range(3)), lasts=61).supervisor()
    assert delays == [0.5, 0.5, 0.5]


@pytest.mark.gen_test
async def test_half_of_a_pause_is_chance() -> None:
    asked: list[tuple[float, float]] = []

    class Recorded(FixedRandomness):
        def uniform(self, low: float, high: float) -> float:
            asked.append((low, high))
            return 0.0

    work = Work(ManualClock(), StoreUnavailable(), StoreUnavailable())
    await Supervisor("delivery", work.run, clock=ManualClock(), randomness=Recorded())()
    assert asked == [(0.25, 0.5), (0.5, 1.0)]


@pytest.mark.gen_test
async def test_a_defect_ends_it(delays: list[float]) -> None:
    work = Work(ManualClock(), ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect"):
        await work.supervisor()
    assert (work.runs, delays) == (1, [])


@pytest.mark.gen_test
async def test_every() -> None:
    calls: list[str] = []
    enough = asyncio.Event()

    def last() -> None:
        calls.append("b")
        if len(calls) >= 4:
            enough.set()

    task = asyncio.create_task(every(0.001, lambda: calls.append("a"), last))
    await in_time(enough.wait(), 5)
    task.cancel()
    await asyncio.wait([task])
    assert calls[:4] == ["a", "b", "a", "b"]


@pytest.mark.gen_test
async def test_until() -> None:
    answers = [False, False, True, True]

    async def condition() -> bool:
        return answers.pop(0)

    async with asyncio.timeout(5):
        await until(condition, look_every=0.001)
    assert answers == [True]
