"""``synkrone-socket publish``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from adapters.contract.json_text import InvalidJson, parse_object, parse_timestamp, timestamp
from domain.errors import InvalidPublication
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

_AUDIENCES = (
    "user:ID, users:ID,ID, role:NAME, topic:NAME, any_of:role:NAME,topic:NAME, all_of:role:NAME,topic:NAME or everyone"
)


def add_to(commands: Commands) -> None:
    examples = (
        "publish --to user:42 --type mission.assigned --title 'A mission for you'",
        "publish --to role:company --type invoice.paid --data '{\"invoice\": 7}' --id invoice-7",
        "publish --to everyone --type maintenance.planned --expires-at 2h",
        "publish --to user:42 --type shift.begins --deliver-at 2h",
        "publish --url https://notifications.example --key-file billing.key --to everyone --type maintenance.planned",
    )
    command = add_command(commands, "publish", "post a notification to a running server", examples=examples)
    add_config(command)
    add_url(command)
    add_key_file(command)
    command.add_argument("--to", type=_audience, required=True, help=_AUDIENCES)
    command.add_argument("--type", type=a_text, required=True, help="for example mission.assigned")
    command.add_argument("--title", type=a_text)
    command.add_argument("--body", type=a_text)
    command.add_argument("--data", type=_json_object, help="a JSON object")
    command.add_argument("--id", type=a_text, help="makes a retry safe")
    command.add_argument(
        "--collapse-key", type=a_text, metavar="KEY", help="it takes the place of those before it with the same key"
    )
    command.add_argument(
        "--expires-at",
        type=_time,
        metavar="TIME",
        help="as 2030-01-31T12:00:00Z, or how long from now, as 90 (seconds), 30m or 7d; with --id a time, as a retry "
        "has to say the same",
    )
    command.add_argument(
        "--deliver-at",
        type=_time,
        metavar="TIME",
        help="it is sent then, and until then can be changed or taken back; written as --expires-at, with --id a time "
        "too",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        key = key_of(options, settings)
    body: dict[str, Any] = {"to": options.to, "type": options.type}
    optional = ("title", "body", "data", "id", "expires_at", "deliver_at", "collapse_key")
    body |= {name: value for name in optional if (value := getattr(options, name)) is not None}
    url = url_of(options, settings)
    try:
        status, answer = asyncio.run(client.publish(url, key, body))
    except (aiohttp.ClientError, TimeoutError) as error:
        complain(f"cannot reach {url}: {reason_of(error)}")
        return FAILED
    print(answer, file=sys.stdout if status < 400 else sys.stderr)
    return DONE if status < 400 else FAILED


def _audience(text: str) -> dict[str, object]:
    kind, _, names = a_text(text).partition(":")
    if kind == "everyone" and not names:
        return {"everyone": True}
    if kind in ("user", "role", "topic") and names:
        return {kind: names}
    if kind in ("any_of", "all_of") and names:
        groups = [group.partition(":") for group in names.split(",")]
        if all(of in ("role", "topic") and name for of, _, name in groups):
            return {kind: [{of: name} for of, _, name in groups]}
    if kind == "users" and names:
        return {"users": names.split(",")}
    raise argparse.ArgumentTypeError(f"must be {_AUDIENCES}")


def _time(text: str) -> str:
    try:
        parse_timestamp(text)
    except ValueError:
        pass  # how long from now it is
    else:
        return text
    try:
        return timestamp(datetime.now(UTC) + duration(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be a time such as 2030-01-31T12:00:00Z, or how long from now: 90 (seconds), 30m, 7d"
        ) from None


def _json_object(text: str) -> msgspec.Raw:
    """Passed on as it was written: reading and writing it anew would change its numbers."""
    data = a_text(text).encode()
    try:
        parse_object(data)
    except InvalidJson as error:
        raise argparse.ArgumentTypeError(f"must be JSON: {error.detail}") from None
    except InvalidPublication:
        raise argparse.ArgumentTypeError("must be a JSON object") from None
    return msgspec.Raw(data)
