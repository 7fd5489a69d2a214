"""Users who are registered as readers of a log, and those of them who came last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from domain.model import Room, UserId
from domain.model.value import value

K = TypeVar("K")
V = TypeVar("V")


@value
class Registration:
    """A user in a role, with the rooms of it."""

    user: UserId
    role: str
    rooms: frozenset[Room]


class Recent(Generic[K, V]):
    """What was looked up or stored last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()
        self.dropped = 0
        """How often some were dropped: what was looked up before that may be one of them."""

    def get(self, key: K) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def drop(self, are_gone: Callable[[K], bool]) -> None:
        for key in [key for key in self._values if are_gone(key)]:
            del self._values[key]
        self.dropped += 1

    def put(self, key: K, value: V) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
