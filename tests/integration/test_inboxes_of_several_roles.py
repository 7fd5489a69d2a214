"""Inboxes of users whose tokens give several roles, as backends see them: as the users do, and so are exports."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.engine_io import http_session
from tests.integration.test_user_inboxes_api import KEYS, Backend
from tests.serving import API_KEY, SECRET, serving, token

ISSUER = "https://auth.example/"
MANY = [f"r-{number:03}" for number in range(150)]
ROLES = ["admin", "driver", "freelance", *MANY]
STORES = pytest.mark.parametrize("store", ["memory://", "sqlite"])


class Of(Backend):
    """A backend, for a user whose tokens give some roles each."""

    async def as_(self, *roles: str) -> list[str]:
        """What the user lists with a token of these."""
        headers = {"Authorization": f"Bearer {token(self.user, iss=ISSUER, role=list(roles))}"}  # type: ignore[arg-type]
        async with self.session.get(f"{self.server.url}/v1/inbox?limit=100", headers=headers) as answer:
            assert answer.status == 200
            return [item["id"] for item in (await answer.json())["items"]]

    async def exported(self, query: str = "") -> tuple[dict[str, Any], list[str]]:
        """What is said of the user, and the ids of what they have."""
        status, lines = await self.export(query)
        assert status == 200, lines
        about, *rest = lines
        return about, [line["notification"]["id"] for line in rest]

    async def export(self, query: str = "") -> tuple[int, list[dict[str, Any]]]:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{self.server.url}/v1/users/{self.user}/export{query}"
        async with self.session.get(url, headers=headers) as answer:
            return answer.status, [json.loads(line) for line in (await answer.text()).splitlines()]

    async def keyed(self, id_: str, key: str, **to: object) -> None:
        status, answer, _ = await self.publishes({"to": to, "type": "t", "id": id_, "collapse_key": key})
        assert status == 201, answer

    async def publishes(self, body: dict[str, Any]) -> tuple[int, Any, None]:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with self.session.post(f"{self.server.url}/v1/notifications", json=body, headers=headers) as answer:
            return answer.status, await answer.json(), None

    async def join(self, topic: str) -> None:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{self.server.url}/v1/topics/{topic}/members/{self.user}"
        async with self.session.put(url, headers=headers) as answer:
            assert answer.status == 204


@asynccontextmanager
async def backend_of(store: str, user: str = "u1") -> AsyncIterator[Of]:
    issuer = {"issuer": ISSUER, "secret": SECRET, "multiple_roles": True, "roles": ROLES}
    settings: dict[str, Any] = {"auth": {"issuers": [issuer]}, "api": KEYS}
    if store != "sqlite":
        settings["store"] = store
    async with serving(**settings) as server, http_session() as session:
        yield Of(session, server, user)


def groups(*roles: str) -> list[dict[str, str]]:
    return [{"role": role} for role in roles]


@STORES
@pytest.mark.gen_test(timeout=30)
async def test_an_export_has_what_is_for_any_of_their_roles(store: str) -> None:
    async with backend_of(store) as backend:
        await backend.as_("admin", "driver")
        await backend.join("p")
        await backend.publish("own")
        await backend.publish("admin", role="admin")
        await backend.publish("driver", role="driver")
        await backend.publish("all-of", all_of=groups("admin", "driver"))
        await backend.publish("any-of", any_of=groups("admin", "driver"))
        await backend.publish("everyone", everyone=True)
        await backend.publish("topic", topic="p")
        await backend.publish("freelance", role="freelance")
        seen = await backend.as_("driver", "admin")
        assert len(seen) == 7
        about, ids = await backend.exported()
        assert ids == seen == await backend.ids()
        assert about["counts"]["total"] == (await backend.get("/count"))["counts"]["total"] == 7
        assert [one["roles"] for one in about["roles"]] == [["admin", "driver"]]
        for role in ("admin", "driver"):
            assert await backend.ids(f"?role={role}") == (await backend.exported(f"?role={role}"))[1] == seen


@STORES
@pytest.mark.gen_test(timeout=30)
async def test_who_had_some_of_them_before_is_seen_as_who_has_all(store: str) -> None:
    async with backend_of(store) as backend:
        await backend.as_("admin")
        await backend.as_("admin", "driver")
        await backend.publish("admin", role="admin")
        await backend.publish("all-of", all_of=groups("admin", "driver"))
        await backend.keyed("k1", "k", role="admin")
        await backend.keyed("k2", "k", role="driver")
        seen = await backend.as_("admin", "driver")
        assert seen == ["k2", "all-of", "admin"]
        about, ids = await backend.exported()
        assert ids == await backend.ids() == await backend.ids("?role=admin") == seen
        assert [one["roles"] for one in about["roles"]] == [["admin"], ["admin", "driver"]]


@STORES
@pytest.mark.gen_test(timeout=30)
async def test_roles_that_they_never_had_together_are_not_taken_together(store: str) -> None:
    async with backend_of(store) as backend:
        await backend.as_("admin")
        await backend.as_("driver")
        await backend.publish("both", all_of=groups("admin", "driver"))
        await backend.keyed("k1", "k", role="driver")
        await backend.keyed("k2", "k", role="admin")
        assert (await backend.as_("admin"), await backend.as_("driver")) == (["k2"], ["k1"])
        assert await backend.ids() == (await backend.exported())[1] == ["k2", "k1"]
        assert (await backend.ids("?role=admin"), await backend.ids("?role=driver")) == (["k2"], ["k1"])
        assert (await backend.get("/count"))["counts"] == {"unread": 2, "unseen": 2, "total": 2}
        assert (await backend.post("read", "both"))["changed"] == 0
        assert (await backend.post("read", "k1"))["changed"] == 1
        assert (await backend.get("/count?role=driver"))["counts"]["unread"] == 0


@STORES
@pytest.mark.gen_test(timeout=60)
async def test_no_more_roles_are_looked_at_than_can_be(store: str) -> None:
    async with backend_of(store) as backend:
        for role in MANY[:100]:
            await backend.as_(role)
        await backend.publish("a", role=MANY[0])
        await backend.publish("b", role=MANY[99])
        assert await backend.ids() == (await backend.exported())[1] == ["b", "a"]
        await backend.as_(MANY[100])
        await backend.refused("GET", "", 422, "invalid_argument")
        await backend.refused("POST", "/read", 422, "invalid_argument", {"ids": ["a"]})
        status, (problem,) = await backend.export()
        assert (status, problem["code"]) == (422, "invalid_argument")
        assert problem["detail"].startswith("role: is required")
        about, ids = await backend.exported(f"?role={MANY[0]}")
        assert ids == ["a"]
        assert len(about["roles"]) == 101
        for query in ("?role=freelance", "?role=", "?other=1", "?role=a&role=b"):
            status, (problem,) = await backend.export(query)
            assert (status, problem["code"]) == (422, "invalid_argument")
