"""The sets of roles in which a user came: what each of them gave at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from domain.model import roles_in


def roles_of(sets: Iterable[str]) -> Sequence[str]:
    """Those in any of them, in alphabetical order."""
    return sorted({role for name in sets for role in roles_in(name)})


def largest(sets: Iterable[str]) -> Iterator[Sequence[str]]:
    """The roles of those that are no part of another one: whoever has more roles at once sees whatever those with some
    of them see, but for what was replaced. They come with the most roles first."""
    found: list[frozenset[str]] = []
    for roles in sorted(map(roles_in, sets), key=lambda roles: (-len(roles), roles)):
        if not any(other.issuperset(roles) for other in found):
            found.append(frozenset(roles))
            yield roles
