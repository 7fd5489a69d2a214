"""What the page asks: logging in and out, how the server is, and what can be seen of users and done to them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import tornado.web

from adapters.api.handlers import BodyHandler
from adapters.api.inbox import ForeignOrigin
from adapters.api.nodes import nodes_object
from adapters.api.ops.console import PATH, WHERE, Console
from adapters.api.ops.sessions import Session
from adapters.api.users import user_of
from adapters.contract.json_text import parse_argument, timestamp
from adapters.system.samples import Excerpt
from domain.errors import InvalidArgument, SynkroneError, Unavailable
from domain.model import UserId

BODY_MAX: Final = 16_384
_DIGITS_MAX: Final = 12


class OpsHandler(BodyHandler):
    """For pages of the server's own origin alone."""

    def initialize(self, *, console: Console) -> None:
        self.expect_body(BODY_MAX)
        self.console = console

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    async def admit(self) -> None:
        self.console.check_origin(self.request)

    def status_of(self, error: SynkroneError) -> HTTPStatus:
        if isinstance(error, ForeignOrigin):
            return HTTPStatus.FORBIDDEN
        return super().status_of(error)

    async def get(self, *arguments: str) -> None:
        await self._answer("GET", *arguments)

    async def post(self, *arguments: str) -> None:
        await self._answer("POST", *arguments)

    async def _answer(self, method: str, *arguments: str) -> None:
        if method not in self.methods:
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
            return
        await self.handle(*arguments)


class LoginHandler(OpsHandler):
    """``{key}``: an API key with the scope ``admin``."""

    methods = ("POST",)

    async def handle(self, *_arguments: str) -> None:
        members = parse_argument(self.body)
        key = members.get("key") if isinstance(members, dict) else None
        if not isinstance(key, str) or not key:
            raise InvalidArgument("key", "must be an API key")
        operator, token = self.console.log_in(self.request, key)
        self.set_cookie(
            self.console.cookie(self.request),
            token,
            path=PATH,
            httponly=True,
            samesite="Strict",
            secure=self.console.is_secure(self.request),
        )
        self.answer(200, {"operator": operator})


class LogoutHandler(OpsHandler):
    methods = ("POST",)

    async def handle(self, *_arguments: str) -> None:
        self.console.log_out(self.request)
        self.clear_cookie(self.console.cookie(self.request), path=PATH)
        self.answer(200, {})


class OperatorHandler(OpsHandler):
    """For whoever has logged in. ``is_used``: a person wants it, and not the page by itself."""

    session: Session

    async def admit(self) -> None:
        await super().admit()
        self.session = self.console.session(self.request, is_used=self.is_used)

    @property
    def is_used(self) -> bool:
        return True


class StateHandler(OperatorHandler):
    """``?after=&used=``: how the server is, and the samples that the page does not have. It asks again and again, so
    that this keeps no session alive but with ``used``, which says that somebody is there."""

    @property
    def is_used(self) -> bool:
        return self.get_query_argument("used", "") == "true"

    async def handle(self, *_arguments: str) -> None:
        after = self.get_query_argument("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= _DIGITS_MAX):
            raise InvalidArgument("after", "must be the number of a sample")
        console, about = self.console, self.console.about()
        faults = {name: fault for name, fault in (await console.readiness()).items() if fault is not None}
        self.answer(
            200,
            {
                "now": timestamp(console.clock.now()),
                "operator": self.session.key.name,
                "server": {
                    "version": about.version,
                    "since": timestamp(about.since),
                    "store": about.store,
                    "address": about.address,
                    "boot": about.boot,
                },
                "faults": faults,
                "looks": sorted(console.looks),
                "actions": sorted(console.actions),
                "samples": _samples(console.samples.after(int(after))),
            },
        )


class NodesHandler(OperatorHandler):
    """As ``GET /admin/nodes``; ``nodes`` is null where the server is none."""

    async def handle(self, *_arguments: str) -> None:
        members = self.console.members
        self.answer(200, nodes_object(await members()) if members is not None else {"nodes": None})

    @property
    def is_used(self) -> bool:
        return False


class LookHandler(OperatorHandler):
    """Something of one user, by its name."""

    async def handle(self, *arguments: str) -> None:
        user, name = user_of(arguments[0]), arguments[1]
        look = self.console.looks.get(name)
        if look is None:
            raise tornado.web.HTTPError(HTTPStatus.NOT_FOUND)
        query = {key: self.decode_argument(values[-1], key) for key, values in self.request.query_arguments.items()}
        if query.get("titles") == "true":
            # They are what users read; that somebody else has read them is to be known.
            self.console.telemetry.acted(self.session.key.name, "titles_read", user, detail=WHERE)
        self.answer(200, await look(user, query))


class ActionHandler(OperatorHandler):
    methods = ("POST",)

    async def handle(self, *arguments: str) -> None:
        user, name = user_of(arguments[0]), arguments[1]
        action = self.console.actions.get(name)
        if action is None:
            raise tornado.web.HTTPError(HTTPStatus.NOT_FOUND)
        try:
            done = await action.act(user, self.body)
        except Unavailable as error:
            self._note(action.past, user, f"in part at most: {error.code}")
            raise
        # In quotes, as a reason may hold what reads like one more of these.
        said = ", ".join(f"{name}: {value!r}" for name, value in done.items() if value is not None)
        self._note(action.past, user, said)
        self.answer(200, done)

    def _note(self, done: str, user: UserId, detail: str) -> None:
        self.console.telemetry.acted(self.session.key.name, done, user, detail=f"{WHERE}; {detail}")


def _samples(excerpt: Excerpt) -> dict[str, Any]:
    """Each point is its number, its time in milliseconds since 1970, and a value for each of the names, or null."""
    return {
        "every": excerpt.every,
        "keeps": excerpt.keeps,
        "names": excerpt.names,
        "points": [
            [
                point.number,
                round(point.time.timestamp() * 1000),
                *(float(f"{value:.6g}") if value is not None else None for value in point.values),
            ]
            for point in excerpt.points
        ],
    }
