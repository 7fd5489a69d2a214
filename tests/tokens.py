"""Keys, tokens, key sets and a key server, all real, for tests of whatever verifies tokens."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.doubles import START

NOW = int(START.timestamp())
ISSUER = "https://auth.example"
SECRET = b"a shared secret of 64 bytes, that is enough for the hash SHA-512"

KEY_TYPES = {
    "HS256": "oct",
    "HS384": "oct",
    "HS512": "oct",
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "Ed25519": "Ed25519",
    "EdDSA": "Ed25519",
}
PUBLIC_KEY_ALGORITHMS = [name for name in KEY_TYPES if not name.startswith("HS")]


def key_for(algorithm: str, owner: str = "issuer") -> Key:
    """The signing key of an owner for an algorithm: the same one throughout a test run, without a ``kid``."""
    return _key(KEY_TYPES[algorithm], owner)


@cache
def _key(kind: str, owner: str) -> Key:
    if kind == "oct":
        return OctKey.import_key(SECRET if owner == "issuer" else owner.encode().ljust(64, b"."))
    if kind == "RSA":
        return RSAKey.generate_key(2048)
    if kind == "Ed25519":
        return OKPKey.generate_key("Ed25519")
    return ECKey.generate_key(kind)


@cache
def short_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # to see it refused


def pem(key: Key | rsa.RSAPrivateKey) -> bytes:
    """The public half of a key pair."""
    native = key if isinstance(key, rsa.RSAPrivateKey) else key.private_key
    assert native is not None
    assert not isinstance(native, bytes)
    return native.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_jwk(key: Key, kid: str | None = "k1", **members: Any) -> dict[str, Any]:
    named = {} if kid is None else {"kid": kid}
    return {**{name: value for name, value in key.as_dict().items() if name != "kid"}, **named, **members}


def jwks(*keys: Mapping[str, Any] | object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to None leaves the claim out."""
    good = {"iss": ISSUER, "sub": "42", "role": "freelance", "iat": NOW, "exp": NOW + 3600}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def mint(
    content: Mapping[str, Any],
    algorithm: str = "RS256",
    key: Key | None = None,
    *,
    kid: str | None = "k1",
    header: Mapping[str, Any] | None = None,
) -> str:
    """A token signed with the algorithm, whatever its header then says."""
    members = {"alg": algorithm, "typ": "JWT", **({} if kid is None else {"kid": kid}), **(header or {})}
    return sign(json.dumps(members).encode(), json.dumps(content).encode(), algorithm, key or key_for(algorithm))


def sign(header: bytes, payload: bytes, algorithm: str, key: Key) -> str:
    """A well-formed token of any octets."""
    content = f"{base64url(header)}.{base64url(payload)}"
    return f"{content}.{base64url(JWSRegistry.algorithms[algorithm].sign(content.encode(), key))}"


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class KeyServer:
    """A real HTTP server that counts. ``documents`` maps paths to bodies; others are 404.

    ``broken`` makes it answer 503, ``stuck`` makes it not answer at all.
    """

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken = False
        self.stuck = False
        self._released = asyncio.Event()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        await self._server.close()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def url(self, path: str = "/jwks.json") -> str:
        return self.origin + path

    def publish(self, *keys: Mapping[str, Any] | object) -> None:
        self.documents["/jwks.json"] = jwks(*keys)

    def describe(self, path: str = "/.well-known/openid-configuration", **changes: Any) -> None:
        """Publish metadata that is as short as it may be."""
        metadata = {"issuer": self.origin, "jwks_uri": self.url(), **changes}
        self.documents[path] = json.dumps({k: v for k, v in metadata.items() if v is not None}).encode()

    def asked(self, path: str = "/jwks.json") -> int:
        return self.requests.count(path)

    def release(self) -> None:
        """Answer from now on, also those that wait."""
        self.stuck = False
        self._released.set()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if self.stuck:
            await self._released.wait()
        if self.broken:
            return web.Response(status=503)
        body = self.documents.get(request.path)
        return web.Response(status=404) if body is None else web.Response(body=body, content_type="application/json")


async def poll(*conditions: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until every condition holds; fail when they do not in time."""
    for _ in range(int(seconds / 0.005)):
        if all(condition() for condition in conditions):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that in time")
