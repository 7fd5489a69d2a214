"""``GET /v1/users/{id}/deliveries``: why a user got a notification, or did not."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.api.handlers import BackendHandler
from adapters.api.users import user_of
from adapters.contract.deliveries import deliveries_object, read_query
from domain.errors import InvalidArgument
from domain.policy import REPEATED


class DeliveriesHandler(BackendHandler):
    """Of one notification, or of all that were stored since a time."""

    methods = ("GET",)
    scope = "deliveries:read"

    async def get(self, user: str) -> None:
        await self.handle(user)

    async def handle(self, *arguments: str) -> None:
        user = user_of(arguments[0])
        page = await self.backend.deliveries.deliveries_of(user, read_query(self._given()))
        self.answer(200, deliveries_object(user, page))

    def _given(self) -> Mapping[str, str]:
        """Raises InvalidArgument."""
        given: dict[str, str] = {}
        for name, values in self.request.query_arguments.items():
            if len(values) > 1:
                raise InvalidArgument(name, REPEATED)
            given[name] = self.decode_argument(values[0], name)
        return given
