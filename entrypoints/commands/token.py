"""``synkrone-socket token``."""

from __future__ import annotations

import argparse
import json
from datetime import timedelta

from entrypoints.commands.options import DONE, Commands, a_duration, a_name, add_command, add_config, settings_of
from entrypoints.tokens import mint


def add_to(commands: Commands) -> None:
    examples = ("token --user 42 --role freelance", "token --user 42 --role freelance --ttl 10m")
    command = add_command(commands, "token", "print a JWT signed with auth.secret", examples=examples)
    add_config(command)
    command.add_argument("--user", required=True, type=a_name, help="the user's id")
    command.add_argument("--role", required=True, type=a_name, help="the user's role")
    command.add_argument(
        "--ttl", type=a_duration, default=timedelta(hours=1), help="for example 30s, 10m, 1h (default)"
    )
    command.add_argument("--json", action="store_true", help="as JSON, with the seconds that it lives")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        token = mint(settings.auth, user=options.user, role=options.role, ttl=options.ttl)
    seconds = int(options.ttl.total_seconds())
    print(json.dumps({"token": token, "expires_in": seconds}) if options.json else token)
    return DONE
