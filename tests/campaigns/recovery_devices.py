"""What devices keep and receive, and whether that is what is owed to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.transport.memory.client import Event, MemoryClient
from domain.model import (
    NOTHING_OWED,
    NOTIFICATION_DELETED,
    NOTIFICATION_NEW,
    NOTIFICATION_REVISED,
    Answer,
    ConnectionId,
    Entry,
    Failed,
    Owed,
    Position,
    Refreshed,
    Room,
)
from tests.campaigns.recovery_oracle import Broken, Expected, Oracle, Place
from tests.campaigns.recovery_world import Server, Store, token
from tests.doubles import ManualClock

STOCK, CURSOR, PLAIN = "stock", "cursor", "plain"


@dataclass(eq=False)
class Device:
    """A client as an application has it, with what it keeps over its connections.

    STOCK is the client of Socket.IO: it keeps the pid, and the last string argument of the last event, whoever the
    user is. CURSOR keeps the last cursor itself, for one user. PLAIN keeps nothing. ``cursor``: what the application
    adds to what the client does by itself: up to where it has rendered a list. ``abandoned``: the connection before, of
    which its server has not noticed that it is none.
    """

    kind: str
    place: Place
    pid: str | None = None
    offset: str | None = None
    cursor: str | None = None
    earned: dict[str, set[Place]] = field(default_factory=dict)
    had: set[str] = field(default_factory=set)
    heard: str | None = None
    client: MemoryClient | None = None
    server: Server | None = None
    abandoned: tuple[Server, MemoryClient] | None = None
    at: int = 0
    ready: bool = False
    told: object = None
    shown: dict[str, int] = field(default_factory=dict)
    """What it has heard of since it last began anew: by its id, which content of it."""
    given: set[str] = field(default_factory=set)
    reads_from: tuple[Place | None, int] = (None, 0)
    """As whom it has read the log without leaving anything out, and from where on."""

    @property
    def node(self) -> Server:
        """That it connected to last."""
        assert self.server is not None
        return self.server

    def auth(self) -> dict[str, object]:
        said: dict[str, object] = {"token": token(*self.place)}
        if self.kind == STOCK and self.pid is not None:
            said |= {"pid": self.pid} | ({"offset": self.offset} if self.offset is not None else {})
        if self.kind != PLAIN and self.cursor is not None:
            said["cursor"] = self.cursor
        return said

    def earn(self, cursor: str) -> None:
        """Two users may have the same cursor, each by their own right."""
        self.earned.setdefault(place_of(cursor), set()).add(self.place)

    def keep(self, cursor: str) -> None:
        if self.kind == STOCK:
            self.offset = cursor
        elif self.kind == CURSOR:
            self.cursor = cursor
        self.earn(cursor)


class Watched:
    """Devices, and everything they receive compared with what the oracle says. Every check raises Broken.

    ``by_the_letter``: whether an answer has to be the one that the rules say; else only what follows from it counts.
    """

    def __init__(self, clock: ManualClock, oracle: Oracle, store: Store, *, by_the_letter: bool) -> None:
        self.clock = clock
        self.oracle = oracle
        self.store = store
        self.devices: list[Device] = []
        self._by_the_letter = by_the_letter

    @property
    def counted(self) -> Counter[str]:
        return self.oracle.counted

    def take(self, device: Device, number: int | None = None) -> None:
        """Receive so many events, or all that come."""
        client = device.client
        assert client is not None
        while number is None or number > 0:
            known = not client.closed
            event = client.mailbox.pop()
            if event is None:
                break
            self.check_event(device, client, event, known=known)
            number = number - 1 if number is not None else None
        if number is None and not client.closed and device.node.gate.is_set():
            left = self.oracle.owed(device.place, device.at, self.clock.now())
            if left:
                raise Broken(f"{device.place} is live, has {device.at}, and was not sent {cursors_of(left)}")

    def check_welcome(self, device: Device, auth: dict[str, object], client: MemoryClient, trimmed: int) -> None:
        """Whether the answer is right, and where it continues; what is told to the oracle is what the server knows."""
        oracle, place, now = self.oracle, device.place, self.clock.now()
        if not client.events or client.events[0][0] != "session.ready" or client.pid is None:
            raise Broken(f"not welcomed: {client.refusal}")
        _, (ready, cursor) = client.events[0]
        recovered, reason = ready["recovered"], ready["reason"]  # type: ignore[index]
        position = Position.parse(cursor)
        assert position is not None
        # The log may have been trimmed in the middle of it.
        answers = [oracle.expected(place, auth, upto, device.node.number) for upto in (trimmed, oracle.log.trimmed)]
        expected = next((e for e in answers if e.recovered == recovered and reason in e.reasons), None)
        if expected is None and not self._by_the_letter:
            said = [auth.get("offset"), auth.get("cursor")] if recovered else []
            cursors = tuple(known for one in said if (known := Position.parse(one)) is not None)
            expected = Expected(recovered=bool(recovered), reasons=frozenset((reason,)), cursors=cursors)
        if expected is None:
            raise Broken(f"{auth} of {place} was answered {recovered}, {reason} and not {answers}")
        self.counted[f"recovered, {reason}" if recovered else f"not recovered, {reason}"] += 1
        if recovered:
            after = max(position.offset for position in expected.cursors)
            self._check_presented(device, expected.cursors, after)
            oracle.received(place, complete(after, auth), device.node.number)
        else:
            low, high = oracle.mark(place, device.node.number)
            # A reason that weighs more may stand where that of the trimming would.
            after = max(high, oracle.floor(place, oracle.log.trimmed))
            if position.offset < low:
                raise Broken(f"{place} is known to have {low} and was sent back to {cursor}")
            left = oracle.undelivered(place, now, position.offset)
            if left:
                raise Broken(f"{place} starts at {cursor}, and nobody ever got {cursors_of(left)}")
        ahead = oracle.owed(place, after, now, position.offset)
        if ahead:
            raise Broken(f"session.ready of {place} says {cursor}, ahead of {cursors_of(ahead)}")
        came_to, device.at = device.at, after if recovered else position.offset
        if not recovered or device.at != came_to or device.reads_from[0] != place:
            device.reads_from = place, device.at
        if not recovered and device.kind == STOCK:
            device.cursor = None
            device.shown.clear()
        self._check_expiry(client)
        if not recovered:
            refused = auth.get("offset") if "pid" in auth else None
            oracle.pids[client.pid] = place[0], str(refused) if refused is not None else None
            if expected.refused:
                self.counted["unanswered"] += 1
            if expected.refused and device.heard == auth["pid"]:
                self.counted["taken for unanswered, though it was answered"] += 1
                again = [event for event in client.events[1:] if place_of(str(event[1][-1])) in device.had]
                self.counted["repeats by that"] += len(again)
        else:
            oracle.pids.setdefault(client.pid, (place[0], None))

    def _check_presented(self, device: Device, cursors: Sequence[Position], after: int) -> None:
        """Whether a cursor that counted was this user's, and whether it stands for what this role received."""
        earned = [device.earned.get(str(cursor), set()) for cursor in cursors]
        for places in earned:
            if device.place[0] not in {user for user, _ in places}:
                raise Broken(f"a cursor of {places} counted for {device.place}")
        skipped = self.oracle.undelivered(device.place, self.clock.now(), after)
        if not skipped:
            return
        if all(device.place in places for places in earned):
            raise Broken(f"{device.place} was given a cursor ahead of {cursors_of(skipped)}")
        self.counted["passed over by a cursor of another role"] += len(skipped)
        self.oracle.passed.setdefault(device.place, set()).update(cursors_of(skipped))

    def _check_expiry(self, client: MemoryClient) -> None:
        now = self.clock.now()
        for name, arguments in client.events:
            entry = self.oracle.by_cursor.get(place_of(str(arguments[-1]))) if name != "session.ready" else None
            if entry is None:
                continue
            has_expired = entry.expires_at is not None and entry.expires_at <= now
            is_said_over = name == NOTIFICATION_DELETED and entry.event == NOTIFICATION_NEW
            if has_expired and not is_said_over:
                raise Broken(f"{entry.position} has expired and was sent")
            if is_said_over and not has_expired and entry.position.offset not in self.oracle.log.recalled:
                raise Broken(f"{entry.position} was said to be over, and is not")

    def check_event(self, device: Device, client: MemoryClient, event: Event, *, known: bool) -> None:
        name, arguments = event
        if device.ready is (name == "session.ready"):
            raise Broken(f"{name} where session.ready was to come once and first")
        if name == "session.ready":
            device.ready, device.heard = True, client.pid
            device.told = arguments[0]["counts"]  # type: ignore[index]
            if not arguments[0]["recovered"]:  # type: ignore[index]
                device.shown.clear()
            device.keep(str(arguments[-1]))
        elif name == "inbox.counts":
            device.told = arguments[0]
        elif name.startswith("notification."):
            self._check_entry(device, str(arguments[-1]), known=known)
            self._check_content(device, name, arguments[0])
            self._check_name(device, name, str(arguments[-1]), arguments[0])

    def _check_entry(self, device: Device, cursor: str, *, known: bool) -> None:
        entry, place = self.oracle.by_cursor[place_of(cursor)], device.place
        offset = entry.position.offset
        if offset <= device.at:
            raise Broken(f"{place} has {device.at} and was sent {cursor}")
        missed = self.oracle.owed(place, device.at, self.clock.now(), offset - 1)
        if missed:
            raise Broken(f"{place} had {device.at}, was sent {cursor}, and misses {cursors_of(missed)}")
        if not any(visible is entry for visible in self.oracle.visible(place, offset - 1, offset)):
            raise Broken(f"{cursor} is for {set(entry.rooms)}, and does not exist for {place}")
        device.at = offset
        device.keep(cursor)
        device.had.add(place_of(cursor))
        self.oracle.got.setdefault(place, set()).add(place_of(cursor))
        if known:
            self.oracle.received(place, Owed.said_by(cursor).behind(entry.position).complete.offset, device.node.number)

    def _check_content(self, device: Device, name: str, argument: Any) -> None:
        """No older content after a newer one, and nothing twice as new."""
        if "snoozed_until" in argument.get("change", ()):
            for id_ in argument["ids"]:
                device.shown.pop(id_, None)
        if "id" not in argument:
            if "collapse_key" in argument:
                self._forget_with_key(device, argument["collapse_key"])
            return
        if "collapse_key" in argument and argument["id"] not in device.shown:
            self._forget_with_key(device, argument["collapse_key"])
        id_, content = argument["id"], int(argument["title"] or 0)
        before = device.shown.get(id_)
        was_snoozed = (Room.of_user(device.place[0]), id_) in self.oracle.ever_snoozed
        if name == NOTIFICATION_REVISED and before is None and was_snoozed:
            # What is not there may be so because it is snoozed: it is shown once it is back.
            return
        if before is not None and content < before:
            raise Broken(f"{device.place} had the content {before} of {id_}, and was then sent the older {content}")
        if before is not None and name == "notification.new" and device.kind != PLAIN:
            raise Broken(f"{device.place} had {id_}, and was sent it as new")
        device.shown[id_] = content
        if name == NOTIFICATION_NEW:
            device.given.add(id_)

    def _check_name(self, device: Device, name: str, cursor: str, argument: Any) -> None:
        """Who was not given what is revised, and reads from before it, is told it as new."""
        entry = self.oracle.by_cursor[place_of(cursor)]
        about = entry.about
        if name != NOTIFICATION_REVISED or about is None or device.kind == PLAIN or entry.collapse_key is not None:
            return
        if about > device.reads_from[1] and argument["id"] not in device.given:
            raise Broken(f"{device.place} has read from {device.reads_from[1]} on, and was told as revised {cursor}")

    def _forget_with_key(self, device: Device, key: str) -> None:
        """As a client does that is told of another one with it."""
        with_key = {
            self.oracle.id_of(self.oracle.log.entries[at - 1]) for at, its, _ in self.oracle.log.keyed if its == key
        }
        for id_ in with_key & device.shown.keys():
            del device.shown[id_]

    def check_nothing_replaced(self, device: Device) -> None:
        """Of one that has everything: it shows nothing that has a later one in its place, of which it could hear."""
        entries = self.oracle.log.entries
        for offset, others in self.oracle.replaced(device.place).items():
            heard_of = [other for other in others if other not in self.oracle.log.recalled]
            if self.oracle.id_of(entries[offset - 1]) in device.shown and len(heard_of) == len(others):
                raise Broken(f"{device.place} still shows {entries[offset - 1].position}, in whose place are {others}")

    def check_last_content(self, device: Device) -> None:
        """Of one that has everything."""
        log = self.oracle.log
        new = [e for e in log.entries if e.event == NOTIFICATION_NEW and e.about is None]
        here = {str(self.oracle.id_of(e)): e.position.offset for e in new}
        for id_, content in device.shown.items():
            offset = here.get(id_)
            if offset is None or offset in log.recalled or (Room.of_user(device.place[0]), id_) in log.deleted:
                continue
            if offset <= log.trimmed:
                # It is in no inbox any more, and nobody is told of its revisions.
                continue
            entry, title = log.entries[offset - 1], int(self.oracle.title_of(offset) or 0)
            if (entry.expires_at is None or self.clock.now() < entry.expires_at) and title != content:
                raise Broken(f"{device.place} ends with the content {content} of {id_}, which has {title}")

    def check_replay(self, device: Device, client: MemoryClient, auth: dict[str, object]) -> None:
        """Of a log to which nothing was added meanwhile: what was revised by then is told once, by its last content,
        and as new to who was not given it before."""
        after, owed = device.at, owed_at(device.at, auth) if is_recovered(client) else NOTHING_OWED
        self.counted["cut where something was owed"] += bool(owed)
        replaced = self.oracle.replaced(device.place)
        for name, arguments in client.events:
            is_entry = name.startswith("notification.")
            entry = self.oracle.by_cursor.get(place_of(str(arguments[-1]))) if is_entry else None
            if entry is None:
                continue
            if self.oracle.is_left(device.place, entry):
                raise Broken(f"{entry.position} came back to {device.place} later, and was replayed as well")
            is_over = name == NOTIFICATION_DELETED and entry.event == NOTIFICATION_NEW
            if entry.position.offset in self.oracle.log.revised.keys() | self.oracle.log.erased and not is_over:
                raise Broken(f"{entry.position} was revised, and its older content was replayed to {device.place}")
            is_about = entry.event in (NOTIFICATION_NEW, NOTIFICATION_REVISED) and entry.about is not None
            subject = entry.about if is_about else entry.position.offset
            if subject in replaced:
                raise Broken(f"{entry.position} was replaced, and replayed to {device.place}")
            if entry.event == NOTIFICATION_NEW and entry.about is None and entry.collapse_key is not None:
                self._check_replacing(device, client, name, entry, after)
            if entry.event == NOTIFICATION_REVISED and entry.about is not None and entry.collapse_key is None:
                self.counted["revisions replayed"] += 1
                is_back = (Room.of_user(device.place[0]), entry.about) in self.oracle.log.returns
                is_new = (entry.about > after or owed.includes(entry.about)) and not is_back
                expected = NOTIFICATION_NEW if is_new else NOTIFICATION_REVISED
                if name != expected:
                    raise Broken(f"{entry.position} was told {device.place}, who had {after}, as {name}")

    def _check_replacing(self, device: Device, client: MemoryClient, name: str, entry: Entry, after: int) -> None:
        """Whether it was told as new to who had none with its key before, and else as revising that."""
        starts, offset = self.oracle.starts_of(device.place), entry.position.offset
        before = [
            at
            for at, key, rooms in self.oracle.log.keyed
            if key == entry.collapse_key
            and at < offset
            and any(room in rooms and start < at for room, start in starts.items())
        ]
        # What has left the log is forgotten. Whoever was cut before they were given one need not have it.
        _, (ready, *_) = client.events[0]
        first = min(before, default=offset)
        was_given = any(str(self.oracle.log.entries[at - 1].position) in device.had for at in before if at <= after)
        if first <= self.oracle.log.trimmed or not ready["recovered"] or (first <= after and not was_given):  # type: ignore[index]
            return
        self.counted["later ones replayed"] += 1
        if name == NOTIFICATION_DELETED and first <= after:
            self.counted["later ones that were over"] += 1
        elif name != (NOTIFICATION_REVISED if first <= after else NOTIFICATION_NEW):
            raise Broken(
                f"{entry.position} takes the place of {before}, and was told {device.place}, who had {after}, as {name}"
            )

    def check_answer(self, node: int, connection: ConnectionId, answer: Answer) -> None:
        """At the moment of the answer: everything up to it has come, and what is up to it comes no more."""
        here = [device for device in self.devices if device.client is not None and device.node.number == node]
        device = next((one for one in here if one.client is not None and one.client.connection == connection), None)
        if device is None or isinstance(answer, Failed | Refreshed):
            return
        self.take(device, 1000)
        if device.at > answer.as_of.offset:
            raise Broken(f"{device.place} was sent {device.at} before the answer of {answer.as_of}")
        missed = self.oracle.owed(device.place, device.at, self.clock.now(), answer.as_of.offset)
        if missed:
            raise Broken(f"{device.place} was answered as of {answer.as_of}, and not sent {cursors_of(missed)}")
        device.at = answer.as_of.offset


def place_of(cursor: str) -> str:
    """Without what is owed."""
    return str(Position.parse(cursor) or cursor)


def is_recovered(client: MemoryClient) -> bool:
    _, (ready, _) = client.events[0]
    return bool(ready["recovered"])  # type: ignore[index]


def owed_at(after: int, auth: dict[str, object]) -> Owed:
    """As the first of what it says that is of this place says it."""
    for said in (auth.get("offset"), auth.get("cursor")):
        position = Position.parse(said)
        if position is not None and position.offset == after:
            return Owed.said_by(said)
    return NOTHING_OWED


def complete(after: int, auth: dict[str, object]) -> int:
    """Up to where it has everything."""
    return owed_at(after, auth).behind(Position("", after)).complete.offset


def cursors_of(entries: Sequence[Entry]) -> list[str]:
    return [str(entry.position) for entry in entries]
