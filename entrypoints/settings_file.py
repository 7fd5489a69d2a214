"""The settings file: read, and parsed."""

from __future__ import annotations

import errno
import tomllib
from pathlib import Path
from typing import Any

from entrypoints.files import read_file
from entrypoints.settings_types import cannot_read


class UnusableFile(Exception):
    """The message is one line, which begins with what names the file and a colon."""


def read_text(path: Path, *, is_named: bool) -> str | None:
    """None where there is no such file, unless somebody has named it. Raises UnusableFile."""
    try:
        octets = read_file(path)
    except OSError as error:
        if error.errno == errno.ENOENT and not is_named:
            return None
        raise UnusableFile(f"--config: {cannot_read(path, error)}") from None
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise UnusableFile(f"{path}: is not UTF-8 (at line {line})") from None


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """Raises UnusableFile, which says where in it something is wrong."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UnusableFile(f"{path}: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UnusableFile(f"{path}: is nested too deeply") from None
