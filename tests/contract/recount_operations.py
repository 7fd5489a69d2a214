"""How much the recount machines have done: so many operations, of which kinds."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant

from tests.campaigning import IS_FULL

_OF_STORES = {
    *("recall", "revise", "revise_scheduled", "cancel", "deliver_due", "change", "read_all", "snooze"),
    *("change_members", "begin_erasure", "acknowledge", "arrive", "register", "tidy"),
}


class CountedOperations(RuleBasedStateMachine):
    """``counted`` has the rules that were carried out, as "operations", and by name what these called of the store and
    named themselves, of all machines of a class."""

    counted: ClassVar[Counter[str]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.counted = Counter()

    def __init__(self) -> None:
        super().__init__()
        # The invariants are looked at once before there was any.
        self.counted["operations"] -= 1

    def count_call(self, name: str) -> None:
        if name in _OF_STORES:
            self.counted[name] += 1

    def count(self, *names: str) -> None:
        self.counted.update(names)

    @invariant()
    def one_more_was_done(self) -> None:
        self.counted["operations"] += 1


def report(what: str, machines: list[type[CountedOperations]], least: int) -> None:
    """To be called behind the machines' tests. In full there have to be as many operations."""
    counted: Counter[str] = sum((machine.counted for machine in machines), Counter())
    number = counted.pop("operations", 0)
    if not number:
        pytest.skip("no machine was run")
    kinds = ", ".join(f"{times} {name}" for name, times in sorted(counted.items()))
    print(f"campaign recount {what}: {number} operations; {kinds}", flush=True)
    assert number >= least or not IS_FULL
