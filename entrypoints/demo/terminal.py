"""The demo in the terminal: a server, two users and a backend in one process, with keys made up for the run."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from adapters.telemetry.logs import configure_logging
from entrypoints.client import listen, publish
from entrypoints.event_loop import run
from entrypoints.server import open_server
from entrypoints.settings import Settings, SettingsError, validate_settings
from entrypoints.stopping import StopSignals
from entrypoints.tokens import mint

ARRIVAL_TIMEOUT = 10.0
SECONDS_BETWEEN_ROUNDS = 5.0
TOKEN_TTL = timedelta(days=1)
DATABASE = "synkrone-demo.db"


@dataclass(slots=True)
class DemoUser:
    id: str
    role: str
    token: str
    received: list[str] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    cursor: str | None = None
    listening: asyncio.Task[None] | None = None

    def show(self, name: str, arguments: tuple[Any, ...]) -> None:
        if isinstance(arguments[-1], str):
            self.cursor = arguments[-1]
        if name == "notification.new":
            self.received += (arguments[0]["id"], arguments[0]["type"])
            print(f"   -> user {self.id} ({self.role}) got {arguments[0]['type']}: {arguments[0]['title']}", flush=True)
        elif name == "session.ready":
            self.received.append(name)
            again = ", and continues where it was" if arguments[0]["recovered"] else ""
            print(f"   user {self.id} ({self.role}) is connected{again}", flush=True)
        elif name == "inbox.counts":
            print(f"   user {self.id} ({self.role}) has {arguments[0]['unread']} unread", flush=True)
        else:
            print(f"   user {self.id} ({self.role}) heard {name}", flush=True)
        self.arrival.set()

    def connect(self, url: str) -> None:
        """Listen, from where it was cut off before."""

        def notify(line: str) -> None:
            print(f"   user {self.id}: {line}", flush=True)

        self.listening = asyncio.create_task(listen(url, self.token, self.show, notify=notify, cursor=self.cursor))

    async def cut_off(self) -> None:
        if self.listening is not None:
            self.listening.cancel()
            await asyncio.wait((self.listening,))

    async def has(self, what: str) -> None:
        """Wait until it has arrived."""
        while what not in self.received:
            self.arrival.clear()
            await self.arrival.wait()


@dataclass(frozen=True, slots=True)
class Shot:
    to: dict[str, object]
    type: str
    title: str
    for_roles: frozenset[str]


FREELANCE, COMPANY = "freelance", "company"
SHOTS = (
    Shot({"user": "42"}, "mission.assigned", "You have a new mission", frozenset((FREELANCE,))),
    Shot({"user": "43"}, "invoice.paid", "Your invoice was paid", frozenset((COMPANY,))),
    Shot({"role": COMPANY}, "plan.changed", "News for every company", frozenset((COMPANY,))),
    Shot({"everyone": True}, "maintenance.planned", "A word to everyone", frozenset((FREELANCE, COMPANY))),
)


def main(*, once: bool) -> int:
    """Exit code 0; with ``once`` 1 if a notification went to a wrong user, or to a right one not at all."""
    configure_logging("warning", "auto")
    settings = validate_settings(
        {
            "port": 0,
            "auth": {"secret": secrets.token_urlsafe(32)},
            "api": {"key": secrets.token_urlsafe(32)},
            "store": f"sqlite:///{DATABASE}",
        }
    )
    try:
        return run(_run(settings, once=once))
    except SettingsError as error:
        print(f"synkrone-socket: {error}", file=sys.stderr)
        return 2


async def _run(settings: Settings, *, once: bool) -> int:
    loop = asyncio.get_running_loop()
    signals = StopSignals(loop)
    async with open_server(settings).running() as server:
        users = [
            DemoUser(user, role, mint(settings.auth, user=user, role=role, ttl=TOKEN_TTL))
            for user, role in (("42", FREELANCE), ("43", COMPANY))
        ]
        _introduce(server.url, settings, users)
        rounds = loop.create_task(_rounds(server.url, settings, users, once=once))
        stopped = loop.create_task(signals.stop.wait())
        await asyncio.wait((rounds, stopped, server.failed), return_when=asyncio.FIRST_COMPLETED)
        for task in (rounds, stopped):
            task.cancel()
        await asyncio.wait((rounds, stopped))
        if server.failed.done():
            server.failed.result()
        print("\nThe demo has ended.", flush=True)
        return 0 if rounds.cancelled() else rounds.result()


def _introduce(url: str, settings: Settings, users: list[DemoUser]) -> None:
    assert settings.api.key is not None  # noqa: S101 (made up above)
    key = settings.api.key.get_secret_value()
    print(f"synkrone-socket runs at {url}, with keys made up for this run.\n")
    for user in users:
        print(f"User {user.id}, role {user.role}. Token:\n{user.token}\n")
    body = json.dumps({"to": {"user": users[0].id}, "type": "hello", "title": "From a terminal"})
    print("While it runs, publish from another terminal:\n")
    print(f"curl {url}/v1/notifications \\\n  -H 'Authorization: Bearer {key}' \\")
    print(f"  -H 'Content-Type: application/json' \\\n  -d '{body}'\n")
    print("cut the user off (the demo's client comes back with its last cursor, and misses nothing):\n")
    print(f"curl -X DELETE '{url}/v1/users/{users[0].id}/connections?reconnect=true' \\")
    print(f"  -H 'Authorization: Bearer {key}'\n")
    print("or read the user's stream, from the beginning of what was not received yet:\n")
    print(f"curl -N {url}/v1/stream -H 'Authorization: Bearer {users[0].token}'\n")
    print(f"The inbox is kept in {DATABASE}, in this folder.")
    print("Ctrl-C ends it.\n", flush=True)


async def _rounds(url: str, settings: Settings, users: list[DemoUser], *, once: bool) -> int:
    async with _listening(url, users):
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            await asyncio.gather(*(user.has("session.ready") for user in users))
        for number in itertools.count(1):
            print(f"\nRound {number}", flush=True)
            for user in users:
                user.received.clear()
            wrong = [error for shot in SHOTS if (error := await _fire(url, settings, users, shot)) is not None]
            # The last shot is for everyone, and comes in order: whatever went to a wrong user has arrived by now.
            wrong += [
                f"user {user.id} got {shot.type}, which was for {shot.to}"
                for user in users
                for shot in SHOTS
                if user.role not in shot.for_roles and shot.type in user.received
            ]
            if (lost := await _cut_and_return(url, settings, users[0])) is not None:
                wrong.append(lost)
            for error in wrong:
                print(f"   WRONG: {error}", file=sys.stderr, flush=True)
            if once:
                return 1 if wrong else 0
            await asyncio.sleep(SECONDS_BETWEEN_ROUNDS)
    return 0


async def _fire(url: str, settings: Settings, users: list[DemoUser], shot: Shot) -> str | None:
    """Publish and wait until it has arrived; what went wrong, or None."""
    assert settings.api.key is not None  # noqa: S101
    body = {"to": shot.to, "type": shot.type, "title": shot.title}
    print(f"\n   publish to {json.dumps(shot.to)}: {shot.title}", flush=True)
    status, answer = await publish(url, settings.api.key.get_secret_value(), body)
    if status != 201:
        return f"the server answered {status}: {answer}"
    notification = json.loads(answer)["id"]
    recipients = [user for user in users if user.role in shot.for_roles]
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            await asyncio.gather(*(user.has(notification) for user in recipients))
    except TimeoutError:
        return f"{shot.type} did not reach {' and '.join(user.id for user in recipients)}"
    return None


async def _cut_and_return(url: str, settings: Settings, user: DemoUser) -> str | None:
    """Publish while a user is away; what was not there on the return, or None."""
    assert settings.api.key is not None  # noqa: S101
    print(f"\n   user {user.id} is cut off", flush=True)
    await user.cut_off()
    body = {"to": {"user": user.id}, "type": "message.received", "title": "Sent while you were away"}
    print(f"   publish to {json.dumps(body['to'])}: {body['title']}", flush=True)
    status, answer = await publish(url, settings.api.key.get_secret_value(), body)
    user.connect(url)
    if status != 201:
        return f"the server answered {status}: {answer}"
    try:
        async with asyncio.timeout(ARRIVAL_TIMEOUT):
            await user.has(json.loads(answer)["id"])
    except TimeoutError:
        return f"user {user.id} did not get on return what was sent meanwhile"
    return None


@asynccontextmanager
async def _listening(url: str, users: list[DemoUser]) -> AsyncIterator[None]:
    for user in users:
        user.connect(url)
    try:
        yield
    finally:
        for user in users:
            await user.cut_off()
