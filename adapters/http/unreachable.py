"""What is said of a server to which no connection comes about."""

from __future__ import annotations

import os
import socket
import ssl

import aiohttp


def why_unreachable(error: aiohttp.ClientConnectorError) -> str:
    """What the system or the TLS library says. The words of aiohttp tell of a default of TLS also where there is no
    TLS."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate cannot be verified: {why_unverified(error)}"
    fault = error.os_error
    if isinstance(fault, ssl.SSLError):
        return f"no TLS connection came about: {(fault.reason or str(fault)).replace('_', ' ').lower()}"
    if isinstance(fault, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(fault, socket.gaierror) or not fault.errno:
        return fault.strerror or str(fault)
    return os.strerror(fault.errno)


def why_unverified(error: aiohttp.ClientConnectorCertificateError) -> str:
    fault = error.certificate_error
    return fault.verify_message.rstrip(".") if isinstance(fault, ssl.SSLCertVerificationError) else str(fault)
