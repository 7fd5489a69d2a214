"""Those who publish, and users who read their inbox over HTTP: at random, and again until they have an answer."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from tests.cluster import Machine
from tests.processes import API_KEY
from tests.prove.history import History

ATTEMPT_SECONDS = 6.0
RETRY_SECONDS = (0.05, 0.4)
ACTIONS = ("read", "read", "unread", "seen", "archive", "unarchive", "delete")


class Caller:
    """Calls whichever server, and has no answer where there is none."""

    def __init__(self, servers: Sequence[Machine], history: History, choice: random.Random) -> None:
        self.history = history
        self.choice = choice
        self._servers = servers

    async def ask(
        self, call: int, method: str, path: str, token: str, body: object = None, **more: str
    ) -> tuple[int, dict[str, Any]] | None:
        """One attempt at one of them; ``more`` are headers."""
        server = self.choice.choice(self._servers)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **more}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS)) as session,
                session.request(
                    method, server.url + path, headers=headers, data=None if body is None else json.dumps(body)
                ) as answer,
            ):
                read = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError, OSError):
            self.history.write("unanswered", call=call, server=str(server))
            return None
        self.history.answer(call, answer.status, read)
        return answer.status, read


class Publisher:
    """``rate`` notifications a second, alone or several in a batch. ``ids`` are those that were acknowledged lately."""

    def __init__(self, name: str, users: Mapping[str, str], caller: Caller, rate: float) -> None:
        self.name = name
        self.ids: list[str] = []
        self._users = users
        self._caller = caller
        self._rate = rate
        self._numbers = itertools.count()
        self._is_over = False

    def finish(self) -> None:
        """Begin nothing new."""
        self._is_over = True

    async def publish(self) -> None:
        """Until ``finish``; what was begun is seen through."""
        choice = self._caller.choice
        while not self._is_over:
            await asyncio.sleep(choice.expovariate(self._rate))
            bodies = [self._body() for _ in range(choice.choice((1, 1, 1, 1, 5)))]
            if choice.random() < 0.1:
                for body in bodies:
                    del body["id"]
            attempts = [self.say(bodies)]
            if choice.random() < 0.1:
                # To two servers at once, as after a time-out that was too short.
                attempts.append(self.say(bodies))
            await asyncio.gather(*attempts)
            if choice.random() < 0.1:
                await self.say(bodies)
            if choice.random() < 0.05 and "id" in bodies[0]:
                await self.say([{**self._body(), "id": bodies[0]["id"]}])

    def _body(self) -> dict[str, Any]:
        choice, name = self._caller.choice, f"{self.name}-{next(self._numbers)}"
        user, other = choice.sample(sorted(self._users), 2)
        to: Sequence[Mapping[str, object]] = (
            {"user": user},
            {"user": user},
            {"users": [user, other]},
            {"role": self._users[user]},
            {"everyone": True},
        )
        title = "x" * choice.randrange(100)
        return {"to": choice.choice(to), "type": "proof", "title": title, "id": name, "data": {"name": name}}

    async def say(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Until there is an answer other than that it cannot be stored at the moment.

        Without ids of its own the request has a key, by which it is known again.
        """
        key = {} if "id" in bodies[0] else {"Idempotency-Key": bodies[0]["data"]["name"]}
        path, body = ("/v1/notifications", bodies[0]) if len(bodies) == 1 else ("/v1/notifications/batch", bodies)
        while True:
            call = self._caller.history.call("publish", bodies=bodies)
            answer = await self._caller.ask(call, "POST", path, API_KEY, body, **key)
            if answer is not None and answer[0] != 503:
                if answer[0] in (200, 201):
                    self.ids = [*self.ids[-50:], *(each["id"] for each in answer[1].get("results", [answer[1]]))]
                return
            await asyncio.sleep(self._caller.choice.uniform(*RETRY_SECONDS))


class Reader:
    """A user on a page of HTTP: marks what was published lately, and counts."""

    def __init__(self, user: str, token: str, caller: Caller, publishers: Sequence[Publisher]) -> None:
        self._user = user
        self._token = token
        self._caller = caller
        self._publishers = publishers
        self._is_over = False

    def finish(self) -> None:
        self._is_over = True

    async def read(self) -> None:
        """Until ``finish``."""
        choice = self._caller.choice
        while not self._is_over:
            await asyncio.sleep(choice.uniform(0.2, 1.2))
            ids = choice.choice(self._publishers).ids
            if choice.random() < 0.4 or not ids:
                await self.count()
            elif choice.random() < 0.1:
                await self._change("read_all", {})
            else:
                await self._change(choice.choice(ACTIONS), {"ids": choice.sample(ids, min(len(ids), 5))})

    async def count(self) -> bool:
        """Whether there was an answer."""
        call = self._caller.history.call("count", user=self._user)
        answer = await self._caller.ask(call, "GET", "/v1/inbox/count", self._token)
        return answer is not None and answer[0] == 200

    async def _change(self, action: str, body: Mapping[str, object]) -> None:
        call = self._caller.history.call("change", user=self._user, action=action, body=body)
        await self._caller.ask(call, "POST", f"/v1/inbox/{action}", self._token, body)

    async def last_look(self) -> str:
        """All pages of what is listed in the end, written down; the cursor it is as of."""
        listed = await self._list("")
        items = list(listed["items"])
        while listed["next"] is not None:
            listed = await self._list(f"&page={listed['next']}")
            items += listed["items"]
        counts, as_of = listed["counts"], listed["as_of"]
        self._caller.history.write("inbox", user=self._user, items=items, counts=counts, as_of=as_of)
        return str(as_of)

    async def _list(self, page: str) -> dict[str, Any]:
        call = self._caller.history.call("list", user=self._user)
        answer = await self._caller.ask(call, "GET", f"/v1/inbox?state=all&limit=100{page}", self._token)
        if answer is None or answer[0] != 200:
            raise RuntimeError(f"the inbox of {self._user} cannot be listed in the end: {answer}")
        return answer[1]
