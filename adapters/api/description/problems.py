"""Every code that an error can have: one table, from the tree of errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from adapters.http.problems import bare_members, status_of
from domain.errors import SynkroneError

_ONLY_LOGGED: Final = frozenset(
    (
        "checkpoint_moved",
        "connection_gone",
        "entries_missing",
        "error",
        "lease_lost",
        "protocol_error",
        "store_unusable",
    )
)
"""Codes that nobody is told."""


@dataclass(frozen=True, slots=True)
class Code:
    """``status`` is what it is answered with over HTTP by most routes; None where it occurs on connections alone."""

    code: str
    title: str
    retryable: bool
    status: int | None


def codes() -> Sequence[Code]:
    """By their names. A code of several errors has the title of the one that is first in the tree."""
    found: dict[str, Code] = {}
    for error in _tree():
        if error.code not in _ONLY_LOGGED:
            found.setdefault(error.code, Code(error.code, error.title, error.retryable, _status(error)))
    return [found[code] for code in sorted(found)]


def _tree() -> Iterator[type[SynkroneError]]:
    waiting: list[type[SynkroneError]] = [SynkroneError]
    while waiting:
        error = waiting.pop(0)
        yield error
        waiting.extend(error.__subclasses__())


def _status(error: type[SynkroneError]) -> int | None:
    status = status_of(error.__new__(error))
    return None if status == HTTPStatus.INTERNAL_SERVER_ERROR else int(status)


def example(error: type[SynkroneError], status: int) -> Mapping[str, Any]:
    """What a route answers, without the detail of the case."""
    return {"code": error.code, "title": error.title, "retryable": error.retryable, "status": status}


def bare_example(status: HTTPStatus) -> Mapping[str, Any]:
    return bare_members(status)
