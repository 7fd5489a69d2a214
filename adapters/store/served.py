"""What the server needs of a store and its presence, which it runs, beside the domain's ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from adapters.system.nodes import Registry
from domain.errors import SynkroneError
from domain.model.value import value
from domain.ports import Outbox, Presence, Store


class StoreUnusable(SynkroneError):
    code = "store_unusable"
    title = "The store cannot be opened."


class ServedStore(Store, Protocol):
    @property
    def place(self) -> str:
        """What it is and where, as a URL for operators; without credentials."""

    def check(self) -> str | None:
        """Whether ``open`` would succeed, without doing it: None, or which other process it would fail or wait for.

        Raises SynkroneError, with what is wrong in one line. Not while it is open.
        """

    def migrate(self) -> str:
        """Bring what is stored into the form of today; what was done, in a few words.

        Raises SynkroneError, with what is wrong in one line. Not while it is open.
        """

    async def open(self) -> None:
        """Make it usable. Raises SynkroneError, with what is wrong in one line."""

    async def close(self) -> None:
        """Finish what was begun, and let go of the store."""

    @property
    def silent_seconds(self) -> float:
        """How long ago the log was last read to its end; 0 where nobody else could have added to it.

        Raises StoreUnavailable while it is not open.
        """

    def registry(self) -> Registry | None:
        """Where the servers that share it register; None for a store that is one server's own.

        What users do is refused while a lease that was taken there is lost.
        """

    async def size(self) -> int:
        """How many bytes it takes where it is kept. Raises StoreUnavailable."""

    async def tidy(self) -> bool:
        """One small step of removing what need not be kept; whether there is more. Raises StoreUnavailable."""


@runtime_checkable
class StoreWithForm(Protocol):
    """A store whose form is of a version, and becomes today's when it is opened."""

    def change_of_form(self) -> str | None:
        """What ``open`` would change of it, in a few words; None: nothing, as far as can be seen without a trace.

        Raises SynkroneError, as ``check`` does. Not while it is open.
        """


@value
class ParkedItem:
    """What could not be published, without its content. ``id`` is the publisher's."""

    number: int
    type: str
    id: str | None
    published_at: datetime
    parked_at: datetime
    reason: str


@value
class OutboxState:
    """How much waits, since when its first item does, and the first of what is parked, of ``parked_total``."""

    waiting: int
    oldest: datetime | None
    parked: Sequence[ParkedItem]
    parked_total: int


class ServedOutbox(Outbox, Protocol):
    """What operators do with an outbox blocks, and raises SynkroneError, with what is wrong in one line."""

    def state(self) -> OutboxState: ...

    def retry(self, numbers: Sequence[int] | None) -> int:
        """Let parked items wait again, behind all that does; all of them for None. How many there were."""

    def discard(self, numbers: Sequence[int]) -> int:
        """Forget parked items. How many there were."""


@runtime_checkable
class StoreWithOutbox(Protocol):
    """A store in whose database applications publish, in transactions of their own."""

    @property
    def outbox(self) -> ServedOutbox: ...


class ServedPresence(Presence, Protocol):
    async def open(self) -> None:
        """Make it usable, once the store is open. Raises SynkroneError, with what is wrong in one line."""

    async def follow(self) -> None:
        """See to it that what other servers want is done here, for as long as there may be any."""

    async def close(self) -> None:
        """Say that nobody is here any more, and let go of the store."""


@runtime_checkable
class SharedStore(Protocol):
    """A store that several servers may have open at a time."""

    def presence(self, *, boot: Callable[[], str], most: int) -> ServedPresence:
        """Who is connected on all of them. ``boot`` is the name of this one; a user may have ``most`` connections.

        To be called before ``open``.
        """

    def carry_traces(self, hear: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
        """What is returned tells the other servers lines of a few hundred characters, beside the log and without any
        promise; ``hear`` is called in the loop with messages of them, each of one line or more.

        To be called before ``open``.
        """

    def last_epoch(self) -> str:
        """In which whatever is stored next will be, as far as is known here. Raises StoreUnavailable."""
