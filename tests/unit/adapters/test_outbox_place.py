"""Whatever the order in which transactions are begun, publish, commit and roll back: a relay that reads from its place
passes over nothing, and keeps the order that is promised."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from adapters.store.postgresql import outbox_place
from adapters.store.postgresql.outbox_place import Place


@dataclass(eq=False, slots=True)
class Transaction:
    begun_at: int
    id: int | None = None
    numbers: list[int] = field(default_factory=list)
    committed_at: int | None = None


class Database:
    """As much of one as an outbox is read by: numbers, transaction ids and what a snapshot sees."""

    def __init__(self) -> None:
        self.time = itertools.count(1)
        self.ids = itertools.count(100)
        self.numbers = itertools.count(1)
        self.open: list[Transaction] = []
        self.committed: list[Transaction] = []
        self.deleted: set[int] = set()

    def begin(self) -> None:
        self.open.append(Transaction(next(self.time)))

    def publish(self, which: int, times: int) -> None:
        if self.open:
            transaction = self.open[which % len(self.open)]
            if transaction.id is None:
                transaction.id = next(self.ids)
            transaction.numbers += [next(self.numbers) for _ in range(times)]

    def end(self, which: int, *, commits: bool) -> None:
        if self.open:
            transaction = self.open.pop(which % len(self.open))
            if commits:
                transaction.committed_at = next(self.time)
                self.committed.append(transaction)

    def oldest_open(self) -> int:
        ids = [one.id for one in self.open if one.id is not None]
        return min([*ids, next(self.ids)])

    def visible(self) -> list[int]:
        return sorted({number for one in self.committed for number in one.numbers} - self.deleted)


class Reader:
    """A relay, and in which order it relays."""

    def __init__(self, database: Database, relayed: list[int]) -> None:
        self.database = database
        self.place = Place()
        self.relayed = relayed

    def look(self, at_most: int) -> None:
        place, database = self.place, self.database
        found = [n for n in database.visible() if n in place.missing or n > place.after]
        oldest_open = database.oldest_open()
        first = found[:at_most]
        place.read(first, is_all=first == found, oldest_open=oldest_open, newest=next(database.ids))
        self.relayed += first
        database.deleted |= set(first)


RUNS = 3_000
STEPS = 60


@pytest.mark.parametrize("most", [0, 1, 5, 1_000])
def test_everything_that_is_committed_is_relayed_once_and_in_order(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_place, "MISSING_MAX", most)
    for seed in range(RUNS // 4):
        relay(random.Random(f"{most} {seed}"))


def relay(chance: random.Random) -> None:
    database = Database()
    relayed: list[int] = []
    reader = Reader(database, relayed)
    most_open = chance.randint(1, 6)
    for _ in range(STEPS):
        match chance.choices(("begin", "publish", "end", "look", "another"), (3, 5, 2, 4, 0.2))[0]:
            case "begin" if len(database.open) < most_open:
                database.begin()
            case "publish":
                database.publish(chance.randrange(6), chance.randint(1, 4))
            case "end":
                database.end(chance.randrange(6), commits=chance.random() < 0.7)
            case "look":
                reader.look(chance.choice((1, 2, 3, 100)))
            case "another":
                reader = Reader(database, relayed)
    while database.open:
        database.end(0, commits=True)
    while database.visible():
        before = len(relayed)
        reader.look(3)
        assert len(relayed) > before, "something is passed over"
    assert sorted(relayed) == sorted(number for one in database.committed for number in one.numbers)
    when = {number: place for place, number in enumerate(relayed)}
    for one in database.committed:
        assert [when[number] for number in one.numbers] == sorted(when[number] for number in one.numbers)
        for other in database.committed:
            if one.committed_at is not None and one.committed_at < other.begun_at and one.numbers and other.numbers:
                assert when[one.numbers[-1]] < when[other.numbers[0]]


def test_what_was_rolled_back_is_not_looked_for_for_ever() -> None:
    place = Place()
    place.read([1, 5], is_all=True, oldest_open=10, newest=20)
    assert sorted(place.missing) == [2, 3, 4]
    place.read([3], is_all=True, oldest_open=20, newest=21)
    assert sorted(place.missing) == [2, 4]
    place.read([], is_all=True, oldest_open=21, newest=0)
    assert not place.missing
    assert place.after == 5


def test_a_relay_that_comes_later_does_not_note_every_number_before_it() -> None:
    place = Place()
    place.read([10_000_000], is_all=True, oldest_open=10, newest=20)
    assert (place.after, place.missing) == (0, {})
    place.read([10_000_001], is_all=True, oldest_open=21, newest=22)
    assert (place.after, place.missing) == (10_000_001, {})
