"""The modules that pages load are what their sources make, and small."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from adapters.api.description.asyncapi import asyncapi
from adapters.api.description.openapi import openapi
from adapters.client.modules import MODULE, client_modules
from adapters.client.routes import TYPES
from tests.e2e.inbox_build import CLIENT, INTERNAL_NAMES, build

LARGEST = 12_288
"""Octets of the one that pages name, compressed: 12 KiB, with all that a page waits for before the first bell."""
LARGEST_IN_ALL = 23_400

OF_TABS = {"name", "argument", "cursor", "events", "isAsking", "isLost", "isWelcome", "term"}
"""What tabs tell one another, which may have modules of several versions."""


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


def names_in(document: object) -> set[str]:
    """All keys of a JSON document."""
    if isinstance(document, Mapping):
        return set(document).union(*map(names_in, document.values()))
    return set().union(*map(names_in, document)) if isinstance(document, list | tuple) else set()


def test_no_name_that_others_see_is_shortened() -> None:
    types = re.sub(r"/\*.*?\*/", "", (CLIENT / TYPES).read_text(), flags=re.DOTALL)
    of_pages = set(re.findall(r"\w+", types))
    of_servers = names_in(openapi("1.0", pages=[])) | names_in(asyncapi("1.0")["components"])
    assert {"backoff", "base"} <= of_pages
    assert {"read_at", "retry_after_ms"} <= of_servers
    assert set(INTERNAL_NAMES) & (of_pages | of_servers | OF_TABS) == set()
