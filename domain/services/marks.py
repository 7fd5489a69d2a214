"""The marks of users: up to where they are known to have received the log."""

from __future__ import annotations

from domain.model import Position, UserId
from domain.ports import Subscribers


class Marks:
    """Marks that are not stored yet lie here; ``store`` is to be called about once a second, and once at the end."""

    def __init__(self, subscribers: Subscribers) -> None:
        self._subscribers = subscribers
        self._unstored: dict[tuple[UserId, str], Position] = {}

    def acknowledge(self, user: UserId, role: str, upto: Position) -> None:
        """A mark only grows."""
        known = self._unstored.get((user, role))
        if known is None or known.offset < upto.offset:
            self._unstored[user, role] = upto

    def unstored(self, user: UserId, role: str) -> Position | None:
        """What the store was not told yet."""
        return self._unstored.get((user, role))

    def forget(self) -> None:
        """What is not stored yet: some of it may stand behind the end of the log."""
        self._unstored.clear()

    def forget_user(self, user: UserId) -> None:
        """What is not stored yet of a user."""
        for key in [key for key in self._unstored if key[0] == user]:
            del self._unstored[key]

    async def store(self) -> None:
        """Raises StoreUnavailable; what could not be stored is kept for the next time."""
        marks = dict(self._unstored)
        if not marks:
            return
        await self._subscribers.acknowledge(marks)
        for key, position in marks.items():
            if self._unstored.get(key) is position:
                del self._unstored[key]
