"""The module that pages load is what its sources make, and small."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.e2e.inbox_build import MODULE, build

LARGEST = 19_300
"""Octets, compressed. The aim is 12 KiB: whoever makes it smaller lowers this."""


@pytest.mark.check
def test_what_is_served_is_made_of_the_sources_beside_it(tmp_path: Path) -> None:
    build(tmp_path / "made.js")
    assert (tmp_path / "made.js").read_bytes() == MODULE.read_bytes(), "`make client` makes it anew"


def test_it_does_not_grow() -> None:
    assert len(gzip.compress(MODULE.read_bytes(), 9)) <= LARGEST
