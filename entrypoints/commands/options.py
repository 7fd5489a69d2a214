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
from urllib.parse import urlsplit

import shtab

from adapters.http.origins import Origin
from domain.policy import is_name, name_fault
from entrypoints.files import read_file
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_errors import printable
from entrypoints.settings_reading import Naming, read_settings
from entrypoints.settings_sources import Sources
from entrypoints.settings_types import MAX_PORT, cannot_read, duration

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
    command.add_argument("--url", type=a_url, help="the server's address (default: that of the settings)")


def add_key_file(command: argparse.ArgumentParser) -> None:
    completes_files(
        command.add_argument(
            "--key-file",
            type=Path,
            metavar="FILE",
            help="that holds an API key alone (default: api.key)",
        )
    )


def key_of(options: argparse.Namespace, settings: Settings) -> str:
    """That of ``--key-file``, else of the settings. Raises SettingsError where there is none."""
    if options.key_file is not None:
        return _key_in(options.key_file)
    if settings.api.key is None:
        raise SettingsError("api.key: is required (SYNKRONE_API__KEY), or --key-file FILE")
    return settings.api.key.get_secret_value()


def _key_in(path: Path) -> str:
    try:
        text = read_file(path).decode("ascii").strip()
    except OSError as error:
        raise SettingsError(f"--key-file: {cannot_read(path, error)}") from None
    except UnicodeDecodeError:
        text = ""
    # Nothing else can stand in a header, and what `key` says beside the key is easily saved with it.
    if not text.isprintable() or not text or " " in text:
        raise SettingsError(f"--key-file: {printable(str(path))} must hold the key, in one line, and nothing else")
    return text


@contextmanager
def settings_of(options: argparse.Namespace) -> Iterator[tuple[Settings, Sources]]:
    """Those of the environment and of ``--config``. What is found wrong with them is said as ``Naming`` says it."""
    settings, sources = read_settings(os.environ, options.config)
    with Naming(sources):
        yield settings, sources


def url_of(options: argparse.Namespace, settings: Settings) -> str:
    """Of the server, without a slash at its end. Raises SettingsError where only a Unix socket is known."""
    if options.url is not None:
        return str(options.url)
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


def a_name(text: str) -> str:
    """A user's id or role, as a server takes it."""
    if not is_name(text):
        raise argparse.ArgumentTypeError(name_fault(text))
    return text


def a_url(text: str) -> str:
    """The address of a server, without a slash at its end."""
    try:
        parts = urlsplit(a_text(text))
        is_good = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        is_good = False
    if not text.lower().startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("must begin with http:// or https://")
    if not is_good or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("must be the address of a server, such as https://notifications.example")
    return text.rstrip("/")


def an_origin(text: str) -> str:
    """That of a page, as its browser sends it."""
    try:
        return str(Origin.parse(a_text(text)))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def a_text(text: str) -> str:
    """An argument that can be sent: the bytes of one that is no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return text
