"""``synkrone-socket bench``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from entrypoints.bench.load import CannotLoad, Plan, put_load
from entrypoints.bench.report import Report, Usage
from entrypoints.commands.options import (
    DONE,
    FAILED,
    Commands,
    a_url,
    add_command,
    add_config,
    add_key_file,
    complain,
    key_of,
    settings_of,
)
from entrypoints.demo.child import CannotStart, ServerChild
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_access import AuthSettings
from entrypoints.tokens import mint

MOST_CONNECTIONS, MOST_PER_SECOND, MOST_SECONDS = 10_000, 10_000, 600
ROLE = "bench"
LIFE = timedelta(hours=1)


def add_to(commands: Commands) -> None:
    about = "put a small load on a server, for sizing a machine"
    examples = (
        "bench",
        "bench --connections 1000 --rate 500 --seconds 30 --json",
        "bench --url https://staging.example --connections 200 --rate 20",
        "bench --url https://staging.example --key-file bench.key",
    )
    command = add_command(commands, "bench", about, examples=examples)
    add_config(command)
    add_key_file(command)
    command.add_argument(
        "--url",
        type=a_url,
        help="of a server with these settings, where what is published stays (default: one is started for this alone)",
    )
    for option, what, default, most in (
        ("--connections", "users who are connected", 100, MOST_CONNECTIONS),
        ("--rate", "notifications published a second, each to one of them", 100, MOST_PER_SECOND),
        ("--seconds", "for so long", 10, MOST_SECONDS),
    ):
        command.add_argument(
            option, type=_up_to(most), default=default, metavar="N", help=f"{what}, up to {most} (default: {default})"
        )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        report = asyncio.run(_measure(options))
    except (CannotLoad, CannotStart) as error:
        complain(error)
        return FAILED
    print(report.as_json() if options.json else report.as_text())
    return FAILED if report.has_lost or report.refused else DONE


async def _measure(options: argparse.Namespace) -> Report:
    """Raises CannotLoad, CannotStart and SettingsError."""
    began: list[tuple[float, Usage | None]] = []
    async with _subject(options) as (url, auth, key, pid):

        def mint_for(user: str) -> str:
            return mint(auth, user=user, role=auth.roles[0] if auth.roles else ROLE, ttl=LIFE)

        plan = Plan(url, key, mint_for, options.connections, options.rate, options.seconds)
        measured = await put_load(plan, lambda: began.append((time.monotonic(), _usage(pid))))
        ((start, before),) = began
        return Report.of(measured, time.monotonic() - start, before, _usage(pid))


@asynccontextmanager
async def _subject(options: argparse.Namespace) -> AsyncIterator[tuple[str, AuthSettings, str, int | None]]:
    """Where the load goes, how tokens are signed, an API key, and the server's process where it is our own."""
    if options.url is not None:
        with settings_of(options) as (settings, _):
            yield options.url, settings.auth, _key_of(options, settings), None
        return
    secret, key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="synkrone-bench-") as folder:
        server = ServerChild(
            {
                "SYNKRONE_AUTH__SECRET": secret,
                "SYNKRONE_API__KEY": key,
                "SYNKRONE_STORE": f"sqlite:///{Path(folder) / 'bench.db'}",
                "SYNKRONE_LOG__LEVEL": "warning",
            }
        )
        try:
            await server.start()
            yield f"http://127.0.0.1:{server.port}", AuthSettings(secret=[SecretStr(secret)]), key, server.pid
        finally:
            await server.stop()


def _key_of(options: argparse.Namespace, settings: Settings) -> str:
    """Raises SettingsError."""
    if not settings.auth.secret:
        raise SettingsError("auth.secret: is needed to sign the tokens of those who connect")
    return key_of(options, settings)


def _usage(pid: int | None) -> Usage | None:
    """None of a server elsewhere, and where the system has no /proc."""
    if pid is None:
        return None
    with contextlib.suppress(OSError):
        return Usage.of(pid)
    return None


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a number, 1 to {most}")
        return int(text)

    return number
