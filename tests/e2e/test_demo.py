"""``demo``: it shows that a user who was away misses nothing, and keeps its inbox from one run to the next."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.processes import ONE_SECRET, environment, token

RUN_SECONDS = 30.0


async def demo(directory: Path) -> str:
    """One round of it: what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "entrypoints.cli", "demo", "--once"),
        cwd=directory,
        env=environment({}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode()


def titles(output: str, user: str) -> list[str]:
    """Of what a user got, in order."""
    return re.findall(rf"^   -> user {user} \(\w+\) got [a-z.]+: (.*)$", output, re.MULTILINE)


@pytest.mark.gen_test(timeout=90)
async def test_a_user_who_was_away_misses_nothing_and_the_inbox_is_kept(serve: Serve, tmp_path: Path) -> None:
    got = ["You have a new mission", "A word to everyone", "Sent while you were away"]
    for _ in range(2):
        output = await demo(tmp_path)
        # On the second run what nobody is known to have received on the first comes before.
        assert titles(output, "42")[-3:] == got
        away = output.index("user 42 is cut off")
        assert away < output.index("user 42 (freelance) is connected, and continues where it was")
        assert away < output.rindex("got message.received: Sent while you were away")
    server = serve(ONE_SECRET | {"SYNKRONE_STORE": f"sqlite:///{tmp_path / 'synkrone-demo.db'}"})
    items = (await server.inbox(token("42")))["items"]
    assert [item["title"] for item in reversed(items)] == got + got
