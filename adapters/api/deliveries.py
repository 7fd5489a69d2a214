"""``GET /v1/users/{id}/deliveries``: why a user got a notification, or did not."""

from __future__ import annotations

from datetime import datetime

from adapters.api.handlers import BackendHandler
from adapters.api.users import user_of
from adapters.contract.commands import is_page
from adapters.contract.deliveries import deliveries_object
from adapters.contract.json_text import parse_timestamp
from domain.errors import InvalidArgument
from domain.model import DeliveriesQuery
from domain.policy import IDENTIFIER_RULE, REPEATED, is_identifier

_ARGUMENTS = ("id", "since", "page")


class DeliveriesHandler(BackendHandler):
    """Of one notification, or of what was stored since a time."""

    methods = ("GET",)
    scope = "deliveries:read"

    async def get(self, user: str) -> None:
        await self.handle(user)

    async def handle(self, *arguments: str) -> None:
        user = user_of(arguments[0])
        page = await self.backend.deliveries.deliveries_of(user, self._query())
        self.answer(200, deliveries_object(user, page))

    def _query(self) -> DeliveriesQuery:
        """Raises InvalidArgument."""
        given: dict[str, str] = {}
        for name, values in self.request.query_arguments.items():
            if name not in _ARGUMENTS:
                raise InvalidArgument(name, "is not known")
            if len(values) > 1:
                raise InvalidArgument(name, REPEATED)
            given[name] = self.decode_argument(values[0], name)
        id_, since, page = (given.get(name) for name in _ARGUMENTS)
        if id_ is not None and not is_identifier(id_):
            raise InvalidArgument("id", IDENTIFIER_RULE)
        if page is not None and not is_page(page):
            raise InvalidArgument("page", "must be what an answer gave as next")
        return DeliveriesQuery(
            id=id_,
            since=_time(since) if since is not None else None,
            before=int(page) if page is not None else None,
        )


def _time(text: str) -> datetime:
    """Raises InvalidArgument."""
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise InvalidArgument("since", str(error)) from None
