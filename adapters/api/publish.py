"""``POST /v1/notifications`` and ``POST /v1/notifications/batch``: how backends publish."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.api.bodies import NDJSON, idempotency_key, read_batch
from adapters.api.handlers import BackendHandler
from adapters.wire import parse_publication
from domain.errors import InvalidPublication
from domain.model import Appended, AppendOutcome, Publication


class _PublishingHandler(BackendHandler):
    scope = "publish"

    async def post(self) -> None:
        await self.run()

    async def publish(
        self, publications: Sequence[Publication | InvalidPublication], *, by_index: bool = False
    ) -> Sequence[Appended]:
        key = self._idempotency_key()
        return await self.backend.publisher.publish(publications, idempotency_key=key, by_index=by_index)

    def _idempotency_key(self) -> str | None:
        key = self.request.headers.get("Idempotency-Key")
        if key is None or self.caller is None:
            return None
        # Two callers that count their requests from 1 must not meet, whatever characters their names hold.
        return f"{len(self.caller.name)}:{self.caller.name}:{idempotency_key(key)}"


class NotificationsHandler(_PublishingHandler):
    """One publication: 201 ``{id, cursor, duplicate}``."""

    async def handle(self, *_arguments: str) -> None:
        (appended,) = await self.publish([parse_publication(self.body)])
        self.answer(201, _result(appended))


class BatchHandler(_PublishingHandler):
    """Up to 10,000 publications, all or none: 200 ``{accepted, duplicates, results}``."""

    media_types = ("application/json", NDJSON)

    async def handle(self, *_arguments: str) -> None:
        batch = await read_batch(self.body, self.media_type)
        try:
            appended = await self.publish(batch.items, by_index=True)
        except InvalidPublication as error:
            raise batch.refusal(error) from None
        duplicates = sum(result.outcome is AppendOutcome.DUPLICATE for result in appended)
        self.answer(
            200,
            {
                "accepted": len(appended) - duplicates,
                "duplicates": duplicates,
                "results": [_result(result) for result in appended],
            },
        )


def _result(appended: Appended) -> dict[str, object]:
    duplicate = appended.outcome is AppendOutcome.DUPLICATE
    return {"id": appended.id, "cursor": str(appended.position), "duplicate": duplicate}
