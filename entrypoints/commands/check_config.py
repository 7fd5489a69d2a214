"""``synkrone-socket check-config``."""

from __future__ import annotations

import argparse
import asyncio

from entrypoints import checking
from entrypoints.commands.options import DONE, Commands, add_command, add_config, settings_of


def add_to(commands: Commands) -> None:
    about = "read the settings and say whether serve would start"
    examples = ("check-config", "check-config --config /etc/synkrone.toml")
    command = add_command(commands, "check-config", about, examples=examples)
    add_config(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, sources):
        in_the_way = checking.check(settings)
        print(f"The settings are good: serve would listen on {settings.address}.")
        print(f"Settings file: {sources.where}")
        for line in checking.notices(settings, sources):
            print(f"Note: {line}")
        for line in in_the_way.lines:
            print(f"For the moment it could not: {sources.named(line)}")
        for seen in asyncio.run(checking.look_at_keys(settings)):
            if seen.fault is not None:
                line = f"{seen.setting}: the keys of {seen.name} cannot be had: {seen.fault}"
                print(f"It would start, and believe no token of this issuer until it can: {sources.named(line)}")
            if seen.skipped:
                print(f"Note: some keys of {seen.name} are not used: {'; '.join(seen.skipped)}")
        if untried := checking.untried(settings):
            print(f"Not tried: {', '.join(untried)}.")
    return DONE
