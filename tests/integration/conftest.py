from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test may have its inbox."""
    return tmp_path / "inbox.db"
