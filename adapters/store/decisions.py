"""What becomes of drafts on their way into a log: what is new, what was there before, and what contradicts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from adapters.store.drafts import PreparedDraft
from domain.errors import CheckpointMoved, SynkroneError, TooManyScheduled
from domain.model import Appended, AppendOutcome, Checkpoint, Position
from domain.model.value import value
from domain.rules.epochs import Generations


@value
class Batch:
    """What one call wants to be appended."""

    drafts: Sequence[PreparedDraft]
    checkpoint: Checkpoint | None
    all_or_nothing: bool


@value
class Known:
    """A notification that was published before. Without an id or key of the publisher's there is no digest, and of one
    that waits no offset above 0."""

    id: str
    key: str | None
    offset: int
    digest: bytes | None


@value
class Decision:
    """``outcomes`` are those of each batch, once ``new`` is appended in its order, ``waiting`` is scheduled and
    ``checkpoints`` are stored: no more than one of a source."""

    new: Sequence[PreparedDraft]
    outcomes: Sequence[Sequence[Appended] | SynkroneError]
    checkpoints: Sequence[Checkpoint]
    waiting: Sequence[PreparedDraft] = ()


def decide(
    batches: Sequence[Batch],
    known: Iterable[Known],
    generations: Generations,
    head: int,
    stored: Mapping[str, str | None] | None = None,
    room: int | None = None,
) -> Decision:
    """For batches that are appended in one commit after the offset ``head``. ``known`` is what was published before
    with any of their ids or keys. ``stored`` are the resume ids of the sources that checkpoints were looked up of; of
    the others they are taken to be what the first batch says. For so many more the schedule has ``room``, where that
    is known."""
    publications = _Publications(known)
    reached = dict(stored or {})
    checkpoints: dict[str, Checkpoint] = {}
    new: list[PreparedDraft] = []
    waiting: list[PreparedDraft] = []
    outcomes: list[Sequence[Appended] | SynkroneError] = []
    for batch in batches:
        checkpoint = batch.checkpoint
        if checkpoint is not None and reached.setdefault(checkpoint.source, checkpoint.after) != checkpoint.after:
            outcomes.append(CheckpointMoved())
            continue
        layer = _Layer(publications)
        last = head + len(new)
        decided = _decide(batch.drafts, layer, generations, last)
        appended = [one for one, _ in decided]
        if batch.all_or_nothing and any(one.outcome is AppendOutcome.CONFLICT for one in appended):
            outcomes.append([kept_out(one, generations.position(last), is_new=is_new) for one, is_new in decided])
            continue
        stored_of_it = [
            draft for draft, one in zip(batch.drafts, appended, strict=True) if one.outcome is AppendOutcome.STORED
        ]
        waiting_of_it = [draft for draft in stored_of_it if draft.draft.waits]
        if waiting_of_it and room is not None and len(waiting) + len(waiting_of_it) > room:
            outcomes.append(TooManyScheduled())
            continue
        new.extend(draft for draft in stored_of_it if not draft.draft.waits)
        waiting.extend(waiting_of_it)
        publications.add(layer)
        outcomes.append(appended)
        if checkpoint is not None:
            reached[checkpoint.source] = checkpoint.resume_id
            first = checkpoints.get(checkpoint.source, checkpoint)
            checkpoints[checkpoint.source] = replace(checkpoint, after=first.after)
    return Decision(new, outcomes, list(checkpoints.values()), waiting)


class _Publications:
    """What is known by id and by idempotency key, in the log and among what is on its way into it."""

    def __init__(self, known: Iterable[Known]) -> None:
        self.by_id: dict[str, Known] = {}
        self.by_key: dict[str, Known] = {}
        for one in known:
            self.by_id[one.id] = one
            if one.key is not None:
                self.by_key[one.key] = one

    def add(self, others: _Layer) -> None:
        self.by_id |= others.by_id
        self.by_key |= others.by_key


_NOTHING: Sequence[Known] = ()


class _Layer:
    """The same for one batch, which may yet be kept out."""

    def __init__(self, below: _Publications) -> None:
        self._below = below
        self.by_id: dict[str, Known] = {}
        self.by_key: dict[str, Known] = {}

    def find(self, id_: str, key: str | None) -> Sequence[Known]:
        by_id = self.by_id.get(id_) or self._below.by_id.get(id_)
        by_key = (self.by_key.get(key) or self._below.by_key.get(key)) if key is not None else None
        if by_id is None and by_key is None:
            return _NOTHING
        return [one for one in (by_id, by_key) if one is not None]

    def has(self, known: Known) -> bool:
        """Whether it is one of this batch."""
        return self.by_id.get(known.id) is known

    def add(self, known: Known) -> None:
        self.by_id[known.id] = known
        if known.key is not None:
            self.by_key[known.key] = known


def _decide(
    drafts: Sequence[PreparedDraft], layer: _Layer, generations: Generations, last: int
) -> list[tuple[Appended, bool]]:
    """What becomes of each once those that are to be are stored after the offset ``last``, and whether it is, or is the
    same as, one of them."""
    offset = last
    outcomes: list[tuple[Appended, bool]] = []
    for one in drafts:
        id_, key, digest = one.draft.notification.id, one.draft.idempotency_key, one.digest
        earlier = layer.find(id_, key)
        if earlier:
            other = [known for known in earlier if known.digest is None or known.digest != digest]
            first = (other or earlier)[0]
            outcome = AppendOutcome.CONFLICT if other else AppendOutcome.DUPLICATE
            waits = first.offset <= 0
            position = generations.position(last if waits else first.offset)
            outcomes.append((Appended(outcome, first.id, position, waits), layer.has(first)))
            continue
        if not one.draft.waits:
            offset += 1
        position = generations.position(offset)
        outcomes.append((Appended(AppendOutcome.STORED, id_, position, one.draft.waits), True))
        layer.add(Known(id_, key, 0 if one.draft.waits else offset, digest))
    return outcomes


def kept_out(appended: Appended, head: Position, *, is_new: bool) -> Appended:
    """What becomes of it where its batch is not stored; ``is_new``: that would have stored it, or the same."""
    if not is_new:
        return appended
    conflict = appended.outcome is AppendOutcome.CONFLICT
    outcome = AppendOutcome.CONFLICT if conflict else AppendOutcome.WITHHELD
    return replace(appended, outcome=outcome, position=head)
