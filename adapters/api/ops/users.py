"""What operators see of a user, and do to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.api.connections import connection_object
from adapters.api.ops.console import Action, Look
from adapters.contract.answers import counts_object
from adapters.contract.commands import is_page
from adapters.contract.deliveries import deliveries_object, read_query
from adapters.contract.events import item_json
from adapters.contract.json_text import parse_argument
from adapters.contract.restrictions import blocked_object, read_block, read_revocation, revoked_object
from domain.errors import InvalidArgument
from domain.model import InboxQuery, Item, ItemState, UserId
from domain.ports import ConnectionDirectory, DeliveryReports, InboxLookup, UserAccess

PAGE_ITEMS: Final = 20
_SHOWN: Final = ("id", "type", "created_at", "expires_at", "audience", "read_at", "seen_at", "archived_at")
"""Of a notification: all but its content."""


def connections_of(directory: ConnectionDirectory) -> Look:
    """``{connections}``, as ``GET /v1/users/{id}/connections``."""

    async def look(user: UserId, _query: Mapping[str, str]) -> Mapping[str, object]:
        return {"connections": [connection_object(info) for info in await directory.connections_of(user)]}

    return look


def inbox_of(lookup: InboxLookup) -> Look:
    """``?role=&page=&titles=``: ``{roles, role, counts, items, next}``, the newest first, archived ones too.

    An item has no content, but for its ``title`` where ``titles`` is ``true``.
    """

    async def look(user: UserId, query: Mapping[str, str]) -> Mapping[str, object]:
        page = query.get("page")
        if page is not None and not is_page(page):
            raise InvalidArgument("page", "must be what a list gave as next")
        asked = InboxQuery(limit=PAGE_ITEMS, before=int(page) if page is not None else None, state=ItemState.ALL)
        looked = await lookup.inbox_of(user, query.get("role"), asked)
        listing = looked.listing
        with_title = query.get("titles") == "true"
        return {
            "roles": looked.roles,
            "role": looked.role,
            "counts": counts_object(listing.counts),
            "items": [_item(item, with_title=with_title) for item in listing.items],
            "next": str(listing.next) if listing.next is not None else None,
        }

    return look


def _item(item: Item, *, with_title: bool) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.json.decode(item_json(item))
    shown = {name: members[name] for name in _SHOWN}
    return shown | {"title": members["title"]} if with_title else shown


def closing(directory: ConnectionDirectory) -> Action:
    """``{reconnect?}``: ``{disconnected}``, as ``DELETE /v1/users/{id}/connections``."""

    async def act(user: UserId, body: bytes) -> Mapping[str, object]:
        members = parse_argument(body) if body else {}
        reconnect = members.get("reconnect", False) if isinstance(members, dict) else None
        if not isinstance(reconnect, bool):
            raise InvalidArgument("reconnect", "must be true or false")
        return {"disconnected": await directory.disconnect(user, reconnect=reconnect)}

    return Action(act, "disconnected")


def block_of(access: UserAccess) -> Look:
    """As ``GET /v1/users/{id}/block``."""

    async def look(user: UserId, _query: Mapping[str, str]) -> Mapping[str, object]:
        return blocked_object(await access.block_of(user))

    return look


def restricting(access: UserAccess) -> Mapping[str, Action]:
    """``revoke``, ``block`` and ``unblock``, each as its route below ``/v1/users/{id}``."""

    async def revoke(user: UserId, body: bytes) -> Mapping[str, object]:
        return revoked_object(await access.revoke(user, read_revocation(body)))

    async def block(user: UserId, body: bytes) -> Mapping[str, object]:
        until, reason = read_block(body)
        return blocked_object(await access.block(user, until, reason))

    async def unblock(user: UserId, _body: bytes) -> Mapping[str, object]:
        return blocked_object(await access.unblock(user))

    return {
        "revoke": Action(revoke, "revoked"),
        "block": Action(block, "blocked"),
        "unblock": Action(unblock, "unblocked"),
    }


def deliveries_of(reports: DeliveryReports) -> Look:
    """``?id=&since=&page=``, as ``GET /v1/users/{id}/deliveries``."""

    async def look(user: UserId, query: Mapping[str, str]) -> Mapping[str, object]:
        return deliveries_object(user, await reports.deliveries_of(user, read_query(query)))

    return look
