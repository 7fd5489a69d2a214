"""Whom a route below ``/v1/users/{id}`` is about."""

from __future__ import annotations

from domain.errors import InvalidArgument
from domain.model import UserId
from domain.policy import is_name, name_fault


class InvalidUser(InvalidArgument):
    """All of these routes answer it alike, whatever status they give to what else they are asked with."""


def user_of(id_: str) -> UserId:
    """As it stands in the path. Raises InvalidUser."""
    if not is_name(id_):
        raise InvalidUser("user id", name_fault(id_))
    return UserId(id_)
