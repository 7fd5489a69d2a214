"""How the values of the domain are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """A dataclass with slots whose fields nobody sets again: the type checker sees to that.

    It is not ``frozen`` at run time. There, every field would be set through a check: a value of seven fields takes
    1.35 µs to make so, and 0.24 µs like this, and a publication is made of ten values.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
