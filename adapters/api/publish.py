"""``POST /v1/notifications`` and ``POST /v1/notifications/batch``: how backends publish."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from adapters.api.handlers import BackendHandler
from adapters.wire import InvalidJson, parse_array, parse_publication
from domain.errors import InvalidArgument, InvalidPublication
from domain.model import Appended, AppendOutcome, FieldError, Publication
from domain.policy import BATCH_MAX_ITEMS

_IDEMPOTENCY_KEY_MAX_LENGTH = 255
_BYTES_BETWEEN_PAUSES = 65_536


class _PublishingHandler(BackendHandler):
    scope = "publish"

    async def post(self) -> None:
        await self.run()

    async def publish(self, publications: Sequence[Publication], *, by_index: bool = False) -> Sequence[Appended]:
        key = self._idempotency_key()
        return await self.backend.publisher.publish(publications, idempotency_key=key, by_index=by_index)

    def _idempotency_key(self) -> str | None:
        key = self.request.headers.get("Idempotency-Key")
        if key is None or self.caller is None:
            return None
        if not 0 < len(key) <= _IDEMPOTENCY_KEY_MAX_LENGTH or not key.isprintable():
            raise InvalidArgument("Idempotency-Key", f"must be 1 to {_IDEMPOTENCY_KEY_MAX_LENGTH} printable characters")
        # Two callers that count their requests from 1 must not meet, whatever characters their names hold.
        return f"{len(self.caller.name)}:{self.caller.name}:{key}"


class NotificationsHandler(_PublishingHandler):
    """One publication: 201 ``{id, cursor, duplicate}``."""

    async def handle(self, *_arguments: str) -> None:
        (appended,) = await self.publish([parse_publication(self.body)])
        self.answer(201, _result(appended))


class BatchHandler(_PublishingHandler):
    """Up to 10,000 publications, all or none: 200 ``{accepted, duplicates, results}``."""

    media_types = ("application/json", "application/x-ndjson")

    async def handle(self, *_arguments: str) -> None:
        appended = await self.publish(await self._publications(), by_index=True)
        duplicates = sum(result.outcome is AppendOutcome.DUPLICATE for result in appended)
        self.answer(
            200,
            {
                "accepted": len(appended) - duplicates,
                "duplicates": duplicates,
                "results": [_result(result) for result in appended],
            },
        )

    async def _publications(self) -> list[Publication]:
        if self.media_type == "application/x-ndjson":
            items: Sequence[bytes] = [line for line in self.body.split(b"\n") if line.strip()]
        else:
            items = parse_array(self.body)
        if not 0 < len(items) <= BATCH_MAX_ITEMS:
            raise InvalidPublication([FieldError("body", f"must hold 1 to {BATCH_MAX_ITEMS} notifications")])
        publications = []
        unpaused = 0
        for index, item in enumerate(items):
            unpaused += len(item)
            if unpaused > _BYTES_BETWEEN_PAUSES:
                unpaused = 0
                await asyncio.sleep(0)
            try:
                publications.append(parse_publication(item, f"[{index}]."))
            except InvalidJson as error:
                raise InvalidJson(f"[{index}]: {error.detail}") from None
        return publications


def _result(appended: Appended) -> dict[str, object]:
    duplicate = appended.outcome is AppendOutcome.DUPLICATE
    return {"id": appended.id, "cursor": str(appended.position), "duplicate": duplicate}
