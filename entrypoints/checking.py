"""What stands in the way of serving, and what is to be said of settings, without serving."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters.auth.fetching import Fetcher, FetchFailed
from adapters.auth.jwks import fetch_keys
from adapters.auth.keys import InvalidKeySet
from adapters.auth.locations import Location
from adapters.http.binding import bind, close_bound
from adapters.store.served import StoreWithForm
from domain.errors import SynkroneError
from entrypoints.binding import cannot_listen
from entrypoints.building.auth import key_server
from entrypoints.container import SHARED_STORES, build_container, build_store
from entrypoints.internal import Internal, InternalPortTaken
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_sources import Sources
from entrypoints.settings_types import MAX_PORT, written
from entrypoints.tls import check_tls, untimely


@dataclass(frozen=True, slots=True)
class InTheWay:
    """What somebody holds, so that ``serve`` would not serve: addresses that they listen on, and the store. The words
    are those of the SettingsError that it would end with. ``change`` is what it would change of the store's form."""

    taken: Mapping[str, str] = field(default_factory=dict)
    store: str | None = None
    change: str | None = None


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """What a key server gave: so many usable ``keys``, and why others are not, or else the ``fault``.

    ``setting`` names it, and ``name`` is what logs call it.
    """

    setting: str
    name: str
    keys: int = 0
    skipped: Sequence[str] = ()
    fault: str | None = None


def check_workers(settings: Settings) -> None:
    """Whether there can be several, where several are wanted. Raises SettingsError."""
    if settings.workers == 1:
        return
    if settings.store.scheme not in SHARED_STORES:
        stores = " or ".join(f"{scheme}://" for scheme in SHARED_STORES)
        raise SettingsError(f"workers: {settings.workers} of them need a store that they can share: {stores}")
    if settings.node.address is not None and not settings.internal.port:
        raise SettingsError("internal.port: must be a port, as node.address is one with workers")
    highest = MAX_PORT - settings.workers
    if settings.internal.port and settings.internal.port > highest:
        raise SettingsError(f"internal.port: must be at most {highest}, as workers have those behind it")


def check(settings: Settings) -> InTheWay:
    """Try what ``serve`` does before it serves, without opening the store. Raises SettingsError."""
    check_workers(settings)
    container = build_container(settings)
    check_tls(settings.tls, "tls")
    taken: dict[str, str] = {}
    try:
        internal = Internal.bound(settings)
    except InternalPortTaken as error:
        taken[f"{settings.internal.host}:{settings.internal.port}"] = str(error)
    else:
        if internal is not None:
            internal.close()
    try:
        sockets = bind(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
            raise cannot_listen(settings.host, settings.port, error) from None
        taken[settings.address] = str(cannot_listen(settings.host, settings.port, error))
    else:
        close_bound(sockets)
    store = container.store()
    try:
        in_use = store.check()
        change = store.change_of_form() if isinstance(store, StoreWithForm) else None
    except SynkroneError as error:
        raise SettingsError(f"store: {error}") from None
    return InTheWay(taken, f"store: {in_use}" if in_use is not None else None, change)


def migrate(settings: Settings) -> tuple[str, str]:
    """Bring what the store holds into the form of today; where it is, and what was done. Raises SettingsError."""
    store = build_store(settings)
    try:
        return store.place, store.migrate()
    except SynkroneError as error:
        raise SettingsError(f"store: {error}") from None


async def look_at_keys(settings: Settings, fetcher: Fetcher | None = None) -> list[KeysSeen]:
    """What the key servers of all issuers answer now. At once, and each in the time that a fetch may take."""
    found = [(index, issuer, key_server(issuer)) for index, issuer in enumerate(settings.auth.issuers)]
    looks = [
        _look(
            f"auth.issuers[{index}].{'jwks' if issuer.jwks is not None else 'issuer'}", location, fetcher or Fetcher()
        )
        for index, issuer, location in found
        if location is not None
    ]
    return await asyncio.gather(*looks)


async def _look(setting: str, location: Location, fetcher: Fetcher) -> KeysSeen:
    try:
        ring, skipped = await fetch_keys(location, fetcher)
    except (FetchFailed, InvalidKeySet) as error:
        return KeysSeen(setting, location.name, fault=str(error))
    return KeysSeen(setting, location.name, len(ring), skipped)


def untried(settings: Settings) -> list[str]:
    """What ``check`` and ``look_at_keys`` do not look at, as it lies elsewhere."""
    elsewhere = []
    if settings.auth.verifier.host is not None:
        elsewhere.append("what auth.verifier names")
    if settings.source.url.host is not None:
        elsewhere.append("the feed of source.url")
    return elsewhere


def warnings(settings: Settings) -> list[str]:
    """What ``serve`` starts with and clients do not get on with, in the words of a SettingsError."""
    each = (("tls", settings.tls), ("internal.tls", settings.internal.tls))
    return [wrong for section, tls in each if (wrong := untimely(tls, section)) is not None]


def notices(settings: Settings, sources: Sources) -> list[str]:
    """What is not as somebody who has written the settings may think."""
    said = []
    if sources.ignored:
        said.append(f"not settings, but of an orchestrator, and ignored: {', '.join(sources.ignored)}")
    retention = settings.retention
    if retention.inbox_age > retention.inbox:
        raised = written(retention.inbox_age)
        said.append(f"retention.inbox was raised to {raised}, as items stay no shorter than in the log (retention.log)")
    if settings.store_password is not None and settings.store.scheme != "postgresql":
        said.append(
            f"a store of {settings.store.scheme} has no password, and the one that is given is ignored (store_password)"
        )
    return [sources.mentioned(line) for line in said]
