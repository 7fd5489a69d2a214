"""``synkrone-socket migrate``."""

from __future__ import annotations

import argparse
import json

from entrypoints import checking
from entrypoints.commands.options import DONE, Commands, add_command, add_config, settings_of


def add_to(commands: Commands) -> None:
    about = "bring what the store holds into the form of this version"
    command = add_command(commands, "migrate", about, examples=("migrate", "migrate --config /etc/synkrone.toml"))
    add_config(command)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        place, done = checking.migrate(settings)
    print(json.dumps({"store": place, "done": done}, ensure_ascii=False) if options.json else f"{place}: {done}")
    return DONE
