"""The certificate of a listener."""

from __future__ import annotations

import ssl

from entrypoints.settings import SettingsError, TlsSettings


def check_tls(tls: TlsSettings, section: str) -> ssl.SSLContext | None:
    """What a listener proves itself with; None for one without TLS. Raises SettingsError, naming the setting."""
    if tls.cert is None or tls.key is None:
        return None
    for name, path in (("cert", tls.cert), ("key", tls.key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{section}.{name}: cannot read {path}: {error.strerror}") from None
    key = tls.key

    def no_passphrase() -> str:
        # Otherwise OpenSSL would ask for it, and wait, wherever there is a terminal.
        raise SettingsError(f"{section}.key: {key} is protected by a passphrase: save it without one")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, key, no_passphrase)
    except (ssl.SSLError, ValueError):
        raise SettingsError(f"{section}.cert: {tls.cert} and {tls.key} are no certificate with its key") from None
    return context
