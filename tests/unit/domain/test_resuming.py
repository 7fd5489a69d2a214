"""Where a connection continues, by what its client says about an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from adapters.transport.memory.client import MemoryClient
from domain.model import Audience
from domain.policy import ConnectionPolicy
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, closed, cursor, first, identity, ids, run

ALL = ["1", "2", "3", "4", "5"]
UNDELIVERED = ["3", "4", "5"]


@dataclass(frozen=True)
class Answer:
    recovered: bool
    reason: str | None
    same_pid: bool
    received: Sequence[str]


def answer(client: MemoryClient, pid: object) -> Answer:
    ready = first(client, "session.ready")
    return Answer(ready["recovered"], ready["reason"], client.pid == pid, ids(client))


def reply(client: MemoryClient) -> tuple[bool, str | None]:
    ready = first(client, "session.ready")
    return ready["recovered"], ready["reason"]


async def five_of_which_two_were_received(world: World) -> MemoryClient:
    """The user's mark is at 2; the client has the pid that everything is tried with."""
    client = await world.connect("ann")
    await world.publish(*ALL)
    await world.settle()
    for _ in range(3):
        await client.next_event()
    client.disconnect()
    return client


# What the client says, by the pid that it has: its own, another user's, none, or one of nobody.
OFFSETS = {"none": None, "good": "e:3", "ahead": "e:99", "nonsense": "?", "of another log": "f:1"}
CURSORS = {"none": None, "earlier": "e:1", "later": "e:4", "ahead": "e:98", "nonsense": ["?"], "of another log": "f:2"}
REFUSALS = {"ahead": "invalid", "nonsense": "invalid", "of another log": "unknown_epoch"}


def expected(pid: str, offset: str, by_cursor: str) -> Answer:
    """Section by section what the protocol says."""
    if pid == "another user's":
        return Answer(False, "identity_changed", False, UNDELIVERED)
    if pid == "nobody's":
        return Answer(False, "unknown_epoch", False, UNDELIVERED)
    said = [name for name in ((offset, by_cursor) if pid == "own" else (by_cursor,)) if name != "none"]
    # What never was a cursor is noticed before the log is asked about the others.
    refused = next((REFUSALS[name] for name in sorted(said, key="nonsense".__ne__) if name in REFUSALS), None)
    if refused is not None:
        return Answer(False, refused, False, UNDELIVERED)
    places = {"good": 3, "earlier": 1, "later": 4}
    if not said:
        return Answer(False, None, False, UNDELIVERED)
    return Answer(True, None, pid == "own", ALL[max(places[name] for name in said) :])


@pytest.mark.parametrize("pid", ["own", "another user's", "none", "nobody's"])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("by_cursor", CURSORS)
def test_every_claim_is_answered_by_the_letter(pid: str, offset: str, by_cursor: str) -> None:
    async def story() -> None:
        async with World().running() as world:
            before = await five_of_which_two_were_received(world)
            pids = {"own": before.pid, "another user's": (await world.connect("bob")).pid, "nobody's": "x" * 64}
            auth = {"pid": pids.get(pid), "offset": OFFSETS[offset], "cursor": CURSORS[by_cursor]}
            client = await world.connect("ann", **auth)
            assert answer(client, before.pid) == expected(pid, offset, by_cursor)
            assert client.pid is not None
            assert client.pid not in (pids["another user's"], pids["nobody's"])
            await world.publish("next")
            await world.settle()
            assert ids(client)[-1] == "next"

    run(story())


def test_a_good_cursor_continues_just_before_the_first_entry_that_follows() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("1")
            await world.publish("2", to=Audience.users(["bob"]))
            await world.publish("3", "4")
            client = await world.connect("ann", cursor="e:1")
            # Not at the head: who is cut right behind the welcome would miss what was not replayed.
            assert cursor(client.events[0]) == "e:2"
            assert ids(client) == ["3", "4"]
            assert cursor((await world.connect("ann", cursor="e:4")).events[0]) == "e:4"

    run(story())


