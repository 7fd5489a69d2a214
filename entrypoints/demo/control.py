"""The demo's control port: the page, and what the page may do to the demo. Loopback only, and for that page alone."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from aiohttp import web

from adapters.client.modules import client_modules
from adapters.contract.json_text import to_json
from adapters.http.bearer import bearer_token, challenge_of_unauthorized
from adapters.http.problems import MEDIA_TYPE, bare_members
from entrypoints.demo.child import ServerChild
from entrypoints.demo.line import Line
from entrypoints.demo.people import PEOPLE, recipients
from entrypoints.demo.publisher import MAX_RATE, Publisher, Unanswered
from entrypoints.demo.socket_io import OWN_PATH, SocketIoClient

PREFIX: Final = "/control/"
MAX_BODY: Final = 65_536
LIST_LIMIT: Final = 1_000
MAX_TITLE: Final = 200
MAX_TEXT: Final = 2_000
CLOSE_SECONDS: Final = 1.0

_TRIES: Final = re.compile(
    r"(POST) (/v1/notifications)|(PATCH|DELETE) (/v1/notifications/try-[0-9]{1,20})"
    r"|(PUT|DELETE) (/v1/topics/group-[0-9]{1,20}/members/[0-9]{1,3})"
)
"""What the page may ask of the server, with the demo's key."""

_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(Exception):
    """What was asked for cannot be done. The message says why."""


