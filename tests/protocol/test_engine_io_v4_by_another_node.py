"""Engine.IO v4 at the wire, case by case, with another node on the way to every session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.detour import taken
from tests.protocol.test_engine_io_v4 import *  # noqa: F403 (all of them, as they are)

pytestmark = pytest.mark.check

# Another node passes a POST on once it is whole: of two at a time the owner sees no more than one.
del test_a_second_post_ends_the_session  # noqa: F821 (it is one of all of them)


@pytest.fixture(autouse=True)
def _by_another_node() -> Iterator[None]:
    with taken():
        yield
