"""Clients cut at every step of their exchange, byte by byte, with another node on the way to their sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.detour import taken
from tests.protocol.test_cuts import *  # noqa: F403 (all of them, as they are)

pytestmark = [pytest.mark.campaign, pytest.mark.check]


@pytest.fixture(autouse=True)
def _by_another_node() -> Iterator[None]:
    with taken():
        yield
