"""``synkrone-socket`` and a command: what there is, is in ``commands.table``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from entrypoints.commands import completion
from entrypoints.commands.options import FAILED, WRONG_USAGE, complain
from entrypoints.commands.table import COMMANDS
from entrypoints.settings import SettingsError
from entrypoints.version import installed_version

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 for a failure, 2 for a wrong setting or argument."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except SettingsError as error:
        complain(error)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, and must not be written to again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def parser() -> argparse.ArgumentParser:
    """What reads the command line, with all commands."""
    described = argparse.ArgumentParser(prog="synkrone-socket", description="A self-hosted notification server.")
    described.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    commands = described.add_subparsers(required=True, metavar="COMMAND")
    for add_to in COMMANDS:
        add_to(commands)
    completion.add_to(commands, parser)
    return described


if __name__ == "__main__":
    sys.exit(main())
