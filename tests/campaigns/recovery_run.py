"""A run: devices, and everything that can happen to them and to their server, in an order that a seed decides."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from adapters.contract.answers import answer_object
from domain.errors import (
    ConnectionGone,
    NotificationDeleted,
    NotificationExpired,
    NotificationRecalled,
    StoreUnavailable,
    UnknownNotification,
)
from domain.model import (
    NOTIFICATION_DELETED,
    AmendedSchedule,
    Answer,
    Audience,
    ConnectionId,
    Entry,
    Listing,
    Publication,
    Room,
    UserId,
)
from domain.policy import ConnectionPolicy, may_collapse
from tests.campaigns.recovery_devices import CURSOR, PLAIN, STOCK, Device, Watched, cursors_of
from tests.campaigns.recovery_oracle import Broken, Log, Oracle, Place
from tests.campaigns.recovery_world import ROLES, TOPICS, USERS, Server, Store, View, token
from tests.doubles import ManualClock
from tests.unit.domain.world import answer_to

STEPS = 60
PUBLISHING_TRIES = 4
ASKED_MOST = 20


class Run(Watched):
    """``play`` raises Broken."""

    def __init__(self, seed: int, *, nodes: int, by_the_letter: bool) -> None:
        self.rng = random.Random(seed)
        self.broken: Broken | None = None
        clock, oracle = ManualClock(), Oracle()
        store = Store(clock, oracle, max_entries=self.rng.choice((15, 40, 1000)))
        super().__init__(clock, oracle, store, by_the_letter=by_the_letter)
        kinds = [self.rng.choice((STOCK, STOCK, CURSOR, PLAIN)) for _ in range(self.rng.randint(2, 5))]
        self.devices = [Device(kind, self._place()) for kind in kinds]
        self.policy = ConnectionPolicy(
            connections_per_user=len(kinds), replay_entries=self.rng.choice((1, 3, 500)), uniform=self.rng.uniform
        )
        self.asked: list[Publication] = []
        self.numbers = 0
        self.contents = 0
        self.backup: tuple[dict[str, Any], Log] | None = None
        self.servers = [self._server(number) for number in range(nodes)]

    async def play(self) -> None:
        await self._start()
        steps = {
            self.publish: 26,
            self.recall: 5,
            self.revise: 8,
            self.schedule: 5,
            self.come_due: 4,
            self.change_members: 10,
            self.erase: 3,
            self.connect_one: 24,
            self.take_some: 12,
            self.cut: 10,
            self.ask: 6,
            self.render: 3,
            self.become_another: 4,
            self.store_marks: 6,
            self.pass_time: 3,
            self.lag: 3 * len(self.servers),
            self.restart: 2,
            self.copy_or_restore: 3,
            self.promote: 3,
        }
        try:
            for step in self.rng.choices(list(steps), list(steps.values()), k=STEPS):
                await step()
                await self.settle()
                self.check_closed()
                if self.broken is not None:
                    raise self.broken
            await self.finish()
        finally:
            for server in self.servers:
                await server.stop()

    async def settle(self) -> None:
        for server in self.servers:
            await server.settle()

    # steps

    async def publish(self) -> None:
        """A backend asks again, somebody else it may be, until it is told that all is stored."""
        publications = [self._publication() for _ in range(self.rng.randint(1, 3))]
        self.asked = [*self.asked, *publications][-ASKED_MOST:]
        await self._publish(publications)

    async def _publish(self, publications: Sequence[Publication]) -> None:
        for _ in range(PUBLISHING_TRIES):
            # The log may be full of what was not delivered yet.
            with suppress(StoreUnavailable):
                await self._any().publishing.publish(publications)
                return
            self.counted["publications tried again"] += 1

    async def recall(self) -> None:
        """A backend takes back one of its last, and asks again, somebody else it may be, until it is told what became
        of that."""
        id_ = self._one_of_the_last()
        self.oracle.log.perhaps_cancelled.add(id_)
        for _ in range(PUBLISHING_TRIES):
            server = self._any()
            with suppress(StoreUnavailable):
                try:
                    recalled = await server.editing.recall(id_)
                except (UnknownNotification, NotificationRecalled):
                    return
                if isinstance(recalled, AmendedSchedule):
                    self.counted["cancelled"] += 1
                    self.oracle.log.cancelled.add(id_)
                    return
                self.counted["recalls"] += 1
                self.oracle.recalled_by.setdefault(server.number, set()).add(recalled.about)
                return

    async def revise(self) -> None:
        """A backend changes one of its last, until it is told that it is so."""
        self.contents += 1
        content = str(self.contents)
        for _ in range(PUBLISHING_TRIES):
            with suppress(StoreUnavailable):
                try:
                    await self._any().editing.revise(self._one_of_the_last(), lambda one: replace(one, title=content))
                except (UnknownNotification, NotificationRecalled, NotificationDeleted, NotificationExpired):
                    return
                self.counted["revisions"] += 1
                return

    async def schedule(self) -> None:
        """For a time that comes before long."""
        one = replace(
            self._publication(),
            deliver_at=self.clock.now() + timedelta(seconds=self.rng.uniform(0.1, 8)),
            expires_at=None,
        )
        if one.id is None or one.deliver_at is None:
            return
        log = self.oracle.log
        log.scheduled[one.id] = one.deliver_at
        log.waits_for[one.id] = one.to.rooms
        for _ in range(PUBLISHING_TRIES):
            with suppress(StoreUnavailable):
                await self._any().publishing.publish([one])
                self.counted["scheduled"] += 1
                log.promised.add(one.id)
                return

    async def come_due(self) -> None:
        with suppress(StoreUnavailable):
            await self._any().due.deliver()

    async def change_members(self) -> None:
        """A backend has somebody in a topic, or not, until it is told that it is so."""
        users = [UserId(user) for user in USERS if self.rng.random() < 0.6]
        joins, topic = self.rng.random() < 0.6, self.rng.choice(TOPICS)
        for _ in range(PUBLISHING_TRIES):
            with suppress(StoreUnavailable):
                await self._any().topics.change_members(topic, *((users, ()) if joins else ((), users)))
                self.counted["changes of members"] += 1
                return

    async def erase(self) -> None:
        """A user, until a backend is told so; every server hears of it. What was published for them is published again
        by somebody who knows no better."""
        user = UserId(self.rng.choice(USERS))
        for server in self.servers:
            server.gate.set()
        await self.settle()
        self.check_closed()
        theirs = [device for device in self.devices if device.place[0] == user]
        for device in theirs:
            if device.client is not None:
                self.take(device, 1000)
        before = self.oracle.counted["erasures"]
        for _ in range(PUBLISHING_TRIES):
            with suppress(StoreUnavailable):
                await self._any().erasing.erase(user)
                break
        await self.settle()
        if self.oracle.counted["erasures"] == before:
            return
        for device in theirs:
            if device.client is not None and not device.client.closed:
                raise Broken(f"{device.place} is erased, and still connected")
        there = [one for one in self.asked if one.id in self._ids_in_the_log()]
        for one in self.rng.sample(there, min(3, len(there))):
            self.counted["published again behind an erasure"] += 1
            await self._publish([one])

    def _ids_in_the_log(self) -> set[str]:
        new = (one for one in self.oracle.log.entries[self.oracle.log.trimmed :] if one.event == "notification.new")
        return {self.oracle.id_of(entry) for entry in new if entry.about is None}

    def _one_of_the_last(self) -> str:
        return f"n{self.rng.randint(max(0, self.numbers - 9), self.numbers)}"

    async def connect_one(self) -> None:
        gone = [device for device in self.devices if device.client is None]
        if gone:
            await self.connect(self.rng.choice(gone))

    async def take_some(self) -> None:
        for device in self.devices:
            if device.client is not None and self.rng.random() < 0.7:
                self.take(device, self.rng.randint(0, 10))

    async def cut(self) -> None:
        here = [device for device in self.devices if device.client is not None]
        if here:
            device = self.rng.choice(here)
            # What nobody noticed: the server goes on with a connection that is none.
            if device.kind == STOCK and self.rng.random() < 0.3 and device.client is not None:
                self.counted["cuts that nobody noticed"] += 1
                device.abandoned, device.client = (device.node, device.client), None
            else:
                self.leave(device, self.rng.randint(0, 5))

    async def ask(self) -> None:
        """Read, delete or count over a connection, with something happening meanwhile."""
        here = [device for device in self.devices if device.client is not None]
        if not here:
            return
        device = self.rng.choice(here)
        known = [f"n{self.rng.randint(0, self.numbers)}" for _ in range(3)]
        event, argument = self.rng.choice(
            [
                ("notification.read", {"ids": known}),
                ("notification.delete", {"ids": known}),
                ("notification.read_all", None),
                ("notification.snooze", {"ids": known, "until": self._soon()}),
                ("notification.snooze", {"ids": known, "until": self._soon()}),
                ("inbox.count", None),
            ]
        )
        client, server = device.client, device.node
        assert client is not None
        server.meanwhile.left = self.rng.randint(0, 3)
        with suppress(ConnectionGone):
            await client.request(event, argument)
            self.counted["requests"] += 1
        await self.settle()
        server.meanwhile.left = 0

    def _soon(self) -> str:
        due = self.clock.now() + timedelta(seconds=self.rng.uniform(0.1, 4))
        return due.isoformat(timespec="milliseconds")

    async def render(self) -> None:
        """A list is rendered on the server, and its place in the log goes along with the next connection."""
        away = [device for device in self.devices if device.client is None and device.kind != PLAIN]
        if away:
            await self._render(self.rng.choice(away))

    async def _render(self, device: Device) -> None:
        server = self._any()
        if server.view.is_lost:
            return
        listing = await answer_to(server.inboxes, token(*device.place), "inbox.list", None)
        assert isinstance(listing, Listing)
        # What has come back lies elsewhere.
        entries = self.oracle.log.entries
        offsets = [entries[item.offset - 1].about or item.offset for item in listing.items]
        shown = [offset for offset in offsets if offset in self.oracle.log.recalled]
        if shown:
            raise Broken(f"{device.place} was taken back {shown}, and it is listed")
        replaced = self.oracle.replaced(device.place).keys() & set(offsets)
        if replaced:
            raise Broken(f"{device.place} has later ones in the place of {replaced}, and they are listed")
        device.shown.clear()
        for item in listing.items:
            title, expected = json.loads(item.payload)["title"], self.oracle.title_of(item.offset)
            if title != expected:
                raise Broken(f"{device.place} was listed the content {title} of {item.offset}, which has {expected}")
            device.shown[json.loads(item.payload)["id"]] = int(title or 0)
        device.cursor = str(listing.as_of)
        device.earn(device.cursor)
        seen = {str(entry.position) for entry in self.oracle.visible(device.place, 0, listing.as_of.offset)}
        self.oracle.got.setdefault(device.place, set()).update(seen)

    async def become_another(self) -> None:
        """Another user, or another role of the same, on one socket object."""
        device = self.rng.choice(self.devices)
        if device.client is not None:
            self.leave(device, self.rng.randint(0, 3))
        before, device.place = device.place, self._place()
        device.shown.clear()
        if before[0] != device.place[0]:
            # What the application keeps itself it keeps by user; the stock client does not know of users.
            device.cursor = None
            self._notice_the_abandoned(before[0])
        if device.kind != PLAIN and self.rng.random() < 0.2:
            await self._render(device)
        if self.rng.random() < 0.7:
            await self.connect(device, is_bad=self.rng.random() < 0.3)

    async def store_marks(self) -> None:
        self.store.is_writable = self.rng.random() < 0.8
        with suppress(StoreUnavailable):
            await self._any().recovery.store_marks()
        self.store.is_writable = True

    async def pass_time(self) -> None:
        self.clock.advance(self.rng.uniform(0, 5))
        for server in self.servers:
            server.expiry.tick()
            with suppress(StoreUnavailable):
                await server.counts.announce(100)

    async def lag(self) -> None:
        gate = self._any().gate
        if gate.is_set():
            gate.clear()
        else:
            gate.set()

    async def restart(self) -> None:
        """One of several goes on where it was killed; a server alone begins a new generation."""
        server = self._any()
        if self.rng.random() < 0.3:
            with suppress(StoreUnavailable):
                await server.recovery.store_marks()
        await self._stop(server)
        self.counted["restarts"] += 1
        if len(self.servers) == 1:
            await self._start()
        else:
            await self.servers[server.number].start()

    async def copy_or_restore(self) -> None:
        if self.backup is None or self.rng.random() < 0.5:
            self.backup = self.store.backup(), self.oracle.backup()
            return
        for server in list(self.servers):
            await self._stop(server)
        self._restore(*self.backup)
        self.counted["restores"] += 1
        await self._start()
        await self.publish()

    async def promote(self) -> None:
        """The same, and the servers run on: each notices when it hears of the log."""
        if self.backup is None:
            return
        for device in self.devices:
            if device.client is not None:
                self.take(device, 1000)
        self._restore(*self.backup)
        self._begin()
        self.counted["promotions"] += 1
        if self.rng.random() < 0.7:
            await self.publish()

    def _restore(self, store: dict[str, Any], oracle: Log) -> None:
        self.store.restore(store)
        self.oracle.restored(oracle)
        self.backup = None

    async def finish(self) -> None:
        """Everybody gets the rest, and nothing is left that nobody ever got."""
        for server in self.servers:
            server.gate.set()
        await self.settle()
        await self._all_comes_due()
        # No event says that something has expired: the next news do.
        await self._publish([Publication(Audience.everyone(), "t", id="last")])
        await self.settle()
        for device in self.devices:
            if device.client is not None:
                self.take(device)
                if not device.client.closed:
                    self.check_last_content(device)
                    self.check_nothing_replaced(device)
        # A second as the difference of two sums may be a little less.
        self.clock.advance(1.001)
        for server in self.servers:
            await server.counts.announce(100)
        self.check_closed()
        await self.check_counts()
        for user in USERS:
            self._notice_the_abandoned(user)
        for device in self.devices:
            if device.client is not None:
                self.leave(device, 1000)
        for place in list(self.oracle.log.begins):
            device = Device(PLAIN, place)
            await self.connect(device, is_last=True)
            left = self.oracle.undelivered(place, self.clock.now(), self.oracle.head)
            if left:
                raise Broken(f"{place} never got {cursors_of(left)}")

    async def _all_comes_due(self) -> None:
        self.clock.advance(10)
        # The log may be full of what was not delivered yet.
        for _ in range(100):
            await self.come_due()
            await self.settle()
        log = self.oracle.log
        left = (log.promised & log.scheduled.keys()) - log.perhaps_cancelled
        if left:
            raise Broken(f"{left} never got into the log")
        away = [one for one in log.snoozed if one not in log.deleted and self._is_there(*one)]
        if away:
            raise Broken(f"{away} never got back")

    def _is_there(self, own: Room, id_: str) -> bool:
        """False as well where it may have expired."""
        log = self.oracle.log
        return any(
            entry.about is None
            and entry.event == "notification.new"
            and self.oracle.id_of(entry) == id_
            and entry.expires_at is None
            and entry.position.offset not in log.recalled
            and not self.oracle.is_replaced(own, entry.position.offset)
            for entry in log.entries[log.trimmed :]
        )

    # devices

    async def connect(self, device: Device, *, is_last: bool = False, is_bad: bool = False) -> None:
        """``is_bad``: the network, which most likely cuts it at once."""
        auth, trimmed = device.auth(), self.oracle.log.trimmed
        offset = auth.get("offset")
        if device.place in device.earned.get(str(offset), ()) and self.rng.random() < 0.06:
            # A client written by hand, which knows no better: it is given again what it has.
            device.shown.clear()
            if self.rng.random() < 0.5:
                self.counted["offsets without a pid"] += 1
                del auth["pid"]
            else:
                self.counted["pids of another store"] += 1
                auth["pid"] = "x" * 64
            self._notice_the_abandoned(device.place[0])
        server = device.server = self._any()
        if server.view.is_lost:
            # Whoever comes before it has noticed is told to come again.
            self.counted["came too early"] += 1
            return
        if device.abandoned is not None and device.abandoned[0] is not server:
            # Nodes tell one another whose older connection has to go. Here they do not know of each other.
            device.abandoned[1].disconnect()
        device.abandoned = None
        server.meanwhile.left = 0 if is_last else self.rng.randint(0, 3)
        head = self.oracle.head
        client = server.transport.start(auth)
        await client.opened()
        server.meanwhile.left = 0
        await self.settle()
        self.counted["connections"] += 1
        self.check_welcome(device, auth, client, trimmed)
        if self.oracle.head == head:
            self.check_replay(device, client, auth)
        chance = 1.0 if is_last else self.rng.random() * (0.3 if is_bad else 1)
        if chance < 0.08:
            self.counted["cut before CONNECT"] += 1
            client.disconnect()
            await self._try_again(device)
            return
        if device.kind == STOCK:
            _, (ready, *_) = client.events[0]
            if "pid" in auth and (auth["pid"] == client.pid) is not ready["recovered"]:  # type: ignore[index]
                raise Broken("the stock client says the opposite of recovered")
            device.pid = client.pid
        device.client, device.ready = client, False
        if chance < 0.18:
            self.counted["cut before session.ready"] += 1
            self.leave(device, 0)
            await self._try_again(device)
        elif chance < 0.28:
            self.counted["cut before the replay"] += 1
            self.leave(device, 1)
        elif chance < 0.4:
            self.counted["cut in the replay"] += 1
            self.leave(device, self.rng.randint(1, 5))
        elif chance < 0.85:
            self.take(device, 1 + self.rng.randint(0, 5))
        else:
            self.take(device)

    async def _try_again(self, device: Device) -> None:
        """A bad network is bad more than once."""
        if self.rng.random() < 0.7:
            await self.connect(device, is_bad=self.rng.random() < 0.6)

    def leave(self, device: Device, number: int) -> None:
        """Cut, with what was on its way: so many events. The server knows of these or does not."""
        client = device.client
        assert client is not None
        if self.rng.random() < 0.5:
            self.take(device, number)
            client.disconnect()
        else:
            client.disconnect()
            self.take(device, number)
        device.client = None

    def check_closed(self) -> None:
        for device in self.devices:
            if device.client is not None and device.client.closed:
                if not device.client.reconnect:
                    raise Broken("a device was sent away for good")
                self.leave(device, self.rng.choice((0, 2, 1000)))

    async def check_counts(self) -> None:
        """Whether each live device was told what is true now."""
        for device in self.devices:
            if device.client is None:
                continue
            self.take(device)
            answer = await answer_to(device.node.inboxes, token(*device.place), "inbox.count", None)
            if answer_object(answer)["counts"] != device.told:
                raise Broken(f"{device.place} was told of {device.told}, and there are {answer}")
            self.counted["counts compared"] += 1

    # helpers

    def _server(self, number: int) -> Server:
        view = View(self.store, self.oracle, number)
        view.becomes = self._becomes
        server = Server(number, self.rng, view, self.clock, self.policy, self._answered, self._sent)
        server.meanwhile.happens = partial(self._meanwhile, server)
        return server

    def _any(self) -> Server:
        return self.servers[0] if len(self.servers) == 1 else self.rng.choice(self.servers)

    def _becomes(self) -> tuple[bool, bool]:
        """Of what is written: whether it is stored, and whether anybody is told."""
        return self.rng.random() > 0.03, self.rng.random() > 0.05

    def _answered(self, node: int, connection: ConnectionId, answer: Answer) -> None:
        """Called by the transport, which must not see what is wrong."""
        try:
            self.check_answer(node, connection, answer)
        except Broken as broken:
            self.broken = broken

    def _sent(self, server: Server, entry: Entry) -> None:
        """The same. What was taken back is sent by no server that has done it, or has come so far in the log."""
        recalled_at, offset = self.oracle.recalled_at(entry), entry.position.offset
        if recalled_at is None or entry.event == NOTIFICATION_DELETED:
            # The latter says in its place that it is gone: to whoever has one before it with the same collapse key.
            return
        delivered = server.hub.delivered
        has_come_to_it = delivered is not None and delivered.offset >= recalled_at and not server.view.is_lost
        if has_come_to_it or offset in self.oracle.recalled_by.get(server.number, ()):
            self.broken = Broken(f"{entry.position} was taken back at {recalled_at}, and is sent all the same")

    def _begin(self) -> None:
        self.store.begin(f"g{self.rng.getrandbits(32):x}")

    async def _start(self) -> None:
        self._begin()
        for server in self.servers:
            await server.start()

    async def _stop(self, server: Server) -> None:
        """What was on its way arrives, or some of it; what nobody stored is forgotten."""
        for device in self.devices:
            if device.client is not None and device.server is server:
                self.leave(device, self.rng.randint(0, 5))
        await server.stop()
        self.oracle.crashed(server.number)
        self.servers[server.number] = self._server(server.number)

    async def _meanwhile(self, server: Server) -> None:
        chance = self.rng.random()
        if chance < 0.15:
            self.counted["members changed meanwhile"] += 1
            await self.change_members()
        elif chance < 0.3:
            self.counted["recalled meanwhile"] += 1
            await self.recall()
        elif chance < 0.45:
            self.counted["revised meanwhile"] += 1
            await self.revise()
        else:
            self.counted["published meanwhile"] += 1
            await self.publish()
        if server.gate.is_set() and self.rng.random() < 0.5:
            await server.settle()

    def _notice_the_abandoned(self, user: str) -> None:
        """The server learns that nobody is there any more on connections of a user."""
        kept = {device.client for device in self.devices}
        for connection in [one for server in self.servers for one in server.connections.all]:
            client = connection.subscription.outlet.client
            if connection.identity is not None and connection.identity.user == user and client not in kept:
                client.disconnect()

    def _place(self) -> Place:
        return self.rng.choice(USERS), self.rng.choice(ROLES)

    def _publication(self) -> Publication:
        several = Audience.all_of if self.numbers % 2 else Audience.any_of
        to = self.rng.choice(
            [
                Audience.users([self.rng.choice(USERS)]),
                Audience.users([self.rng.choice(USERS)]),
                Audience.users(USERS),
                Audience.role(self.rng.choice(ROLES)),
                Audience.everyone(),
                Audience.topic(self.rng.choice(TOPICS)),
                several([Room.of_topic(self.rng.choice(TOPICS)), Room.of_role(self.rng.choice(ROLES))]),
                several(map(Room.of_topic, TOPICS)),
            ]
        )
        life = timedelta(seconds=self.rng.uniform(1, 20)) if self.rng.random() < 0.1 else None
        self.numbers += 1
        expires_at = self.clock.now() + life if life is not None else None
        key = self.rng.choice(("k", "l")) if self.rng.random() < 0.3 and may_collapse(to) else None
        return Publication(to, "t", id=f"n{self.numbers}", expires_at=expires_at, collapse_key=key)


def simulate(seed: int, *, nodes: int = 1, by_the_letter: bool = True) -> Counter[str]:
    """What happened how often, to so many servers that share a log. Raises Broken."""
    run = Run(seed, nodes=nodes, by_the_letter=by_the_letter)
    asyncio.run(run.play())
    return run.counted
