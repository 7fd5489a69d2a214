from __future__ import annotations

import time
import uuid

from adapters.system.ids import SystemRandomness
from domain.policy import is_identifier


def test_ids_are_unique_uuids_in_the_order_of_time() -> None:
    randomness = SystemRandomness()
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(randomness.new_id()) for _ in range(10_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    assert {(identifier.version, identifier.variant) for identifier in ids} == {(7, uuid.RFC_4122)}
    times = [identifier.int >> 80 for identifier in ids]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after
    # Nothing but the time, the version and the variant is the same in all of them.
    fixed = 0
    for bit in range(80):
        fixed += len({identifier.int >> bit & 1 for identifier in ids}) == 1
    assert fixed == 6
    assert all(is_identifier(str(identifier)) for identifier in ids)
