"""``serve`` with several workers on one port: started, kept running, replaced one after another, stopped together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from adapters.http.binding import address_of, close_bound
from adapters.system.ids import SystemRandomness
from adapters.telemetry.logs import set_log_level
from domain.ports import Randomness
from entrypoints.binding import open_port
from entrypoints.checking import check_workers
from entrypoints.container import build_container
from entrypoints.event_loop import run
from entrypoints.inherited import inherited_sockets
from entrypoints.service_manager import ServiceManager
from entrypoints.serving import WRONG_SETTING, print_address, serve, with_settings
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_reading import Naming, read_again
from entrypoints.settings_sources import Sources
from entrypoints.stopping import StopSignals
from entrypoints.supervisor import FIRST_DELAY, HEALTHY_AFTER, MAX_DELAY
from entrypoints.tls import check_tls
from entrypoints.worker import HURRY, LEAVE, RELOAD, STOP, Place, settings_of, work
from entrypoints.worker_process import Worker, WorkerEnded

_log = logging.getLogger("synkrone.workers")

START_SECONDS: Final = 60.0
"""For a worker to serve, but for the first of all, which may have to bring the store into another form."""

STOP_SECONDS: Final = 33.0
"""For a worker to drain and to close; afterwards it is killed."""

HURRY_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 1.0


class _Slot:
    """Where one worker after another serves."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.changing = asyncio.Lock()


