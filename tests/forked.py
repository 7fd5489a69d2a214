"""The project's programs, each in a process forked from one that has imported them.

Nearly all that a start costs is importing, and there are a hundred of them. What is inherited, as limits and ignored
signals are, comes from that process and not from the test.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from entrypoints.commands.table import COMMANDS

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        "entrypoints.cli",
        *(f"entrypoints.commands.{name}" for name in COMMANDS.values()),
        "tornado.platform.asyncio",
        "uvloop",
        "tests.forked_last",
    ]
)

SERVER = "entrypoints.serving"
CLI = "entrypoints.cli"


class Forked:
    """What ``subprocess.Popen`` is of a new Python: ``main`` of the module, with these arguments.

    Its output and errors are appended to ``stdout`` and ``stderr``.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        directory: Path,
        environment: Mapping[str, str],
        stdout: Path,
        stderr: Path,
    ) -> None:
        self._process = _FORKING.Process(
            target=_run, args=(module, arguments, directory, dict(environment), stdout, stderr)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_forked(
    module: str, *arguments: str, directory: Path, environment: Mapping[str, str], outputs: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """From beginning to end, in ``directory``; what it prints goes through files in ``outputs``.

    Raises subprocess.TimeoutExpired after ``timeout`` seconds.
    """
    stdout, stderr = outputs / "stdout", outputs / "stderr"
    process = Forked(module, *arguments, directory=directory, environment=environment, stdout=stdout, stderr=stderr)
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess([module, *arguments], code, stdout.read_text(), stderr.read_text())


def _run(
    module: str, arguments: tuple[str, ...], directory: Path, environment: dict[str, str], stdout: Path, stderr: Path
) -> None:
    for path, flags, number in (
        (Path(os.devnull), os.O_RDONLY, 0),
        (stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1),
        (stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2),
    ):
        descriptor = os.open(path, flags, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.exit(import_module(module).main())
