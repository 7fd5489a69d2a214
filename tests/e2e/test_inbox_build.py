"""The modules that pages load are what their sources make, and small."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from adapters.client.modules import MODULE, client_modules
from tests.e2e.inbox_build import build

LARGEST = 14_200
"""Octets of the one that pages name, compressed. The aim is 12 KiB: whoever makes it smaller lowers this."""
LARGEST_IN_ALL = 21_200


def compressed(module: bytes) -> int:
    return len(gzip.compress(module, 9))


@pytest.mark.check
def test_what_is_served_is_made_of_the_sources_beside_it(tmp_path: Path) -> None:
    (tmp_path / "synkrone-inbox-panel-0000000000.js").write_text("// of an earlier build")
    build(tmp_path)
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert made == client_modules(), "`make client` makes it anew"


def test_the_module_waits_for_no_other() -> None:
    """What it loads later is loaded by calls, and each of those files is whole in itself."""
    for text in client_modules().values():
        assert not re.search(rb"""\b(?:import|from)\s*["']""", text)


def test_it_does_not_grow() -> None:
    sizes = {name: compressed(text) for name, text in client_modules().items()}
    assert sizes[MODULE] <= LARGEST, sizes
    assert sum(sizes.values()) <= LARGEST_IN_ALL, sizes
