"""Which version this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def known_version() -> str | None:
    """As the process found it first. None where the distribution is not installed."""
    try:
        return version("synkrone-socket")
    except PackageNotFoundError:
        return None


def installed_version() -> str:
    return known_version() or "(not installed)"
