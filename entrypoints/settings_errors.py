"""What pydantic finds wrong with the settings, as one line for whoever wrote them."""

from __future__ import annotations

from pydantic import ValidationError

_BOUNDS = {
    "greater_than": "must be more than",
    "greater_than_equal": "must be at least",
    "less_than_equal": "must be at most",
}
_MESSAGES = {
    "extra_forbidden": "is not a known setting",
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


def first_error(error: ValidationError) -> str:
    """The first wrong setting with its full path, and what is wrong with it. Never holds what a secret was set to.

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
    message = _MESSAGES.get(kind) or first["msg"].removeprefix("Value error, ")
    return f"{path}: {message.replace('Input should', 'must', 1).replace('String should', 'must', 1)}"


def printable(name: str) -> str:
    """As it stands in one line."""
    return name if name and name.isprintable() else repr(name)
