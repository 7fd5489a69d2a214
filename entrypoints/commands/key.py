"""``synkrone-socket key``: a new key for a backend."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import Final

from adapters.auth.api_keys import hash_key, written_hash
from adapters.contract.json_text import to_json
from entrypoints.commands.options import DONE, Commands, add_command
from entrypoints.settings_access import SCOPES
from entrypoints.settings_types import key_name

_PREFIX: Final = "synkrone_"
"""By which scanners for secrets find one that has got into a repository."""
_RANDOM_BYTES: Final = 32


def add_to(commands: Commands) -> None:
    about = "make an API key, print it once, and what stands in the settings for it"
    examples = ("key --name billing", "key --name support --scopes connections:read,users:write", "key --json")
    command = add_command(commands, "key", about, examples=examples)
    command.add_argument("--name", type=_a_name, default="backend", help="for logs (default: backend)")
    command.add_argument(
        "--scopes", type=_scopes, default=("publish",), help=f"of {', '.join(sorted(SCOPES))} (default: publish)"
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    hashed = written_hash(hash_key(key))
    if options.json:
        made = {"key": key, "name": options.name, "hash": hashed, "scopes": list(options.scopes)}
        print(to_json(made).decode())
        return DONE
    # Beside the output, so that this can be appended to the settings as it is.
    print(
        f"The key, which is shown this once, and cannot be had from its hash:\n\n{key}\n", file=sys.stderr, flush=True
    )
    scopes = ", ".join(f'"{scope}"' for scope in options.scopes)
    print(f'[[api.keys]]\nname = "{options.name}"\nhash = "{hashed}"\nscopes = [{scopes}]')
    return DONE


def _a_name(text: str) -> str:
    try:
        return key_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(dict.fromkeys(scope.strip() for scope in text.split(",")))
    for scope in scopes:
        if scope not in SCOPES:
            raise argparse.ArgumentTypeError(f"{scope!r} is not one of {', '.join(sorted(SCOPES))}")
    return scopes
