"""The modules that pages load: one by its name, and those that it loads later by names that have a digest of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

MODULE: Final = "synkrone-inbox.js"


def client_modules() -> Mapping[str, bytes]:
    """Octets by the files' names."""
    found = (file for file in files(__package__).iterdir() if file.name.startswith("synkrone-inbox"))
    return {file.name: file.read_bytes() for file in found if file.name.endswith(".js")}
