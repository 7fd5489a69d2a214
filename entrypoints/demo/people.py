"""The two users of the demo: who they are, and which of them a publication is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Person:
    id: str
    role: str
    name: str
    uses_socket_io: bool
    """Else the stream."""


PEOPLE: Final = (
    Person("42", "freelance", "Freelancer", uses_socket_io=True),
    Person("43", "company", "Company", uses_socket_io=False),
)


def recipients(to: Mapping[str, object]) -> tuple[str, ...]:
    """The ids of those whom ``{"user": id}``, ``{"role": name}`` or ``{"everyone": true}`` is for."""
    return tuple(
        person.id
        for person in PEOPLE
        if to.get("everyone") is True or to.get("user") == person.id or to.get("role") == person.role
    )