def test_whatever_cursor_a_client_is_given_leads_on_without_a_gap() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(replay_entries=2)).running() as world:
            await world.publish(*(str(n) for n in range(1, 8)))
            full = await world.connect("ann", cursor="e:0")
            assert ids(full) == [str(n) for n in range(1, 8)]
            for index, event in enumerate(full.events):
                again = await world.connect("ann", pid=full.pid, offset=cursor(event))
                assert ids(again) == [str(n) for n in range(index + 1, 8)]
                assert again.pid == full.pid

    run(story())


def test_a_page_that_logs_one_user_out_and_another_in_gets_nothing_of_the_first() -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")
            await world.publish("of-ann")
            await world.publish("1", "2", to=Audience.users(["bob"]))
            await world.settle()
            offset = cursor(ann.events[-1])
            bob = await world.connect("bob", pid=ann.pid, offset=offset)
            assert answer(bob, ann.pid) == Answer(False, "identity_changed", False, ["1", "2"])

    run(story())


@pytest.mark.parametrize("cuts", [1, 2, 5])
def test_who_never_heard_that_an_offset_was_refused_starts_after_the_mark_however_often(cuts: int) -> None:
    """The client sends the offset again that was refused: it is another user's, and must never count for this one."""

    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")
            await world.publish("1", to=Audience.users(["bob"]))
            await world.publish("of-ann")
            await world.publish("3", to=Audience.users(["bob"]))
            await world.settle()
            offset, pid = cursor(ann.events[1]), ann.pid
            assert offset == "e:2"
            for _ in range(cuts):
                # It has the pid of CONNECT, and no event.
                unanswered = await world.connect("bob", pid=pid, offset=offset)
                unanswered.disconnect()
                assert unanswered.pid != pid
                pid = unanswered.pid
            bob = await world.connect("bob", pid=pid, offset=offset)
            assert answer(bob, pid) == Answer(False, None, False, ["1", "3"])
            # Once it has a cursor of its own, that one counts.
            again = await world.connect("bob", pid=bob.pid, offset=cursor(bob.events[1]))
            assert answer(again, bob.pid) == Answer(True, None, True, ["3"])

    run(story())


def test_what_was_trimmed_of_the_users_rooms_is_told_and_the_rest_follows() -> None:
    async def story() -> None:
        async with World(max_entries=3).running() as world:
            for number in range(1, 6):
                await world.publish(str(number))
                await world.settle()
            for auth, reason in (({"cursor": "e:1"}, "trimmed"), ({}, "trimmed"), ({"cursor": "?"}, "invalid")):
                client = await world.connect("ann", **auth)
                assert reply(client) == (False, reason)
                assert cursor(client.events[0]) == "e:2"
                assert ids(client) == ["3", "4", "5"]
            # The last one that is gone is the earliest from which everything is there.
            assert reply(await world.connect("ann", cursor="e:2")) == (True, None)

    run(story())


@pytest.mark.parametrize("audience", [Audience.users(["bob"]), Audience.role("company"), Audience.everyone()])
def test_trimming_that_took_nothing_of_the_user_does_no_harm(audience: Audience) -> None:
    async def story() -> None:
        async with World(max_entries=3).running() as world:
            for number in range(5):
                await world.publish(str(number), to=audience)
                await world.settle()
            # What was sent to everyone before the user came does not exist for them.
            assert reply(await world.connect("ann")) == (False, None)
            assert reply(await world.connect("ann", cursor="e:0")) == (True, None)

    run(story())


def test_a_new_user_starts_with_all_of_their_own_room_and_nothing_older_of_the_shared_ones() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.publish("own-1")
            await world.publish("role-1", to=Audience.role("freelance"))
            await world.publish("all-1", to=Audience.everyone())
            client = await world.connect("ann")
            await world.publish("role-2", to=Audience.role("freelance"))
            await world.publish("all-2", to=Audience.everyone())
            await world.settle()
            assert ids(client) == ["own-1", "role-2", "all-2"]
            # Nor by a cursor of before.
            assert ids(await world.connect("ann", cursor="e:0")) == ["own-1", "role-2", "all-2"]

    run(story())


