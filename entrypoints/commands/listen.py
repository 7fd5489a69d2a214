"""``synkrone-socket listen``."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from entrypoints import client
from entrypoints.commands.options import (
    FAILED,
    Commands,
    add_command,
    add_config,
    add_url,
    complain,
    settings_of,
    url_of,
)


def add_to(commands: Commands) -> None:
    about = "print what arrives for a user, and resume after a cut"
    examples = ('listen --token "$(synkrone-socket token --user 42 --role freelance)"',)
    command = add_command(commands, "listen", about, examples=examples)
    add_config(command)
    add_url(command)
    command.add_argument("--token", required=True, help="the user's JWT")
    command.add_argument("--json", action="store_true", help="a JSON object a line")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with settings_of(options) as (settings, _):
        url = url_of(options, settings)

    def show(name: str, arguments: tuple[Any, ...]) -> None:
        if options.json:
            print(json.dumps({"event": name, "arguments": arguments}, ensure_ascii=False), flush=True)
            return
        print(name, *(json.dumps(argument, ensure_ascii=False) for argument in arguments), flush=True)

    try:
        asyncio.run(client.listen(url, options.token, show, notify=complain))
    except client.Refused as refused:
        complain(refused)
    except client.Unverified as error:
        complain(
            f"the certificate of {url} cannot be verified: {error}: "
            "have the server use a good one, or name its authority in SSL_CERT_FILE"
        )
    return FAILED
