from __future__ import annotations

import base64
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import adapters.system.random_bytes
from adapters.system.random_bytes import random_bytes, random_text

OF_PARENT_AND_CHILD = """
import os
import adapters.system.random_bytes
from adapters.system.random_bytes import random_bytes
random_bytes(1)
reads, writes = os.pipe()
if os.fork() == 0:
    os.write(writes, random_bytes(16))
    os._exit(0)
os.wait()
print(os.read(reads, 16).hex(), random_bytes(16).hex())
"""


def test_as_many_come_as_were_asked_for() -> None:
    assert [len(random_bytes(number)) for number in (0, 1, 15, 4095, 4096, 4097, 20_000)] == [
        0, 1, 15, 4095, 4096, 4097, 20_000,
    ]  # fmt: skip


def _let_others_run(frame: FrameType, _event: str, _argument: object) -> Any:
    """Before every line of the module."""
    if frame.f_code.co_filename != adapters.system.random_bytes.__file__:
        return None
    time.sleep(0)
    return _let_others_run


def test_nobody_has_what_another_has_however_many_threads_take() -> None:
    def take(_: int) -> list[bytes]:
        sys.settrace(_let_others_run)
        try:
            return [random_bytes(12) for _ in range(500)]
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(4) as threads:
        taken = [one for of_thread in threads.map(take, range(4)) for one in of_thread]
    assert len(set(taken)) == len(taken)


def test_a_child_has_others_than_its_parent() -> None:
    # A process of its own: to fork one with threads is to be warned.
    printed = subprocess.run(
        [sys.executable, "-c", OF_PARENT_AND_CHILD], capture_output=True, check=True, text=True, timeout=30
    ).stdout
    of_child, of_parent = printed.split()
    assert len(of_child) == len(of_parent) == 32
    assert of_child != of_parent


def test_text_is_the_letters_of_urls_without_padding() -> None:
    for number in range(1, 20):
        text = random_text(number)
        assert len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) == number
        assert "=" not in text