def test_the_start_in_a_room_is_fixed_by_the_first_connection_even_one_that_is_cut() -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:

            async def leave() -> None:
                client.disconnect()

            points.at_nth("after arrive", 1, leave)
            client = world.transport.start({"token": "ann"})
            await client.opened()
            await world.publish("1", to=Audience.everyone())
            assert ids(await world.connect("ann")) == ["1"]

    run(story())


def test_a_role_that_is_not_in_the_token_any_more_is_not_replayed() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["as-company"] = identity("ann", "company")
            freelance, company = await world.connect("ann"), await world.connect("as-company")
            await world.publish("freelance", to=Audience.role("freelance"))
            await world.publish("company", to=Audience.role("company"))
            await world.settle()
            assert (ids(freelance), ids(company)) == (["freelance"], ["company"])
            # The pid is the user's, in whatever role.
            again = await world.connect("as-company", pid=freelance.pid, offset="e:0")
            assert answer(again, freelance.pid) == Answer(True, None, True, ["company"])

    run(story())


def test_without_replay_a_client_that_brings_nothing_starts_at_the_head() -> None:
    async def story() -> None:
        async with World(policy=ConnectionPolicy(replays_undelivered=False), max_entries=3).running() as world:
            for number in range(5):
                await world.publish(str(number))
                await world.settle()
            for auth, reason in (({}, None), ({"cursor": "?"}, "invalid"), ({"cursor": "e:0"}, "trimmed")):
                client = await world.connect("ann", **auth)
                assert reply(client) == (False, reason)
                assert (cursor(client.events[0]), ids(client)) == ("e:5", [])
            client = await world.connect("ann", cursor="e:3")
            assert (reply(client), ids(client)) == ((True, None), ["3", "4"])

    run(story())


class TestSuperseded:
    @pytest.mark.parametrize("offset", [None, "e:0", "e:99", "?"])
    def test_a_client_that_returns_takes_the_place_of_its_older_connection(self, offset: str | None) -> None:
        async def story() -> None:
            async with World().running() as world:
                older, other = await world.connect("ann"), await world.connect("ann")
                client = await world.connect("ann", pid=older.pid, offset=offset)
                await closed(older)
                closing = first(older, "session.closing")
                assert (closing["code"], closing["reconnect"], older.reconnect) == ("superseded", True, True)
                assert (client.connected, other.connected) == (True, True)
                assert world.connections.open_connections == 2
                # The next one takes the place of this one, and not of the one that is gone.
                await world.connect("ann", pid=client.pid)
                await closed(client)
                assert other.connected

        run(story())

    def test_one_that_was_never_answered_goes_too(self) -> None:
        async def story() -> None:
            async with World().running() as world:
                older = await world.connect("ann", pid="x" * 64, offset="f:1")
                await world.connect("ann", pid=older.pid, offset="f:1")
                await closed(older)
                assert world.connections.open_connections == 1

        run(story())

    def test_the_pid_of_another_user_closes_nothing(self) -> None:
        async def story() -> None:
            async with World().running() as world:
                ann = await world.connect("ann")
                await world.connect("bob", pid=ann.pid, offset="e:0")
                await world.settle()
                assert ann.connected

        run(story())

    def test_the_end_of_the_older_one_takes_nothing_from_the_newer(self) -> None:
        async def story() -> None:
            async with World().running() as world:
                first_one = await world.connect("ann")
                second = await world.connect("ann", pid=first_one.pid, offset="e:0")
                await closed(first_one)
                third = await world.connect("ann", pid=first_one.pid, offset="e:0")
                await closed(second)
                assert third.connected

        run(story())


def test_trimming_just_before_the_log_is_read_is_told_too() -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around, max_entries=2).running() as world:
            for number in range(1, 5):
                await world.publish(str(number))
                await world.settle()

            async def trim() -> None:
                await world.publish("5")
                await world.settle()

            points.at_nth("before arrive", 1, trim)
            client = await world.connect("ann", cursor="e:2")
            assert (reply(client), ids(client)) == ((False, "trimmed"), ["4", "5"])

    run(story())
