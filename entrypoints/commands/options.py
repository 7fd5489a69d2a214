"""What commands share: their options, the settings that these lead to, and what is said where one fails."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import shtab

from entrypoints.settings import Settings, SettingsError, naming, read_settings
from entrypoints.settings_sources import Sources
from entrypoints.settings_types import MAX_PORT, duration

DONE, FAILED, WRONG_USAGE = 0, 1, 2
"""Exit codes."""


class Commands(Protocol):
    """The part of an argparse parser that holds its commands."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser: ...


def add_command(commands: Commands, name: str, about: str, *, examples: Sequence[str]) -> argparse.ArgumentParser:
    """A command that ``--help`` tells ``about`` in a line, with what may be typed after ``synkrone-socket``."""
    lines = "\n".join(f"  synkrone-socket {example}" for example in examples)
    return commands.add_parser(
        name, help=about, epilog=f"examples:\n{lines}", formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_config(command: argparse.ArgumentParser) -> None:
    completes_files(
        command.add_argument("--config", type=Path, help="a TOML file (default: synkrone.toml, where there is one)")
    )


def completes_files(argument: argparse.Action) -> None:
    """Have shells complete it with the names of files."""
    vars(argument)["complete"] = shtab.FILE


def add_url(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="the server's address (default: that of the settings)")


@contextmanager
def settings_of(options: argparse.Namespace) -> Iterator[tuple[Settings, Sources]]:
    """Those of the environment and of ``--config``. What is found wrong with them is said as ``naming`` says it."""
    settings, sources = read_settings(os.environ, options.config)
    with naming(sources):
        yield settings, sources


def url_of(options: argparse.Namespace, settings: Settings) -> str:
    """Of the server, without a slash at its end. Raises SettingsError where only a Unix socket is known."""
    if options.url is not None:
        return str(options.url).rstrip("/")
    if settings.is_unix:
        raise SettingsError("--url: is needed, as the server of these settings listens on a Unix socket")
    return own_url(settings)


def own_url(settings: Settings) -> str:
    """Where the server of these settings listens, which is no Unix socket."""
    scheme = "https" if settings.tls.cert is not None else "http"
    return f"{scheme}://{settings.address}"


def complain(line: object) -> None:
    """Say in a line what is wrong."""
    print(f"synkrone-socket: {line}", file=sys.stderr, flush=True)


def a_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be a port, 0 to {MAX_PORT}")
    return int(text)


def a_duration(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def a_text(text: str) -> str:
    """An argument that can be sent: the bytes of one that is no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return text
