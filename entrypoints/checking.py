"""What stands in the way of serving, and what is to be said of settings, without serving."""

from __future__ import annotations

import errno

from adapters.http.listening import bind, close_bound
from domain.errors import SynkroneError
from entrypoints.binding import cannot_listen
from entrypoints.container import SHARED_STORES, build_container, build_store
from entrypoints.internal import Internal, InternalPortTaken
from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_sources import Sources
from entrypoints.settings_types import MAX_PORT, written
from entrypoints.tls import check_tls


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


def check(settings: Settings) -> list[str]:
    """Try what ``serve`` does before it serves, without opening the store: what stands in its way for the moment only.

    Raises SettingsError.
    """
    check_workers(settings)
    container = build_container(settings)
    check_tls(settings.tls, "tls")
    passing: list[str] = []
    try:
        internal = Internal.bound(settings)
    except InternalPortTaken as error:
        passing.append(str(error))
    else:
        if internal is not None:
            internal.close()
    try:
        sockets = bind(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
            raise cannot_listen(settings, error) from None
        passing.append(str(cannot_listen(settings, error)))
    else:
        close_bound(sockets)
    try:
        in_use = container.store().check()
    except SynkroneError as error:
        raise SettingsError(f"store: {error}") from None
    return [*passing, *([f"store: {in_use}"] if in_use is not None else [])]


def migrate(settings: Settings) -> str:
    """Bring what the store holds into the form of today; what was done. Raises SettingsError."""
    store = build_store(settings)
    try:
        return f"{store.place}: {store.migrate()}"
    except SynkroneError as error:
        raise SettingsError(f"store: {error}") from None


def untried(settings: Settings) -> list[str]:
    """What ``check`` does not look at, as it lies elsewhere."""
    issuers = settings.auth.issuers
    local = [each.secret or each.public_key or each.jwks_file for each in issuers]
    fetched = [f"the keys of {each.issuer}" for each, is_local in zip(issuers, local, strict=True) if not is_local]
    if settings.auth.verifier.host is not None:
        fetched.append("what auth.verifier names")
    if settings.source.url.host is not None:
        fetched.append("the feed of source.url")
    return fetched


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
