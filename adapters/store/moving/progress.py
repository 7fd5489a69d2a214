"""How far a move has come, for whoever shows it."""

from __future__ import annotations

from enum import Enum

from domain.model.value import value


class Step(Enum):
    VERIFYING = "verifying"
    COPYING = "copying"
    FOLLOWING = "following"
    FINISHING = "finishing"


@value
class Progress:
    """``done`` and ``total`` are numbers of entries of the log, those that it has lost among them."""

    step: Step
    done: int
    total: int


@value
class Moved:
    """``head`` is the offset of the last entry, ``pause`` how long it took in seconds once the server had ended.

    ``before``: an earlier run had done it all.
    """

    head: int
    pause: float
    before: bool = False