class Workers:
    """Processes that serve the same sockets, ``size`` of them.

    One that ends is started again, after a pause that doubles from start to start, and is short again for one that ran
    for a while. Where none serves for ``GIVE_UP_SECONDS`` they are given up. While they are replaced there is one
    more, so that their numbers are 1 to ``size`` + 1. Where the sockets are ``inherited`` who comes while the workers
    end waits for those that come after them.
    """

    def __init__(
        self,
        size: int,
        sockets: Sequence[socket.socket],
        randomness: Randomness,
        *,
        inherited: bool = False,
        read_settings: Callable[[], None] = lambda: None,
    ) -> None:
        """``read_settings`` is called, in a thread, before the workers are to read them again. It raises SettingsError
        where they are not to."""
        self._size = size
        self._inherited = inherited
        self._read_settings = read_settings
        self._sockets = sockets
        self._randomness = randomness
        self._alive: dict[int, Worker] = {}
        self._slots: list[_Slot] = []
        self._to_replace = asyncio.Event()

    def reload(self, but: Worker | None = None) -> None:
        """Have all read the settings again, but for one that has."""
        for worker in self._alive.values():
            if worker is not but:
                worker.tell(RELOAD)

    def replace_all(self) -> None:
        """One after another, each once a new one serves; again where they are just being replaced."""
        self._to_replace.set()

    async def run(self, signals: StopSignals, announce: Callable[[], None]) -> int:
        """Until told to stop; ``announce`` is called once all serve.

        Returns the exit code: 2 where the settings are wrong, 1 where the first do not serve, none serves any more, or
        one did not end in good order.
        """
        supervising = asyncio.create_task(self._supervise(announce, signals))
        stopped = asyncio.create_task(signals.stop.wait())
        await asyncio.wait((supervising, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        code = await _ended(supervising)
        return max(code, await self._stop(signals))

    async def _supervise(self, announce: Callable[[], None], signals: StopSignals) -> int:
        """For as long as it makes sense; the exit code."""
        try:
            await self._start_all()
        except WorkerEnded as ended:
            return WRONG_SETTING if ended.code == WRONG_SETTING else 1
        except TimeoutError:
            _log.error("a worker does not come to serve", extra={"seconds": START_SECONDS})
            return 1
        announce()
        loops = [
            self._until_none_serves(),
            self._replace_when_told(),
            self._reload_when_told(signals),
            *map(self._keep_running, self._slots),
        ]
        tasks = [asyncio.create_task(each) for each in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()
        _log.error("no worker serves: they are given up", extra={"seconds": GIVE_UP_SECONDS})
        return 1

    async def _start_all(self) -> None:
        """Raises WorkerEnded and TimeoutError.

        The first one by itself: what is wrong is said once, and it may have to bring the store into another form.
        """
        first = self._start()
        await first.serves()
        others = [self._start() for _ in range(self._size - 1)]
        await asyncio.gather(*map(_serves_in_time, others))
        self._slots = [_Slot(worker) for worker in (first, *others)]

    def _start(self) -> Worker:
        number = next(number for number in count(1) if number not in self._alive)
        worker = self._alive[number] = Worker(number, self._sockets, self.reload)
        worker.ended.add_done_callback(lambda _: self._alive.pop(number))
        _log.info("worker started", extra={"worker": number, "pid": worker.pid})
        return worker

    async def _keep_running(self, slot: _Slot) -> None:
        delay = FIRST_DELAY
        while True:
            worker = slot.worker
            code = await asyncio.shield(worker.ended)
            async with slot.changing:
                if slot.worker is not worker:
                    continue
                _log.error("worker has ended", extra={"worker": worker.number, "pid": worker.pid, "code": code})
                if time.monotonic() - worker.started_at > HEALTHY_AFTER:
                    delay = FIRST_DELAY
                await asyncio.sleep(self._randomness.uniform(delay / 2, delay))
                delay = min(MAX_DELAY, delay * 2)
                slot.worker = self._start()
                await self._comes_to_serve(slot.worker)

    async def _replace_when_told(self) -> None:
        while True:
            await self._to_replace.wait()
            self._to_replace.clear()
            _log.info("replacing the workers")
            if await self._replace_each():
                _log.info("workers replaced")
            else:
                _log.error("the other workers are not replaced, as a new one does not serve")

    async def _reload_when_told(self, signals: StopSignals) -> None:
        while True:
            await signals.reload.wait()
            signals.reload.clear()
            try:
                await asyncio.to_thread(self._read_settings)
            except SettingsError as error:
                setting, _, reason = str(error).partition(": ")
                _log.error("not reloaded", extra={"by": "SIGHUP", "setting": setting, "reason": reason})
                continue
            self.reload()

    async def _replace_each(self) -> bool:
        """Whether all of them were."""
        for slot in self._slots:
            async with slot.changing:
                successor = self._start()
                if not await self._comes_to_serve(successor):
                    return False
                slot.worker, replaced = successor, slot.worker
            replaced.tell(LEAVE)
            await replaced.ends(STOP_SECONDS)
        return True

    async def _comes_to_serve(self, worker: Worker) -> bool:
        """Whether it does. One that does not in time is killed."""
        try:
            await _serves_in_time(worker)
        except TimeoutError:
            await worker.ends(0)
            return False
        except WorkerEnded:
            return False
        return True

    async def _until_none_serves(self) -> None:
        served_at = time.monotonic()
        while time.monotonic() - served_at < GIVE_UP_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            if any(worker.is_serving for worker in self._alive.values()):
                served_at = time.monotonic()

    async def _stop(self, signals: StopSignals) -> int:
        """Drain them all; 0 where they end in good order, else 1."""
        workers = list(self._alive.values())
        for worker in workers:
            worker.tell(LEAVE if self._inherited else STOP)
        ended = asyncio.gather(*(worker.ends(STOP_SECONDS) for worker in workers))
        hurried = asyncio.create_task(signals.hurry.wait())
        await asyncio.wait((ended, hurried), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            for worker in workers:
                worker.tell(HURRY)
            await asyncio.gather(*(worker.ends(HURRY_SECONDS) for worker in workers))
        hurried.cancel()
        await ended
        return 1 if any(worker.ended.result() for worker in workers) else 0


async def _serves_in_time(worker: Worker) -> None:
    """Raises WorkerEnded and TimeoutError."""
    async with asyncio.timeout(START_SECONDS):
        await worker.serves()


async def _ended(supervising: asyncio.Task[int]) -> int:
    """Its exit code; 0 where it is to stop."""
    supervising.cancel()
    await asyncio.wait((supervising,))
    return 0 if supervising.cancelled() else supervising.result()


async def supervise(
    settings: Settings,
    sources: Sources,
    sockets: Sequence[socket.socket],
    manager: ServiceManager,
    *,
    inherited: bool,
) -> int:
    """Until SIGTERM or SIGINT, then have all workers drain; a second signal ends them at once.

    SIGHUP has them read the settings again, SIGUSR2 has them replaced. Returns the exit code.
    """
    loop = asyncio.get_running_loop()
    signals = StopSignals(loop, reloads=True)
    url = address_of(sockets[0], scheme="https" if settings.tls.cert is not None else "http")
    serving = f"{settings.workers} workers serve {url}"

    def read_settings() -> None:
        manager.reloading()
        try:
            again, found = read_again(sources, os.environ)
            with Naming(found):
                check_workers(again)
                build_container(again)
                check_tls(again.tls, "tls")
                check_tls(again.internal.tls, "internal.tls")
            set_log_level(again.log.level)
        finally:
            manager.ready(serving)

    workers = Workers(settings.workers, sockets, SystemRandomness(), inherited=inherited, read_settings=read_settings)
    loop.add_signal_handler(signal.SIGUSR2, workers.replace_all)

    def announce() -> None:
        print_address(url)
        _log.info("workers serve", extra={"workers": settings.workers, "url": url})
        manager.ready(serving)

    async def say_that_it_ends() -> None:
        await signals.stop.wait()
        manager.stopping("the workers drain")

    beside = [loop.create_task(say_that_it_ends()), loop.create_task(manager.watch())]
    try:
        code = await workers.run(signals, announce)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
    _log.info("all workers have ended", extra={"code": code})
    return code


def run_workers(settings: Settings, sources: Sources, manager: ServiceManager) -> int:
    """The supervising process. Raises SettingsError."""
    check_workers(settings)
    check_tls(settings.tls, "tls")
    given = inherited_sockets(os.environ, os.getpid())
    if given.internal:
        raise SettingsError("LISTEN_FDNAMES: several workers cannot share a socket for the internal listener")
    inherited = bool(given.public)
    sockets = given.public or open_port(settings)
    try:
        return run(supervise(settings, sources, sockets, manager, inherited=inherited))
    finally:
        if not inherited:
            close_bound(sockets)


def main(config: Path | None = None, workers: int | None = None) -> int:
    """The process of ``synkrone-socket serve``: one server, the supervisor of several, or one of those.

    Returns the exit code: 0, 1 where it did not end in good order, 2 for a wrong setting. ``workers`` comes before the
    setting.
    """
    place = Place.take(os.environ)
    manager = ServiceManager.taken(os.environ, os.getpid())

    def serve_as(settings: Settings, sources: Sources) -> int:
        if place is not None:
            return run(work(place, settings_of(settings, place.number), sources))
        if settings.workers > 1:
            return run_workers(settings, sources, manager)
        return run(serve(settings, sources, inherited_sockets(os.environ, os.getpid()), manager))

    return with_settings(serve_as, config, workers=workers, log_fields={"worker": place.number} if place else {})
