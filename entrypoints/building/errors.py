"""What the builders share: errors that name the setting, and secrets as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pydantic import SecretStr

from adapters.system.configuration import ConfigurationError
from entrypoints.settings import SettingsError


@contextlib.contextmanager
def as_settings_errors(section: str, address: str = "") -> Iterator[None]:
    """Say of the setting what an adapter says of a field, or of the address by which it was selected."""
    try:
        yield
    except ConfigurationError as error:
        setting = ".".join(filter(None, (section, error.field or address)))
        raise SettingsError(f"{setting}: {error.message}") from None


def plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
