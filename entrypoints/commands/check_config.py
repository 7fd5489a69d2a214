"""``synkrone-socket check-config``."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from adapters.api.ops.console import PATH as OPS
from entrypoints import checking
from entrypoints.beside import look_beside
from entrypoints.commands.options import DONE, Commands, add_command, add_config, settings_of
from entrypoints.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Checked:
    """``internal_url`` is that of the internal listener, and ``ops_url`` of the operator's page, where there is one.
    ``in_the_way`` is what a server that runs holds: another one would not start beside it. What is ``lacking`` is so
    for the moment only: some tokens would not be believed. Where there is a ``fault``, it is all that is said."""

    address: str
    internal_url: str | None
    ops_url: str | None
    settings_file: str
    warnings: Sequence[str]
    notices: Sequence[str]
    in_the_way: Sequence[str]
    lacking: Sequence[str]
    untried: Sequence[str]
    fault: None = None


def add_to(commands: Commands) -> None:
    about = "read the settings and say whether serve would start"
    examples = ("check-config", "check-config --config /etc/synkrone.toml", "check-config --json")
    command = add_command(commands, "check-config", about, examples=examples)
    add_config(command)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        checked = _checked(options)
    except SettingsError as error:
        if options.json:
            _print({"fault": str(error)})
        raise
    if options.json:
        _print(asdict(checked))
    else:
        print(_as_text(checked))
    return DONE


def _print(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _checked(options: argparse.Namespace) -> Checked:
    """Raises SettingsError."""
    with settings_of(options) as (settings, sources):
        in_the_way = checking.check(settings)
        held = asyncio.run(look_beside(settings, in_the_way))
        changes = [f"serve would change the store: {in_the_way.change}"] if in_the_way.change is not None else []
        seen = asyncio.run(checking.look_at_keys(settings))
        unused = [f"some keys of {one.name} are not used: {'; '.join(one.skipped)}" for one in seen if one.skipped]
        faults = [
            f"{one.setting}: the keys of {one.name} cannot be had: {one.fault}" for one in seen if one.fault is not None
        ]
        return Checked(
            settings.address,
            settings.internal.url,
            f"{settings.internal.url}{OPS}" if settings.internal.ops else None,
            sources.where,
            list(map(sources.named, checking.warnings(settings))),
            [*checking.notices(settings, sources), *changes, *unused],
            held.notes,
            list(map(sources.named, faults)),
            checking.untried(settings),
        )


def _as_text(checked: Checked) -> str:
    return "\n".join(
        (
            f"The settings are good: serve would listen on {checked.address}.",
            f"Settings file: {checked.settings_file}",
            *([f"Internal listener: {checked.internal_url}"] if checked.internal_url is not None else []),
            *([f"Operator's page: {checked.ops_url}"] if checked.ops_url is not None else []),
            *(f"Warning: {line}" for line in checked.warnings),
            *(f"Note: {line}" for line in (*checked.notices, *checked.in_the_way)),
            *(f"It would start, and believe no token of this issuer until it can: {line}" for line in checked.lacking),
            *([f"Not tried: {', '.join(checked.untried)}."] if checked.untried else []),
        )
    )
