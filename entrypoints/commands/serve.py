"""``synkrone-socket serve``."""

from __future__ import annotations

import argparse

from entrypoints import workers
from entrypoints.commands.options import Commands, add_command, add_config
from entrypoints.settings_types import MAX_WORKERS


def add_to(commands: Commands) -> None:
    examples = ("serve", "serve --config /etc/synkrone.toml", "serve --workers 4")
    command = add_command(commands, "serve", "run the server", examples=examples)
    add_config(command)
    command.add_argument("--workers", type=_workers, help="processes that serve (default: that of the settings)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    return workers.main(options.config, options.workers)


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a number of processes, 1 to {MAX_WORKERS}")
    return int(text)
