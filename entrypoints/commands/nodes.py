"""``synkrone-socket nodes``: who holds a lease in the store of the settings."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from adapters.api.nodes import nodes_object
from adapters.contract.json_text import timestamp, to_json
from adapters.system.nodes import Member
from domain.errors import StoreUnavailable
from entrypoints.commands.options import DONE, FAILED, Commands, add_command, add_config, complain, settings_of
from entrypoints.container import build_store
from entrypoints.settings import Settings, SettingsError

_COLUMNS = ("BOOT", "VERSION", "SINCE", "ADDRESS", "CONNECTIONS", "OFFSET", "LAG")
_NUMBERS = frozenset(("CONNECTIONS", "OFFSET", "LAG"))


def add_to(commands: Commands) -> None:
    about = "list the servers that share the store, as each last said of itself"
    command = add_command(commands, "nodes", about, examples=("nodes", "nodes --json"))
    add_config(command)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        try:
            members = asyncio.run(_read_members(settings))
        except StoreUnavailable as error:
            complain(error)
            return FAILED
    print(_as_json(members) if options.json else _as_table(members))
    return DONE


async def _read_members(settings: Settings) -> Sequence[Member]:
    """Raises StoreUnavailable, and SettingsError."""
    registry = build_store(settings).registry()
    if registry is None:
        raise SettingsError("store: only servers that share a postgresql:// store are nodes")
    try:
        return (await registry.roll()).members
    finally:
        await registry.close()


def _as_json(members: Sequence[Member]) -> str:
    return to_json(nodes_object(members)).decode()


def _as_table(members: Sequence[Member]) -> str:
    """One row a node."""
    rows = [_COLUMNS, *map(_row, members)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for text, width, name in zip(row, widths, _COLUMNS, strict=True)
        ).rstrip()
        for row in rows
    )


def _row(member: Member) -> tuple[str, ...]:
    return (
        member.boot,
        member.version,
        timestamp(member.since),
        member.address or "-",
        str(member.connections),
        str(member.offset),
        str(member.lag),
    )
