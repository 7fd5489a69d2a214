"""How an adapter says that it cannot be built as it is configured."""

from __future__ import annotations


class ConfigurationError(ValueError):
    """A setting that would make the server unsafe or useless.

    ``field`` names it within what was to be built; it is empty for the address by which the adapter was selected.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
