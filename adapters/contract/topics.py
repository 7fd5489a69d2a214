"""Who is to be in a topic, as backends say it."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.contract.json_text import parse_argument
from domain.errors import InvalidArgument
from domain.model import Ambiguous, UserId
from domain.policy import REPEATED


def read_members(body: bytes) -> tuple[Sequence[UserId], Sequence[UserId]]:
    """``{add?, remove?}``, lists of user ids. Raises InvalidJson and InvalidArgument."""
    argument = parse_argument(body) if body else {}
    if not isinstance(argument, dict):
        raise InvalidArgument("body", "must be an object")
    if isinstance(argument, Ambiguous):
        raise InvalidArgument("body", f"a member {REPEATED}")
    unknown = next((name for name in argument if name not in ("add", "remove")), None)
    if unknown is not None:
        raise InvalidArgument("body", "may hold add and remove alone")
    return _users(argument.get("add"), "add"), _users(argument.get("remove"), "remove")


def _users(value: object, path: str) -> Sequence[UserId]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidArgument(path, "must be a list of user ids")
    for index, user in enumerate(value):
        if not isinstance(user, str):
            raise InvalidArgument(f"{path}[{index}]", "must be a string")
    return [UserId(user) for user in value]
