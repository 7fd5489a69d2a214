"""Decides from a history alone whether every promise was kept. It knows nothing of the server but its public contract.

A history is a file of JSON objects, one a line, in the order in which things were seen from outside; ``at`` is in
seconds. ``python -m tests.prove.checker FILE`` judges one. It uses the standard library, and nothing of the product.

| ``what`` | other members |
|---|---|
| ``begin`` | ``users``: the role of each user. All of them have read their inbox before anything was published |
| ``call`` | ``call``: its number; ``do``: ``publish`` with ``bodies``, or ``change``, ``count`` with a ``user`` |
| ``answer`` | ``call``, ``status`` and ``body``. A call without an answer may have been carried out or not |
| ``connects`` | ``client``, ``user``, ``keeps``: whether it says where it was, if it ever was anywhere |
| ``event`` | ``client``, ``name``, ``arguments``: as its application got it |
| ``replied`` | ``client``, and ``as_of`` and ``counts`` of the reply to what it asked over its connection |
| ``quiet`` | from here on nothing fails, and every client stays until it has everything |
| ``defect`` | ``server``, and what it ``said`` |
| ``gave_up`` | ``client``: it had not got everything a minute later |
| ``inbox`` | ``user``, ``items`` newest first, ``counts``: what is listed in the end |

A publication's ``data`` names it: ``{"name": …}``, each name once, however often it was tried.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]
Counts: TypeAlias = tuple[int, int, int]
"""Unread, unseen, in all."""
Times: TypeAlias = tuple[bool, bool, bool]
"""Whether a notification is read, seen, archived."""

NEW, UPDATED, DELETED = "notification.new", "notification.updated", "notification.deleted"
LOGGED = (NEW, UPDATED, DELETED)
FOREVER = float("inf")
SHOWN = 5
"""Examples of each kind that a verdict tells."""


@dataclass(frozen=True)
class Breach:
    """A promise that was not kept. ``promise`` is one of PROMISES."""

    promise: str
    said: str


PROMISES = {
    "lost": "nothing that was acknowledged, or seen by anybody, is lost",
    "twice": "nothing comes twice to a client that says where it was",
    "order": "there is one order for all, and it agrees with who acknowledged what before whom",
    "counts": "counts and lists are right",
    "stranger": "nobody gets what is not for them, or what nobody published",
    "retry": "what is published again with its id is stored once",
    "recovered": "a client that says where it was is taken on from there",
    "answers": "every answer is one that the contract knows",
    "defects": "no server ends by itself, or with a defect",
}


@dataclass
class Publication:
    """One that somebody wanted stored; ``tried`` and ``known`` are when it was first asked for and first known."""

    body: Record
    tried: float
    known: float = FOREVER
    offsets: set[int] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    first_answers: int = 0
    refused: bool = False

    def is_for(self, user: str, role: str) -> bool:
        to = self.body["to"]
        return user == to.get("user") or user in to.get("users", ()) or role == to.get("role") or "everyone" in to

    @property
    def named(self) -> frozenset[str]:
        """The users, where it is for nobody else."""
        to = self.body["to"]
        return frozenset(to.get("users", [to["user"]] if "user" in to else ()))

    @property
    def audience(self) -> str:
        (kind,) = self.body["to"]
        return "user" if kind == "users" else str(kind)


@dataclass
class Entry:
    """An entry of the log as somebody saw it first; ``at`` is when that was."""

    cursor: str
    event: str
    value: Any
    at: float
    seen_by: dict[str, float] = field(default_factory=dict)
    """Users, and when a client of each got it first."""

    @property
    def offset(self) -> int:
        return offset_of(self.cursor)


@dataclass
class Stay:
    """What one client got from where it began, over all cuts behind which it went on where it was."""

    client: str
    user: str
    begins: int
    began: float
    keeps: bool
    covered: int
    got: set[int] = field(default_factory=set)


@dataclass
class Client:
    user: str
    keeps: bool
    stay: Stay | None = None
    welcome: bool = False
    """Whether it has had its ``session.ready`` of this connection."""
    counts: Counts | None = None


def offset_of(cursor: str) -> int:
    return int(cursor.rpartition(":")[2])


def counts_of(value: Record) -> Counts:
    return value["unread"], value["unseen"], value["total"]


class Checker:
    """Takes a history record by record; ``breaches`` then says what is wrong with it."""

    def __init__(self) -> None:
        self.statistics: Counter[str] = Counter()
        self._found: list[Breach] = []
        self._roles: dict[str, str] = {}
        self._publications: dict[str, Publication] = {}
        self._names: dict[str, str] = {}
        """The name of the publication with an id, as it was stored."""
        self._log: dict[int, Entry] = {}
        self._clients: dict[str, Client] = {}
        self._stays: list[Stay] = []
        self._calls: dict[int, Record] = {}
        self._called: dict[int, tuple[float, int]] = {}
        """When each call was made, and the highest offset that was acknowledged to anybody by then."""
        self._acknowledged = 0
        self._counted: list[tuple[str, int, Counts, str]] = []
        """User, position, what was counted there, and who said so."""
        self._welcomed: list[tuple[str, int, Counts, float, str]] = []
        """User, where it goes on, what was counted somewhere behind that, when, and who was told so."""
        self._inboxes: dict[str, Record] = {}

    # what was seen, record by record

    def take(self, record: Record) -> None:
        match record["what"]:
            case "begin":
                self._roles.update(record["users"])
            case "call":
                self._take_call(record)
            case "answer":
                self._take_answer(record)
            case "connects":
                self._take_connect(record)
            case "event":
                self._take_event(record)
            case "replied":
                self._take_reply(record)
            case "gave_up":
                self._breach("lost", f"{record['client']} had not got everything after a minute without any trouble")
            case "defect":
                self._breach("defects", f"{record['server']}: {record['said']}")
            case "inbox":
                self._inboxes[record["user"]] = record
            case other:
                self.statistics[other] += 1

    def _breach(self, promise: str, said: str) -> None:
        self._found.append(Breach(promise, said))

    def _take_call(self, record: Record) -> None:
        self._calls[record["call"]] = record
        self._called[record["call"]] = record["at"], self._acknowledged
        for body in record.get("bodies", ()):
            self.statistics["publications asked for"] += 1
            self._publications.setdefault(body["data"]["name"], Publication(body, record["at"]))

    def _take_answer(self, record: Record) -> None:
        call, status, body = self._calls[record["call"]], record["status"], record["body"]
        self.statistics[f"answers {status}"] += 1
        if call["do"] == "publish":
            self._take_published(call, status, body, record["at"])
        elif status == 200:
            self._take_counted(record["call"], call, body)
        elif status != 503:
            self._breach("answers", f"{call['do']} of {call['user']} was answered with {status}: {body}")

    def _take_published(self, call: Record, status: int, body: Any, at: float) -> None:
        bodies = call["bodies"]
        if status in (200, 201):
            results = body.get("results", [body])
            if len(results) != len(bodies):
                self._breach("answers", f"of {len(bodies)} publications {len(results)} were answered")
            for published, result in zip(bodies, results, strict=False):
                self._take_stored(published["data"]["name"], result, at)
        elif status == 409:
            for published in bodies:
                self._publications[published["data"]["name"]].refused = True
        elif status != 503:
            self._breach("answers", f"a publication was answered with {status}: {body}")

    def _take_stored(self, name: str, result: Record, at: float) -> None:
        publication = self._publications[name]
        offset = offset_of(result["cursor"])
        self._acknowledged = max(self._acknowledged, offset)
        self._stored(name, result["id"], result["cursor"], at)
        if not result["duplicate"]:
            publication.first_answers += 1
            if publication.first_answers > 1:
                self._breach("retry", f"{name} was stored twice, as its answers say")

    def _stored(self, name: str, identifier: str, cursor: str, at: float) -> None:
        """Somebody knows that it lies there under that id."""
        publication = self._publications[name]
        publication.known = min(publication.known, at)
        publication.ids.add(identifier)
        publication.offsets.add(offset_of(cursor))
        if self._names.setdefault(identifier, name) != name:
            self._breach("retry", f"{name} and {self._names[identifier]} are both stored with the id {identifier}")
        wanted = publication.body.get("id", identifier)
        if identifier != wanted:
            self._breach("retry", f"{name} has the id {identifier} and not {wanted}")

    def _take_counted(self, number: int, call: Record, body: Record) -> None:
        as_of = offset_of(body["as_of"])
        _, acknowledged = self._called[number]
        who = f"{call['do']} of {call['user']}"
        if as_of < acknowledged:
            self._breach("order", f"{who} saw nothing beyond {as_of}, and {acknowledged} was acknowledged before")
        self._acknowledged = max(self._acknowledged, as_of) if call["do"] == "change" else self._acknowledged
        self._counted.append((call["user"], as_of, counts_of(body["counts"]), who))

    def _take_connect(self, record: Record) -> None:
        client = self._clients.setdefault(record["client"], Client(record["user"], record["keeps"]))
        client.welcome = False
        self.statistics["connections"] += 1

    def _take_event(self, record: Record) -> None:
        name, arguments, at = record["name"], record["arguments"], record["at"]
        who, client = record["client"], self._clients[record["client"]]
        if (name == "session.ready") is client.welcome:
            self._breach("answers", f"{who} got {name} {'again' if client.welcome else 'first'}")
        if name == "session.ready":
            client.welcome = True
            self._take_welcome(who, client, arguments[0], arguments[1], at)
        elif name == "inbox.counts":
            client.counts = counts_of(arguments[0])
        elif name in LOGGED:
            self.statistics["deliveries"] += 1
            self._take_delivery(who, client, Entry(arguments[1], name, arguments[0], at))

    def _take_welcome(self, who: str, client: Client, ready: Record, cursor: str, at: float) -> None:
        client.counts = counts_of(ready["counts"])
        offset, stay = offset_of(cursor), client.stay
        self._welcomed.append((client.user, offset, client.counts, at, who))
        if stay is not None and client.keeps and not ready["recovered"]:
            self._breach("recovered", f"{who} was at {stay.covered} and was not taken on: {ready['reason']}")
        if stay is None or not ready["recovered"]:
            client.stay = Stay(who, client.user, offset, at, client.keeps, offset)
            self._stays.append(client.stay)
        elif offset < stay.covered:
            self._breach("twice", f"{who} was at {stay.covered}, and was told that it goes on behind {offset}")
        else:
            stay.covered = offset

    def _take_reply(self, record: Record) -> None:
        """Everything up to its cursor came before it, and everything else will come behind it."""
        self.statistics["replies"] += 1
        who, as_of = record["client"], offset_of(record["as_of"])
        stay = self._clients[who].stay
        if stay is None:
            self._breach("answers", f"{who} got a reply before session.ready")
            return
        self._counted.append((stay.user, as_of, counts_of(record["counts"]), f"the reply to {who}"))
        if as_of < stay.covered:
            self._breach("order", f"{who} was at {stay.covered}, and got a reply as of {as_of}")
        stay.covered = max(stay.covered, as_of)

    def _take_delivery(self, who: str, client: Client, entry: Entry) -> None:
        offset, stay = entry.offset, client.stay
        known = self._log.setdefault(offset, entry)
        known.seen_by.setdefault(client.user, entry.at)
        if (known.cursor, known.event, known.value) != (entry.cursor, entry.event, entry.value):
            self._breach("order", f"{who} got at {entry.cursor} {entry.value}, and at {known.cursor} is {known.value}")
        if stay is None:
            return
        if offset in stay.got:
            self._breach("twice", f"{who} got {entry.cursor} twice")
        elif offset <= stay.covered:
            self._breach("order", f"{who} got {entry.cursor} behind {stay.covered}")
        stay.got.add(offset)
        stay.covered = max(stay.covered, offset)
        self._check_addressed(who, client.user, entry)

    def _check_addressed(self, who: str, user: str, entry: Entry) -> None:
        if entry.event == NEW:
            name = entry.value["data"].get("name")
            publication = self._publications.get(name)
            if publication is None:
                self._breach("stranger", f"{who} got {entry.value['id']}, which nobody published")
                return
            self._stored(name, entry.value["id"], entry.cursor, entry.at)
            if not publication.is_for(user, self._roles[user]):
                self._breach("stranger", f"{who} of {user} got {name}, which is for {publication.body['to']}")
            if any(entry.value[member] != publication.body.get(member) for member in ("type", "title", "data")):
                self._breach("stranger", f"{who} got {name} with other content: {entry.value}")
            if entry.value["audience"] != publication.audience:
                self._breach("stranger", f"{who} got {name} as one for {entry.value['audience']}")
            return
        for other in self._log[entry.offset].seen_by:
            if other != user:
                self._breach("stranger", f"{user} and {other} both got {entry.cursor}, what one of them did")
        for identifier in entry.value.get("ids", ()):
            name = self._names.get(identifier)
            if name is not None and not self._publications[name].is_for(user, self._roles[user]):
                self._breach("stranger", f"{who} of {user} heard of {name}, which is for others")

    # what follows from all of it

    def breaches(self) -> Sequence[Breach]:
        self._check_publications()
        self._check_real_time()
        self._check_epochs()
        for user in self._roles:
            offsets = self._entries_for(user)
            self._check_stays(user, offsets)
            self._check_counts(user, offsets)
        self.statistics["entries"] = len(self._log)
        self.statistics["acknowledged"] = sum(p.known < FOREVER for p in self._publications.values())
        return self._found

    def _check_publications(self) -> None:
        for name, publication in self._publications.items():
            if len(publication.offsets) > 1 or len(publication.ids) > 1:
                self._breach("retry", f"{name} lies at {sorted(publication.offsets)} as {sorted(publication.ids)}")
            if publication.refused and publication.offsets:
                self._breach("retry", f"{name} was refused as a conflict, and is stored")
        by_offset: dict[int, set[str]] = defaultdict(set)
        for name, publication in self._publications.items():
            for offset in publication.offsets:
                by_offset[offset].add(name)
        for offset, names in by_offset.items():
            if len(names) > 1:
                self._breach("order", f"{sorted(names)} all lie at {offset}")

    def _check_real_time(self) -> None:
        """What was known before another was asked for lies before it."""
        placed = sorted(
            (max(publication.offsets), name, publication)
            for name, publication in self._publications.items()
            if publication.offsets
        )
        earliest, of = FOREVER, ""
        for offset, name, publication in reversed(placed):
            if earliest < publication.tried:
                self._breach("order", f"{name} lies at {offset} before {of}, which was known before it was asked for")
            if publication.known < earliest:
                earliest, of = publication.known, name

    def _check_epochs(self) -> None:
        """Each covers offsets that follow one another."""
        over: set[str] = set()
        present = ""
        for offset in sorted(self._log):
            epoch = self._log[offset].cursor.rpartition(":")[0]
            if epoch in over:
                self._breach("order", f"{self._log[offset].cursor} is of an epoch that was over")
            if epoch != present:
                over.add(present)
                present = epoch

    def _entries_for(self, user: str) -> Sequence[int]:
        """The offsets of all that is known to have been for a user, in order."""
        role = self._roles[user]
        offsets = {offset for offset, entry in self._log.items() if entry.event != NEW and user in entry.seen_by}
        for publication in self._publications.values():
            if publication.is_for(user, role):
                offsets |= publication.offsets
        return sorted(offsets)

    def _name(self, offset: int) -> str:
        entry = self._log.get(offset)
        if entry is not None and entry.event != NEW:
            return f"{entry.event} at {entry.cursor}"
        return next((f"{name} at {offset}" for name, p in self._publications.items() if offset in p.offsets), "")

    def _erased_at(self) -> dict[int, int]:
        """By its offset where each of those lies that all whom it names have deleted, and so is in no replay behind
        that."""
        deleted: dict[tuple[str, str], int] = {}
        for offset, entry in sorted(self._log.items()):
            if entry.event == DELETED:
                for key in ((user, id_) for user in entry.seen_by for id_ in entry.value["ids"]):
                    deleted.setdefault(key, offset)
        return {
            offset: max(deleted[user, id_] for user in publication.named)
            for publication in self._publications.values()
            for id_ in publication.ids
            for offset in publication.offsets
            if publication.named and all((user, id_) in deleted for user in publication.named)
        }

    def _check_stays(self, user: str, offsets: Sequence[int]) -> None:
        erased = self._erased_at()
        for stay in (stay for stay in self._stays if stay.user == user):
            for offset in offsets[bisect_right(offsets, stay.begins) : bisect_right(offsets, stay.covered)]:
                if offset not in stay.got and erased.get(offset, stay.covered + 1) > stay.covered:
                    self._breach(
                        "lost", f"{stay.client} went from {stay.begins} to {stay.covered} without {self._name(offset)}"
                    )
            # Without a cursor it begins where its user is known to have come, on whatever device.
            for offset in offsets[: bisect_right(offsets, stay.begins)]:
                entry = self._log.get(offset)
                if erased.get(offset, stay.begins + 1) <= stay.begins:
                    continue
                if entry is None or entry.seen_by.get(user, FOREVER) > stay.began:
                    self._breach(
                        "lost", f"{stay.client} begins behind {stay.begins}, and no device has {self._name(offset)}"
                    )

    def _check_counts(self, user: str, offsets: Sequence[int]) -> None:
        inbox = Inbox(self._log, self._publications, offsets)
        asked = sorted((as_of, counts, who) for owner, as_of, counts, who in self._counted if owner == user)
        for as_of, counts, who in asked:
            expected = inbox.counts_at(as_of)
            if counts != expected:
                self._breach("counts", f"{who} as of {as_of} counted {counts} and not {expected}")
        self._check_welcomes(user, offsets)
        final = self._inboxes.get(user)
        if final is None:
            return
        listed = {item["id"]: tuple(item[each] is not None for each in TIMES) for item in final["items"]}
        inbox.counts_at(offset_of(final["as_of"]))
        for identifier in listed.keys() | inbox.items.keys():
            if listed.get(identifier) != inbox.items.get(identifier):
                name = self._names.get(identifier, identifier)
                listed_as, expected_as = listed.get(identifier), inbox.items.get(identifier)
                self._breach("counts", f"{name} is listed for {user} as {listed_as} and not as {expected_as}")
        for name, client in self._clients.items():
            if client.user == user and client.counts is not None and client.counts != counts_of(final["counts"]):
                self._breach("counts", f"{name} heard last of {client.counts}, and it is {counts_of(final['counts'])}")

    def _check_welcomes(self, user: str, offsets: Sequence[int]) -> None:
        """Who is welcomed is told what was counted at some moment: of all they were told or will be, before what was
        asked for later."""
        inbox = Inbox(self._log, self._publications, offsets)
        counts = [inbox.counts_at(0), *map(inbox.counts_at, offsets)]
        tried = sorted(
            (publication.tried, offset)
            for publication in self._publications.values()
            if publication.is_for(user, self._roles[user])
            for offset in publication.offsets
        )
        for owner, begins, told, at, who in self._welcomed:
            if owner == user:
                later = [offset for _, offset in tried[bisect_right(tried, (at, FOREVER)) :]]
                first, last = bisect_right(offsets, begins), bisect_left(offsets, min(later, default=FOREVER))
                if told not in counts[first : last + 1]:
                    self._breach("counts", f"{who} was welcomed behind {begins} with {told}, which it never was")


TIMES = ("read_at", "seen_at", "archived_at")


class Inbox:
    """The inbox of one user, as it follows from the entries for them. ``items``: which times of each are set."""

    def __init__(
        self, log: Mapping[int, Entry], publications: Mapping[str, Publication], offsets: Sequence[int]
    ) -> None:
        self._log = log
        self._ids = {offset: next(iter(p.ids)) for p in publications.values() for offset in p.offsets}
        self._offsets = offsets
        self._next = 0
        self._number: Counter[Times] = Counter()
        self.items: dict[str, Times] = {}

    def counts_at(self, offset: int) -> Counts:
        """Of offsets that do not decrease."""
        while self._next < len(self._offsets) and self._offsets[self._next] <= offset:
            self._apply(self._offsets[self._next])
            self._next += 1
        current = [(read, seen, number) for (read, seen, archived), number in self._number.items() if not archived]
        return (
            sum(number for read, _, number in current if not read),
            sum(number for _, seen, number in current if not seen),
            sum(number for _, _, number in current),
        )

    def _apply(self, offset: int) -> None:
        entry = self._log.get(offset)
        if entry is None or entry.event == NEW:
            self._put(self._ids[offset], (False, False, False))
            return
        ids = list(self.items) if entry.value.get("all") else entry.value["ids"]
        for identifier in ids:
            before = self.items.get(identifier)
            if before is not None:
                self._put(identifier, None if entry.event == DELETED else after(before, entry.value["change"]))

    def _put(self, identifier: str, times: Times | None) -> None:
        before = self.items.pop(identifier, None)
        if before is not None:
            self._number[before] -= 1
        if times is not None:
            self.items[identifier] = times
            self._number[times] += 1


def after(times: Times, change: Record) -> Times:
    """Those that a change names are set by it, or taken away."""
    read, seen, archived = (
        change[name] is not None if name in change else was for name, was in zip(TIMES, times, strict=True)
    )
    return read, seen, archived


def read(file: Path) -> Iterator[Record]:
    with file.open() as lines:
        for line in lines:
            yield json.loads(line)


def judge(history: Iterable[Record]) -> tuple[Sequence[Breach], Mapping[str, int]]:
    """What was broken, and how much there was of everything."""
    checker = Checker()
    for record in history:
        checker.take(record)
    return checker.breaches(), checker.statistics


def verdict(breaches: Sequence[Breach], statistics: Mapping[str, int]) -> str:
    """In plain words."""
    lines = [", ".join(f"{number} {name}" for name, number in sorted(statistics.items()))]
    by_promise: dict[str, list[str]] = defaultdict(list)
    for breach in breaches:
        by_promise[breach.promise].append(breach.said)
    for promise, text in PROMISES.items():
        said = by_promise[promise]
        lines.append(f"{'BROKEN' if said else 'kept'}: {text}" + (f" ({len(said)} times)" if said else ""))
        lines += [f"    {each}" for each in said[:SHOWN]]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """0 where every promise was kept, otherwise 1."""
    (file,) = arguments
    breaches, statistics = judge(read(Path(file)))
    print(verdict(breaches, statistics))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
