"""The table of sections and tests in tests/README.md names tests that exist, and all of this folder."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def test_the_table_names_every_test_of_the_documents_and_no_other() -> None:
    named = set(re.findall(r"`(test_\w+)`", README.read_text()))
    files = ("test_engine_io_v4.py", "test_socket_io_v5.py", "test_cuts.py")
    existing = {name for file in files for name in re.findall(r"async def (test_\w+)", (HERE / file).read_text())}
    assert named == existing
