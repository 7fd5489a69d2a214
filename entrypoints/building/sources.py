"""Where notifications come from beside the API."""

from __future__ import annotations

import ssl

from adapters.source.http_feed import HttpFeed
from adapters.source.memory import MemorySource
from domain.ports import Clock, Randomness
from entrypoints.building.errors import plain
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_types import Address, cannot_read


def build_memory_source(url: Address) -> MemorySource:
    url.check_bare()
    return MemorySource()


def build_feed(settings: Settings, clock: Clock, randomness: Randomness) -> HttpFeed:
    source = settings.source
    try:
        return HttpFeed(
            url=source.url,
            token=plain(source.token) if source.token is not None else None,
            ca_file=source.ca_file,
            clock=clock,
            randomness=randomness,
            max_event_bytes=settings.limits.publish_bytes,
        )
    except ssl.SSLError:
        raise SettingsError(
            f"source.ca_file: {source.ca_file} holds no certificate in PEM: name a file of some"
        ) from None
    except OSError as error:
        raise SettingsError(f"source.ca_file: {cannot_read(str(source.ca_file), error)}") from None
