"""Bearer credentials (RFC 6750): read from a request, and asked for in an answer."""

from __future__ import annotations

from typing import Final

_REALM: Final = "synkrone-socket"


def bearer_token(authorization: str) -> str:
    """The credential in the field ``Authorization`` (RFC 6750, section 2.1); empty where there is none."""
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else ""


def challenge(error: str | None = None, *, scope: str | None = None) -> tuple[str, str]:
    """The header field that asks for a credential (RFC 6750, section 3).

    ``error`` is the code of what was wrong with the one that was given, ``scope`` the one that is needed.
    """
    parameters = {"realm": _REALM, "error": error, "scope": scope}
    given = ", ".join(f'{name}="{value}"' for name, value in parameters.items() if value is not None)
    return "WWW-Authenticate", f"Bearer {given}"


def challenge_of_unauthorized(*, has_credential: bool) -> tuple[str, str]:
    """For a 401: no error code for who came without a credential (RFC 6750, section 3.1)."""
    return challenge("invalid_token" if has_credential else None)
