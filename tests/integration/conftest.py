from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.doubles import ManualClock

if TYPE_CHECKING:
    from tests.postgresql import PostgresqlServer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test may have its inbox."""
    return tmp_path / "inbox.db"


@pytest.fixture
def database(server: PostgresqlServer) -> Iterator[str]:
    """The name of one with the schema of a store, on the ``server`` that a module says."""
    name = server.new_store()
    yield name
    server.drop_databases([name])
