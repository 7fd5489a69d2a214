"""The commands, in the order in which ``--help`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from entrypoints.commands.options import Commands

COMMANDS: Final[Mapping[str, str]] = {
    "serve": "serve",
    "demo": "demo",
    "token": "token",
    "key": "key",
    "publish": "publish",
    "listen": "listen",
    "why": "why",
    "check-config": "check_config",
    "doctor": "doctor",
    "migrate": "migrate",
    "backup": "backup",
    "restore": "restore",
    "export": "export",
    "import": "import_",
    "move": "move",
    "outbox": "outbox",
    "nodes": "nodes",
    "bench": "bench",
}
"""With the module that has it: what one of them imports the others do not wait for."""


def add_to(commands: Commands, name: str) -> None:
    import_module(f"entrypoints.commands.{COMMANDS[name]}").add_to(commands)
