"""``synkrone-socket`` and a command: what there is, is in ``commands.table``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from entrypoints.commands import completion, table
from entrypoints.commands.options import FAILED, WRONG_USAGE, complain
from entrypoints.settings import SettingsError
from entrypoints.version import installed_version

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 for a failure, 2 for a wrong setting or argument."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(only=given[0] if given else None).parse_args(given)
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


def parser(*, only: str | None = None) -> argparse.ArgumentParser:
    """What reads the command line: with all commands, or with one where ``only`` names it."""
    described = argparse.ArgumentParser(prog="synkrone-socket", description="A self-hosted notification server.")
    described.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    commands = described.add_subparsers(required=True, metavar="COMMAND")
    names = (only,) if only is not None and only in table.COMMANDS else table.COMMANDS
    for name in names:
        table.add_to(commands, name)
    completion.add_to(commands, parser)
    return described


if __name__ == "__main__":
    sys.exit(main())
