"""``synkrone-socket why``: why a user got a notification, or did not, as a running server knows it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec

from adapters.contract.json_text import parse_timestamp, timestamp
from entrypoints import client
from entrypoints.commands.options import (
    DONE,
    FAILED,
    Commands,
    a_text,
    add_command,
    add_config,
    add_key_file,
    add_url,
    complain,
    key_of,
    settings_of,
    url_of,
)
from entrypoints.settings_types import duration
from entrypoints.unreachable import reason_of

PAGES_MOST = 50


def add_to(commands: Commands) -> None:
    examples = (
        "why --user 42 --id mission-7",
        "why --user 42 --since 2h",
        "why --user 42 --since 2030-01-31T12:00:00Z --url https://notifications.example --json",
        "why --user 42 --key-file support.key",
    )
    command = add_command(commands, "why", "say why a user got a notification, or did not", examples=examples)
    add_config(command)
    add_url(command)
    add_key_file(command)
    command.add_argument("--user", type=a_text, required=True, help="the user's id")
    command.add_argument("--id", type=a_text, help="of one notification")
    command.add_argument(
        "--since", type=_moment, help="a time, or how long ago: 2h, 1d (default: 1d, and any time with --id)"
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        key = key_of(options, settings)
    url = url_of(options, settings)
    query: dict[str, str] = {}
    if options.id is not None:
        query["id"] = options.id
    if options.since is not None:
        query["since"] = timestamp(options.since)
    elif options.id is None:
        query["since"] = timestamp(datetime.now(UTC) - timedelta(days=1))
    try:
        answer = asyncio.run(_ask(url, key, options.user, query))
    except (aiohttp.ClientError, TimeoutError) as error:
        complain(f"cannot reach {url}: {reason_of(error)}")
        return FAILED
    except client.NotOurs:
        complain(f"{url} does not answer as this program's server does")
        return FAILED
    except client.Refused as refused:
        print(refused, file=sys.stderr)
        return FAILED
    if options.json:
        print(msgspec.json.encode(answer).decode())
    elif answer["deliveries"] or _scheduled(answer) is not None or options.id is None:
        print("\n".join(_lines(answer)))
    if options.id is not None and not answer["deliveries"] and _scheduled(answer) is None:
        complain(f"no notification {options.id} is known: it was never published, or is too old")
        return FAILED
    return DONE


async def _ask(url: str, key: str, user: str, query: Mapping[str, str]) -> dict[str, Any]:
    """All pages as one, unless there are very many. Raises aiohttp.ClientError, TimeoutError and Refused."""
    whole: dict[str, Any] = {}
    page: str | None = None
    for _ in range(PAGES_MOST):
        asked = {**query, "page": page} if page is not None else query
        answer = await client.deliveries(url, key, user, asked)
        whole = {**answer, "deliveries": [*whole.get("deliveries", []), *answer["deliveries"]]}
        page = answer["next"]
        if page is None:
            break
    return whole


def _lines(answer: Mapping[str, Any]) -> list[str]:
    deliveries: Sequence[Mapping[str, Any]] = answer["deliveries"]
    scheduled = _scheduled(answer)
    if scheduled is not None:
        return [f"{scheduled['id']}: {scheduled['state']}", f"  {scheduled['sentence']}"]
    if not deliveries:
        return [
            f"Nothing that is still there was published for {answer['user']} in that time.",
            "Ask with --id about what was taken back, replaced or scheduled.",
        ]
    lines = [line for delivery in deliveries for line in _of_one(delivery)]
    return [*lines, "There is more: ask about a shorter time."] if answer["next"] is not None else lines


def _scheduled(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The one that was asked for, where it is scheduled or was cancelled. An older server does not say."""
    scheduled: Mapping[str, Any] | None = answer.get("scheduled")
    return scheduled


def _of_one(delivery: Mapping[str, Any]) -> list[str]:
    connections: Sequence[Mapping[str, Any]] = delivery["connections"]
    outcome = str(delivery["outcome"]).replace("_", " ")
    return [f"{delivery['id']}: {outcome}", f"  {delivery['sentence']}", *map(_of_connection, connections)]


def _of_connection(connection: Mapping[str, Any]) -> str:
    until = f"to {connection['until']} ({connection['ended']})" if connection["until"] is not None else "open"
    sent = f"sent {connection['sent_at']}" if connection["sent_at"] is not None else "not sent"
    received = f", received {connection['received_at']}" if connection["received_at"] is not None else ""
    device = connection["device"] or "no device name"
    return f"  - {device}, {connection['transport']}, {connection['since']} {until}: {sent}{received}"


def _moment(text: str) -> datetime:
    try:
        return parse_timestamp(a_text(text))
    except ValueError:
        pass  # how long ago it was
    try:
        return datetime.now(UTC) - duration(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("must be a time such as 2030-01-31T12:00:00Z, or 30m, 2h, 1d") from None
