"""Publishing: what a backend, a source or an outbox brings goes to the log, and from there to the hub."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime

from domain.delivery.hub import Hub
from domain.errors import (
    CheckpointMoved,
    InvalidPublication,
    PublicationConflict,
    PublicationTooLarge,
    ShuttingDown,
    TooManyScheduled,
    summary,
)
from domain.model import Appended, AppendOutcome, Checkpoint, Draft, FieldError, Incoming, Publication
from domain.policy import ConnectionPolicy
from domain.ports import Checkpoints, Clock, Log, NotificationSource, Outbox, Randomness, Telemetry
from domain.services.due import DueService

OUTBOX = "outbox"
"""Who publishes what an outbox held, for operators."""


class PublishingService:
    """The Publisher of the domain. ``consume`` is to be run for each source, and ``relay`` for an outbox."""

    def __init__(
        self,
        *,
        log: Log,
        checkpoints: Checkpoints,
        hub: Hub,
        due: DueService,
        policy: ConnectionPolicy,
        clock: Clock,
        randomness: Randomness,
        telemetry: Telemetry,
    ) -> None:
        self._log = log
        self._checkpoints = checkpoints
        self._hub = hub
        self._due = due
        self._policy = policy
        self._clock = clock
        self._randomness = randomness
        self._telemetry = telemetry
        self._closed = False
        self._publishing = 0

    async def publish(
        self,
        publications: Sequence[Publication | InvalidPublication],
        *,
        by: str = "",
        idempotency_key: str | None = None,
        by_index: bool = False,
        traceparent: str | None = None,
    ) -> Sequence[Appended]:
        if self._closed:
            raise ShuttingDown
        by_index = by_index or len(publications) != 1
        began = self._clock.monotonic()
        now = self._clock.now()
        good = self._policy.check_all(publications, by_index=by_index, now=now)
        drafts = [
            self._draft(publication, now, f"{idempotency_key}:{index}" if idempotency_key is not None else None)
            for index, publication in enumerate(good)
        ]
        self._publishing += 1
        try:
            outcomes = await self._log.append(drafts, all_or_nothing=True)
        finally:
            self._publishing -= 1
        conflicts = [
            FieldError(f"[{index}]", _conflict(appended))
            for index, appended in enumerate(outcomes)
            if appended.outcome is AppendOutcome.CONFLICT
        ]
        if conflicts:
            if by_index:
                raise PublicationConflict(summary(conflicts)).about(conflicts)
            raise PublicationConflict(conflicts[0].message)
        self._published(by, drafts, outcomes, began, traceparent)
        return outcomes

    def close(self) -> None:
        """Take no further publications; what was taken is still delivered."""
        self._closed = True

    async def is_up_to_date(self) -> bool:
        """Whether everything in the log has been taken to the rooms."""
        return self._publishing == 0 and self._hub.delivered == await self._log.head()

    async def consume(self, source: NotificationSource) -> None:
        """Take over what a source brings, for ever, from where the log says it stopped.

        Raises Unavailable; called again it loses nothing and stores nothing twice.
        """
        after = await self._checkpoints.checkpoint(source.name)
        while await self._was_overtaken(source, after):
            after = await self._checkpoints.checkpoint(source.name)

    async def _was_overtaken(self, source: NotificationSource, after: str | None) -> bool:
        """Whether the stream is to be asked for anew, as another server is ahead of it; else it has ended."""
        async with aclosing(source.stream(after)) as batches:
            async for batch in batches:
                while batch:
                    try:
                        await self._take_over(source.name, batch, after)
                    except CheckpointMoved:
                        after = await self._checkpoints.checkpoint(source.name)
                        taken = [number for number, item in enumerate(batch, 1) if item.resume_id == after]
                        if not taken:
                            return True
                        batch = batch[taken[-1] :]
                    else:
                        after = batch[-1].resume_id
                        break
        return False

    async def _take_over(self, source: str, batch: Sequence[Incoming], after: str | None) -> None:
        drafts: list[Draft] = []
        taken: list[str] = []
        began = self._clock.monotonic()
        for item in batch:
            try:
                drafts.append(self._draft_of(item))
            except (InvalidPublication, PublicationTooLarge) as error:
                self._telemetry.skipped(source, item.resume_id, str(error))
            else:
                taken.append(item.resume_id)
        outcomes = await self._log.append(drafts, checkpoint=Checkpoint(source, batch[-1].resume_id, after))
        self._published(source, drafts, outcomes, began)
        for resume_id, appended in zip(taken, outcomes, strict=True):
            if appended.outcome is AppendOutcome.CONFLICT:
                self._telemetry.skipped(source, resume_id, _conflict(appended))

    async def relay(self, outbox: Outbox) -> None:
        """Take over what waits in an outbox, for ever.

        Raises Unavailable; called again it loses nothing and stores nothing twice.
        """
        async with aclosing(outbox.waiting()) as batches:
            async for batch in batches:
                await self._empty(outbox, batch)

    async def _empty(self, outbox: Outbox, batch: Sequence[Incoming]) -> None:
        """Everything of the batch is taken over or parked."""
        drafts: dict[str, Draft] = {}
        faults: dict[str, str] = {}
        began = self._clock.monotonic()
        for item in batch:
            try:
                drafts[item.resume_id] = self._draft_of(item)
            except (InvalidPublication, PublicationTooLarge) as error:
                faults[item.resume_id] = str(error)
        try:
            taken = await outbox.take_over(drafts)
        except TooManyScheduled as error:
            # The others do not wait behind these until some have become due.
            faults |= {name: str(error) for name, draft in drafts.items() if draft.waits}
            drafts = {name: draft for name, draft in drafts.items() if not draft.waits}
            taken = await outbox.take_over(drafts)
        self._published(OUTBOX, [drafts[name] for name in taken], list(taken.values()), began)
        for name, appended in taken.items():
            if appended.outcome is AppendOutcome.CONFLICT:
                faults[name] = _conflict(appended)
        for name in await outbox.park(faults):
            self._telemetry.parked(name, faults[name])

    def _published(
        self,
        by: str,
        drafts: Sequence[Draft],
        outcomes: Sequence[Appended],
        began: float,
        traceparent: str | None = None,
    ) -> None:
        self._due.note(drafts, outcomes)
        if drafts:
            seconds = self._clock.monotonic() - began
            self._telemetry.published(by, drafts, outcomes, seconds, traceparent=traceparent)

    def _draft_of(self, item: Incoming) -> Draft:
        if item.publication is None:
            raise InvalidPublication(item.errors)
        now = self._clock.now()
        self._policy.check(item.publication, now=now)
        return self._draft(item.publication, now)

    def _draft(self, publication: Publication, now: datetime, idempotency_key: str | None = None) -> Draft:
        return self._policy.draft(publication, self._randomness.new_id(), now, idempotency_key)


def _conflict(appended: Appended) -> str:
    return f"{appended.id} was published before with other content"
