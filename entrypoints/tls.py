"""The certificate of a listener, which follows its files."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from entrypoints.files import read_file
from entrypoints.settings import SettingsError, TlsSettings
from entrypoints.settings_types import cannot_read

_log = logging.getLogger("synkrone.server")

LOOK_SECONDS: Final = 2.0
"""Between two looks at the files. A change is used once two looks in a row have seen the same: a pair, or a chain of
certificates, may be half written."""


def check_tls(tls: TlsSettings, section: str) -> ssl.SSLContext | None:
    """What a listener proves itself with; None for one without TLS. Raises SettingsError, naming the setting."""
    if tls.cert is None or tls.key is None:
        return None
    for name, path in (("cert", tls.cert), ("key", tls.key)):
        try:
            read_file(path)
        except OSError as error:
            raise SettingsError(f"{section}.{name}: {cannot_read(path, error)}") from None
        if not path.is_file():
            raise SettingsError(f"{section}.{name}: {path} is no file: it is read again whenever it changes")
    key = tls.key

    def no_passphrase() -> str:
        # Otherwise OpenSSL would ask for it, and wait, wherever there is a terminal.
        raise SettingsError(f"{section}.key: {key} is protected by a passphrase: save it without one")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, key, no_passphrase)
    except (OSError, ValueError):
        # Also where a file has gone since it was looked at.
        raise SettingsError(
            f"{section}.cert: {tls.cert} and {tls.key} are no certificate with its key: name a chain and its key in PEM"
        ) from None
    return context


@dataclass(frozen=True, slots=True)
class Loaded:
    """A good pair, and what its files held: ``context`` is None without TLS. ``digests`` are of the certificate and of
    the key, None for a file that cannot be read. ``expires`` is when the certificate ends; None where none is read."""

    tls: TlsSettings
    context: ssl.SSLContext | None
    digests: tuple[bytes | None, bytes | None]
    expires: datetime | None


def load(tls: TlsSettings, section: str) -> Loaded:
    """Raises SettingsError, naming the setting."""
    # Before they are loaded: what is written meanwhile is seen as a change.
    digests = digests_of(tls)
    return Loaded(tls, check_tls(tls, section), digests, expiry(tls.cert))


class Certificate:
    """What a listener proves itself with: of a pair that is replaced, the listener is told.

    A context is never changed. OpenSSL takes a certificate into one before it finds that the key is another's, and the
    listener would be without either; a new context is good or is not used.
    """

    def __init__(self, tls: TlsSettings, section: str) -> None:
        """Raises SettingsError, naming the setting in the ``section``."""
        self._section = section
        self._loaded = load(tls, section)
        self._changed: tuple[bytes | None, bytes | None] | None = None
        self._refused: tuple[bytes | None, bytes | None] | None = None
        self._tell: Callable[[ssl.SSLContext], None] = lambda _context: None

    @property
    def context(self) -> ssl.SSLContext | None:
        return self._loaded.context

    @property
    def expires(self) -> datetime | None:
        """Of what is in use, in UTC."""
        return self._loaded.expires

    @property
    def loaded(self) -> Loaded:
        return self._loaded

    def follow(self, tell: Callable[[ssl.SSLContext], None]) -> None:
        """Have the listener told by this of each new context."""
        self._tell = tell

    def prepare(self, tls: TlsSettings) -> Loaded:
        """Another pair, or what the files of the same now hold. Raises SettingsError."""
        return load(tls, self._section)

    def renewed(self, loaded: Loaded) -> Sequence[str]:
        """The settings whose files hold something else than what is in use."""
        pairs = zip(("cert", "key"), self._loaded.digests, loaded.digests, strict=True)
        return [f"{self._section}.{name}" for name, before, now in pairs if before != now]

    def use(self, loaded: Loaded) -> None:
        """From the next handshake on; whoever is connected stays."""
        self._loaded = loaded
        self._changed = self._refused = None
        if loaded.context is not None:
            self._tell(loaded.context)
        if (wrong := untimely(loaded.tls, self._section)) is not None:
            _log.warning(wrong)

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Use what the files hold, where that is new, has stayed the same since the last look, and is good."""
        if self.context is None:
            return
        known = self._loaded
        digests = await asyncio.to_thread(digests_of, known.tls)
        changed, self._changed = self._changed, digests
        if digests in (known.digests, self._refused) or digests != changed:
            return
        try:
            loaded = await asyncio.to_thread(load, known.tls, self._section)
        except SettingsError as error:
            self._refused = digests
            _log.error("the certificate has changed and cannot be used; the one before it stays: %s", error)
            return
        if self._loaded is known:
            self.use(loaded)
            _log.info("the certificate has changed and is used", extra={"setting": f"{self._section}.cert"})


def expiry(cert: Path | None) -> datetime | None:
    """When the first certificate of a file ends, which is the listener's own; None where none can be read."""
    own = _own(cert)
    return own.not_valid_after_utc if own is not None else None


def untimely(tls: TlsSettings, section: str) -> str | None:
    """Why clients refuse a certificate by its time, with the setting and what to do; None where they do not."""
    own, now = _own(tls.cert), datetime.now(UTC)
    if own is None:
        return None
    if own.not_valid_after_utc < now:
        return (
            f"{section}.cert: {tls.cert} has expired on {own.not_valid_after_utc:%Y-%m-%d}, and clients refuse it: "
            "renew it into the same file, which is then used within seconds"
        )
    if own.not_valid_before_utc > now:
        return (
            f"{section}.cert: {tls.cert} is not valid before {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and "
            "clients refuse it: wait, or set the clock of this machine"
        )
    return None


def _own(cert: Path | None) -> x509.Certificate | None:
    if cert is None:
        return None
    try:
        return x509.load_pem_x509_certificates(read_file(cert))[0]
    except (OSError, ValueError):
        return None


def digests_of(tls: TlsSettings) -> tuple[bytes | None, bytes | None]:
    return digest(tls.cert), digest(tls.key)


def digest(path: Path | None) -> bytes | None:
    """Of what a file holds; None for one that cannot be read, and where there is none."""
    if path is None:
        return None
    try:
        return hashlib.sha256(read_file(path)).digest()
    except OSError:
        return None
