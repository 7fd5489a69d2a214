"""What a connecting client sends: ``{token, device?, cursor?, pid?, offset?}``; what else is in it is ignored."""

from __future__ import annotations

from domain.model import Ambiguous, ResumeRequest
from domain.policy import REPEATED, is_name, name_fault
from domain.requests import ConnectRequest, Credentials, Malformed, NoToken

DEVICE_MAX_LENGTH = 64


def connect_request(auth: object, *, remote_address: str, transport: str) -> ConnectRequest:
    """``auth`` is whatever the client sent: any JSON value."""
    return ConnectRequest(_credentials(auth), remote_address, transport)


def _credentials(auth: object) -> Credentials | NoToken | Malformed:
    if not isinstance(auth, dict):
        return NoToken("auth is not an object")
    if isinstance(auth, Ambiguous):
        return Malformed(f"auth.{auth.repeated}" if is_name(auth.repeated) else "auth", REPEATED)
    token = auth.get("token")
    if not isinstance(token, str) or not token:
        return NoToken("auth.token is missing" if token in (None, "") else "auth.token is not a string")
    device = auth.get("device")
    if device is not None and not (is_name(device) and len(device) <= DEVICE_MAX_LENGTH):
        return Malformed("auth.device", name_fault(device, DEVICE_MAX_LENGTH))
    return Credentials(token, ResumeRequest(auth.get("pid"), auth.get("offset"), auth.get("cursor")), device)
