"""``synkrone-socket completion``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import shtab

from entrypoints.commands.options import DONE, Commands, add_command

SHELLS = ("bash", "zsh", "fish")


def add_to(commands: Commands, parser_of_all: Callable[[], argparse.ArgumentParser]) -> None:
    """``parser_of_all`` makes the parser whose words are completed."""
    examples = (
        "completion bash > ~/.local/share/bash-completion/completions/synkrone-socket",
        "completion zsh > ~/.zfunc/_synkrone-socket",
        "completion fish > ~/.config/fish/completions/synkrone-socket.fish",
    )
    about = "print what makes a shell complete commands and options"
    command = add_command(commands, "completion", about, examples=examples)
    command.add_argument("shell", choices=SHELLS, help="whose language it is to be in")
    command.set_defaults(run=partial(run, parser_of_all))


def run(parser_of_all: Callable[[], argparse.ArgumentParser], options: argparse.Namespace) -> int:
    print(shtab.complete(parser_of_all(), shell=options.shell))
    return DONE
