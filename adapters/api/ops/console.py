"""What the operator's page rests on, and who may use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, TypeAlias

import tornado.httputil

from adapters.api.health import Readiness
from adapters.api.inbox import ForeignOrigin
from adapters.api.ops.sessions import Attempts, Key, Session, Sessions
from adapters.http.origins import origin_sent
from adapters.http.peer import PeerPolicy
from adapters.system.nodes import Member
from adapters.system.samples import Samples
from domain.errors import Forbidden, Unauthenticated
from domain.model import UserId
from domain.ports import Clock, Telemetry

PATH: Final = "/ops"
SCOPE: Final = "admin"
WHERE: Final = "operator's page"
SAFE_METHODS: Final = ("GET", "HEAD")

Look: TypeAlias = Callable[[UserId, Mapping[str, str]], Awaitable[Mapping[str, object]]]
"""Something that can be seen of a user. Takes the query. Raises SynkroneError."""

Act: TypeAlias = Callable[[UserId, bytes], Awaitable[Mapping[str, object]]]
"""Something that can be done to a user. Takes the body of the request. Raises SynkroneError."""


class Keys(Protocol):
    """Those that there are at the moment."""

    def find(self, credential: str) -> Key:
        """Raises Unauthenticated."""

    def __contains__(self, key: object) -> bool: ...


@dataclass(frozen=True, slots=True)
class About:
    """This server. ``boot`` is its name among nodes; None where it is no node."""

    version: str
    since: datetime
    store: str
    address: str
    boot: str | None


@dataclass(frozen=True, slots=True)
class Action:
    """``past`` names it in the audit log."""

    act: Act
    past: str


@dataclass(frozen=True, slots=True)
class Console:
    """What the routes rest on. ``keys`` gives those that there are, if any. ``looks`` and ``actions``
    are what can be seen of users and done to them, by name; ``members`` reads who the nodes are, and is None where the
    server is none."""

    keys: Callable[[], Keys | None]
    sessions: Sessions
    attempts: Attempts
    peers: PeerPolicy
    telemetry: Telemetry
    clock: Clock
    samples: Samples
    readiness: Readiness
    about: Callable[[], About]
    looks: Mapping[str, Look] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    members: Callable[[], Awaitable[Sequence[Member]]] | None = None

    def check_origin(self, request: tornado.httputil.HTTPServerRequest) -> None:
        """Raises ForeignOrigin for what a page of another origin has sent, or may have.

        That the cookie is SameSite is not enough: to browsers every port of a machine is the same site.
        """
        headers = request.headers
        origins, sites = headers.get_list("Origin"), headers.get_list("Sec-Fetch-Site")
        if request.method not in SAFE_METHODS and not origins and not sites:
            raise ForeignOrigin("needs Origin or Sec-Fetch-Site, which browsers send")
        own = self.peers.own_origin(request)
        if origins and (len(origins) > 1 or own is None or origin_sent(origins[0]) != own):
            raise ForeignOrigin(f"the page has to be of {own}, as it is reached here")
        if sites and sites != ["same-origin"]:
            raise ForeignOrigin("Sec-Fetch-Site has to be same-origin")

    def cookie(self, request: tornado.httputil.HTTPServerRequest) -> str:
        """Its name. All ports of a host share their cookies, so that each server there needs a name of its own."""
        own = self.peers.own_origin(request)
        port = own.port if own is not None and own.port is not None else "default"
        return f"{'__Secure-' if self.is_secure(request) else ''}synkrone-ops-{port}"

    def is_secure(self, request: tornado.httputil.HTTPServerRequest) -> bool:
        return self.peers.scheme(request) == "https"

    def session(self, request: tornado.httputil.HTTPServerRequest, *, is_used: bool) -> Session:
        """Raises Unauthenticated."""
        token = self._token(request)
        session = self.sessions.find(token, is_used=is_used)
        if session is None:
            raise Unauthenticated("log in")
        keys = self.keys()
        if keys is None or session.key not in keys:
            # Whoever takes a key away means its sessions too.
            self.sessions.end(token)
            raise Unauthenticated("the key is not known any more")
        return session

    def log_in(self, request: tornado.httputil.HTTPServerRequest, credential: str) -> tuple[str, str]:
        """The name of the key, and the token of a session for it.

        Raises RateLimited, Unauthenticated, and Forbidden for a key without the scope.
        """
        address = self.peers.address(request)
        try:
            self.attempts.check(address)
            key = self._find(credential)
        except (Unauthenticated, Forbidden) as refusal:
            self.attempts.failed(address)
            self.telemetry.caller_refused(address, refusal.code, refusal.detail or refusal.title)
            raise
        self.telemetry.acted(key.name, "logged_in", detail=f"{WHERE}, from {address}")
        return key.name, self.sessions.begin(key)

    def _find(self, credential: str) -> Key:
        keys = self.keys()
        if keys is None:
            raise Unauthenticated
        key = keys.find(credential)
        if SCOPE not in key.scopes:
            raise Forbidden(f"needs a key with the scope {SCOPE}", scope=SCOPE)
        return key

    def log_out(self, request: tornado.httputil.HTTPServerRequest) -> None:
        """There may be nobody to log out."""
        token = self._token(request)
        session = self.sessions.find(token)
        if session is not None:
            self.sessions.end(token)
            self.telemetry.acted(session.key.name, "logged_out", detail=WHERE)

    def _token(self, request: tornado.httputil.HTTPServerRequest) -> str:
        """What the browser has been given; empty where there is nothing."""
        morsel = request.cookies.get(self.cookie(request))
        return morsel.value if morsel is not None else ""