class Control:
    """One port. ``origin`` is where it is, ``link`` what opens the page."""

    def __init__(
        self,
        child: ServerChild,
        lines: Mapping[str, Line],
        publisher: Publisher,
        client: SocketIoClient,
        key: str,
    ) -> None:
        """``lines`` are by the ids of their users; who has not ``key`` cannot do anything."""
        self.origin = ""
        self._child = child
        self._lines = lines
        self._publisher = publisher
        self._client = client
        self._key = key
        self._setup: dict[str, object] = {}
        self._policy = ""
        application = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY)
        application.router.add_routes(
            [
                web.get(f"{PREFIX}setup", self._get_setup),
                web.get(f"{PREFIX}state", self._get_state),
                web.post(f"{PREFIX}publish", self._publish),
                web.post(f"{PREFIX}try", self._try),
                web.post(f"{PREFIX}automatic", self._set_rate),
                web.post(f"{PREFIX}lines/{{user}}", self._set_line),
                web.post(f"{PREFIX}kill", self._kill),
            ]
        )
        for path, (octets, media_type) in _page_files(client).items():
            application.router.add_get(path, _file_handler(octets, media_type))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_SECONDS)

    async def open(self, port: int = 0) -> None:
        """Raises OSError where the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        host, own_port = self._runner.addresses[0][:2]
        self.origin = f"http://{host}:{own_port}"

    async def close(self) -> None:
        await self._runner.cleanup()

    @property
    def link(self) -> str:
        # What follows the # is not sent, and so in no log.
        return f"{self.origin}/#{self._key}"

    def introduce(self, tokens: Mapping[str, str], api_key: str) -> None:
        """What the page is told first; the server and the lines have to be open. ``tokens`` are by their users' ids."""
        self._setup = {
            "run": self._publisher.run,
            "people": [
                {
                    "id": person.id,
                    "role": person.role,
                    "name": person.name,
                    "usesSocketIo": person.uses_socket_io,
                    "token": tokens[person.id],
                    "url": self._lines[person.id].url,
                }
                for person in PEOPLE
            ],
            "server": {"url": f"http://127.0.0.1:{self._child.port}", "apiKey": api_key},
            "socketIo": {"url": self._client.url, "integrity": self._client.integrity},
            "maxRate": MAX_RATE,
        }
        lines = " ".join(f"{line.url} {line.url.replace('http', 'ws', 1)}" for line in self._lines.values())
        scripts = "'self'" if self._client.file is not None else f"'self' {self._client.url}"
        self._policy = (
            f"default-src 'self'; connect-src 'self' {lines}; script-src {scripts}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        refusal = self._refusal(request)
        answer: web.StreamResponse
        if refusal is not None:
            answer = refusal
        else:
            try:
                answer = await handler(request)
            except BadRequest as error:
                answer = _problem(HTTPStatus.BAD_REQUEST, str(error))
            except Unanswered as error:
                answer = _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            except web.HTTPException as error:
                answer = _problem(HTTPStatus(error.status))
        answer.headers["Content-Security-Policy"] = self._policy
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Another name for this machine is how a foreign page would come in (DNS rebinding)."""
        if f"http://{request.host}" != self.origin:
            return _problem(HTTPStatus.MISDIRECTED_REQUEST, "the demo is at another address")
        if request.headers.get("Origin", self.origin) != self.origin:
            return _problem(HTTPStatus.FORBIDDEN, "the demo is for its own page")
        if not request.path.startswith(PREFIX):
            return None
        given = bearer_token(request.headers.get("Authorization", ""))
        if hmac.compare_digest(given.encode(), self._key.encode()):
            return None
        answer = _problem(HTTPStatus.UNAUTHORIZED, "the key is in the link that the demo printed")
        name, value = challenge_of_unauthorized(has_credential=bool(given))
        answer.headers[name] = value
        return answer

    async def _get_setup(self, _request: web.Request) -> web.Response:
        return _json(self._setup)

    async def _get_state(self, request: web.Request) -> web.Response:
        """``?after=`` is the number of the last publication that the page knows, 0 for none."""
        after = request.query.get("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 15:
            raise BadRequest("after must be the number of a publication")
        published = self._publisher.since(int(after), LIST_LIMIT)
        return _json(
            {
                "server": {
                    "state": self._child.state.value,
                    "pid": self._child.pid,
                    "starts": self._child.starts,
                    "fault": self._child.fault,
                },
                "lines": {user: line.is_open for user, line in self._lines.items()},
                "rate": self._publisher.rate,
                "unanswered": self._publisher.unanswered,
                "givenUp": self._publisher.given_up,
                "published": [
                    {
                        "number": one.number,
                        "id": one.id,
                        "recipients": one.recipients,
                        "cursor": one.cursor,
                        "sentAt": one.sent_at,
                    }
                    for one in published
                ],
            }
        )

    async def _publish(self, request: web.Request) -> web.Response:
        """``{to, title, body?}``, to one whom the demo has; the answer is the server's own."""
        given = await _object(request, {"to", "title", "body"})
        to, title, body = given.get("to"), given.get("title"), given.get("body", "")
        if not isinstance(to, dict) or len(to) != 1 or not recipients(to):
            raise BadRequest("to must be a user or a role of the demo, or everyone")
        if not isinstance(title, str) or not title.strip() or len(title) > MAX_TITLE:
            raise BadRequest(f"title must be a text of 1 to {MAX_TITLE} characters")
        if not isinstance(body, str) or len(body) > MAX_TEXT:
            raise BadRequest(f"body must be a text of at most {MAX_TEXT} characters")
        publication = {"to": to, "type": "demo.form", "title": title} | ({"body": body} if body else {})
        status, answer = await self._publisher.publish(publication)
        media_type = "application/json" if status < HTTPStatus.BAD_REQUEST else MEDIA_TYPE
        return web.Response(status=status, body=answer, content_type=media_type)

    async def _try(self, request: web.Request) -> web.Response:
        """``{method, path, body?}``, of what the page tries; ``{status, answer}``, the server's own."""
        given = await _object(request, {"method", "path", "body"})
        asked = f"{given.get('method')} {given.get('path')}"
        if not _TRIES.fullmatch(asked):
            raise BadRequest("the demo does not ask that of its server")
        method, path = asked.split(" ")
        status, answer = await self._publisher.ask(method, path, given.get("body"))
        return _json({"status": status, "answer": json.loads(answer) if answer else None})

    async def _set_rate(self, request: web.Request) -> web.Response:
        """``{rate}``, publications a second."""
        rate = (await _object(request, {"rate"})).get("rate")
        if not isinstance(rate, int) or isinstance(rate, bool) or not 0 <= rate <= MAX_RATE:
            raise BadRequest(f"rate must be a whole number from 0 to {MAX_RATE}")
        self._publisher.set_rate(rate)
        return _json({"rate": rate})

    async def _set_line(self, request: web.Request) -> web.Response:
        """``{open}``, whether the user's line lets anything through."""
        line = self._lines.get(request.match_info["user"])
        if line is None:
            return _problem(HTTPStatus.NOT_FOUND, "the demo has no such user")
        is_open = (await _object(request, {"open"})).get("open")
        if not isinstance(is_open, bool):
            raise BadRequest("open must be true or false")
        if is_open:
            line.mend()
        else:
            line.cut()
        return _json({"open": is_open})

    async def _kill(self, request: web.Request) -> web.Response:
        await _object(request, set())
        if not self._child.kill():
            return _problem(HTTPStatus.CONFLICT, "the server is away already")
        return _json({"killed": True})


async def _object(request: web.Request, names: set[str]) -> dict[str, Any]:
    """The JSON object in the body of a request, with no members but these. Raises BadRequest."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType
    try:
        given = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadRequest("the body must be JSON") from None
    if not isinstance(given, dict):
        raise BadRequest("the body must be a JSON object")
    if unknown := sorted(given.keys() - names):
        raise BadRequest(f"there is no {unknown[0][:40]!r}")
    return given


def _json(value: object) -> web.Response:
    return web.Response(body=to_json(value), content_type="application/json")


def _problem(status: HTTPStatus, detail: str | None = None) -> web.Response:
    return web.Response(status=status, body=to_json(bare_members(status, detail)), content_type=MEDIA_TYPE)


def _page_files(client: SocketIoClient) -> dict[str, tuple[bytes, str]]:
    """Octets and media types, by their paths."""
    served = {
        f"/{file.name}": (file.read_bytes(), _MEDIA_TYPES[f".{file.name.rpartition('.')[2]}"])
        for file in files("entrypoints.demo").joinpath("page").iterdir()
        if file.is_file()
    }
    served["/"] = served.pop("/index.html")
    served |= {f"/{name}": (octets, _MEDIA_TYPES[".js"]) for name, octets in client_modules().items()}
    if client.file is not None:
        served[OWN_PATH] = client.file, "text/javascript"
    return served


def _file_handler(octets: bytes, media_type: str) -> _Handler:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=octets, content_type=media_type, charset="utf-8")

    return handle
