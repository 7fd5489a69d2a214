"""Which version this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def known_version() -> str | None:
    """None where the distribution is not installed."""
    try:
        return version("synkrone-socket")
    except PackageNotFoundError:
        return None


def installed_version() -> str:
    return known_version() or "(not installed)"
