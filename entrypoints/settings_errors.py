"""What pydantic finds wrong with the settings, as one line for whoever wrote them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, ValidationError

_BOUNDS = {
    "greater_than": "must be more than",
    "greater_than_equal": "must be at least",
    "less_than_equal": "must be at most",
}
_MESSAGES = {
    "missing": "is required",
    "model_type": "must be a section of settings",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
}


_INDEX = re.compile(r"\[\d+\]")


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """The first wrong setting with its full path, and what is wrong with it. Never holds what a secret was set to.

    ``model`` is what was validated, for what somebody may have meant.

    A validator of a whole section names the setting it means as ``setting`` in the context of its error.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    context = first.get("ctx", {})
    path = ""
    for part in (*first["loc"], *([context["setting"]] if "setting" in context else [])):
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{printable(part)}" if path else printable(part)
    kind = first["type"]
    if kind in _BOUNDS:
        (bound,) = context.values()
        return f"{path}: {_BOUNDS[kind]} {int(bound) if bound == int(bound) else bound}"
    if kind == "extra_forbidden":
        return f"{path}: is not a known setting: {_meant(path, model)}"
    message = _MESSAGES.get(kind) or first["msg"].removeprefix("Value error, ")
    return f"{path}: {message.replace('Input should', 'must', 1).replace('String should', 'must', 1)}"


def printable(name: str) -> str:
    """As it stands in one line."""
    return name if name and name.isprintable() else repr(name)


def _meant(path: str, model: type[BaseModel]) -> str:
    """What to do about a setting that there is not."""
    section, _, name = _INDEX.sub("", path).rpartition(".")
    known = [other.rpartition(".")[::2] for other in _names(model)]

    def meant(place: str, other: str) -> str:
        return f"did you mean {place}.{other}?" if place else f"did you mean {other}?"

    for near in difflib.get_close_matches(name, [other for place, other in known if place == section], 1, 0.7):
        return meant(section, near)
    for place, other in known:
        # One underscore in a variable where there have to be two.
        if other == name or f"{place}.{other}".replace(".", "_") == path:
            return meant(place, other)
    return "remove it"


def _names(section: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{path}{name}"
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _names(kind, f"{path}{name}.")
