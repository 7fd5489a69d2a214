"""``/v1/inbox``: a user's own inbox, with the user's own token; the same objects as over a connection."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any

from adapters.api.handlers import BodyHandler
from adapters.api.pacing import RequestPace
from adapters.api.queries import query_of
from adapters.contract.answers import answer_object
from adapters.contract.commands import read_command
from adapters.contract.json_text import parse_argument
from adapters.http.cors import answer_headers, preflight_headers
from adapters.http.peer import PeerPolicy
from domain.errors import (
    InvalidArgument,
    InvalidToken,
    RateLimited,
    SynkroneError,
    Unauthenticated,
    Unavailable,
    UserBlocked,
)
from domain.ports import InboxAccess, Telemetry

ACTIONS = ("read", "unread", "seen", "archive", "unarchive", "delete", "read_all", "snooze")
LIST_ARGUMENTS = ("limit", "page", "state", "type")
_LIMIT_MAX_LENGTH = 9
_NEEDS_A_USER = "this needs the token of a user; backends, with an API key, ask at /v1/users/{id}/inbox"
"""Of what may be an API key. Why the token of a user is not good is for the log."""
_DOTS_OF_A_JWT = 2


class ForeignOrigin(SynkroneError):
    code = "foreign_origin"
    title = "Pages of this origin may not talk to the server."


@dataclass(frozen=True, slots=True)
class Users:
    """What the routes for users rest on."""

    access: InboxAccess
    peers: PeerPolicy
    telemetry: Telemetry
    pace: RequestPace


class UserHandler(BodyHandler):
    """A route that browsers may use, for whoever holds a user's token."""

    def initialize(self, *, users: Users, max_body: int) -> None:
        self.expect_body(max_body)
        self.users = users

    @cached_property
    def _is_of_allowed_origin(self) -> bool:
        return self.users.peers.allows_origin(self.request)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        # Only here: before a failure is answered, Tornado clears the headers there are.
        allowed = self._is_of_allowed_origin
        if self.request.method == "OPTIONS":
            lines = preflight_headers(self.request, allowed=allowed, methods=(*self.methods, "OPTIONS"))
        else:
            lines = answer_headers(self.request, allowed=allowed)
        for name, value in lines:
            self.set_header(name, value)
        return super().finish(chunk)

    async def admit(self) -> None:
        if not self._is_of_allowed_origin:
            raise ForeignOrigin
        if not self._bearer_token():
            raise Unauthenticated("needs Authorization: Bearer <the user's token>")

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        if isinstance(error, ForeignOrigin):
            return HTTPStatus.FORBIDDEN
        if isinstance(error, InvalidArgument):
            return HTTPStatus.UNPROCESSABLE_ENTITY
        return super().status_of(error)

    def options(self, *_arguments: str) -> None:
        """What a browser asks before a request with a token."""
        if not self._is_of_allowed_origin:
            raise ForeignOrigin
        self.set_status(HTTPStatus.NO_CONTENT)

    def refused(self, refusal: SynkroneError) -> None:
        if isinstance(refusal, Unauthenticated):
            self._log_refusal(refusal, refusal.detail or refusal.title)

    async def ask(self, event: str, argument: object) -> None:
        try:
            who = await self.users.access.authenticate(self._bearer_token())
            self.users.pace.take(who.user)
            answer = await self.users.access.request(who, read_command(event, argument))
        except InvalidToken as error:
            self._log_refusal(error, error.reason)
            if self._bearer_token().count(".") != _DOTS_OF_A_JWT:
                error.detail = _NEEDS_A_USER
            raise
        except (Unavailable, UserBlocked, RateLimited) as error:
            self._log_refusal(error, str(error))
            raise
        self.answer(200, answer_object(answer))

    def _log_refusal(self, error: SynkroneError, reason: str) -> None:
        address = self.users.peers.address(self.request)
        self.users.telemetry.request_refused(address, f"{self.request.method} {self.request.path}", error.code, reason)


class ListHandler(UserHandler):
    """``?limit=&page=&state=&type=``"""

    async def get(self) -> None:
        await self.handle()

    async def handle(self, *_arguments: str) -> None:
        await self.ask("inbox.list", list_members(query_of(self, LIST_ARGUMENTS)))


def list_members(query: Mapping[str, str]) -> dict[str, object]:
    """The argument of ``inbox.list`` that is given in an address."""
    members: dict[str, object] = {**query}
    limit = query.get("limit")
    if limit is not None and limit.isascii() and limit.isdigit() and len(limit) <= _LIMIT_MAX_LENGTH:
        members["limit"] = int(limit)
    return members


class CountHandler(UserHandler):
    async def get(self) -> None:
        await self.handle()

    async def handle(self, *_arguments: str) -> None:
        query_of(self, ())
        await self.ask("inbox.count", {})


class ActionHandler(UserHandler):
    """``POST /v1/inbox/{action}`` with the argument of ``notification.{action}`` as its body."""

    methods = ("POST",)

    async def post(self, action: str) -> None:
        await self.handle(action)

    async def handle(self, *arguments: str) -> None:
        (action,) = arguments
        query_of(self, ())
        await self.ask(f"notification.{action}", parse_argument(self.body) if self.body else {})
