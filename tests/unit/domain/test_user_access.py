"""Revoking and blocking have one place in the log, and from there on nobody whom they concern is let in or sent
anything, on whichever server and however far that has come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from adapters.store.presence import LocalPresence
from adapters.transport.memory.client import MemoryClient
from domain.errors import InvalidArgument, InvalidToken, StoreUnavailable, TooManyRestrictions, UserBlocked
from domain.model import Block, Blocked, BlockUser, Listing, RestrictUser, RevokeTokens, UnblockUser, UserId
from domain.policy import ConnectionPolicy
from domain.rules.restrictions import fault
from tests.doubles import START
from tests.unit.domain.interleaving import Points
from tests.unit.domain.world import World, answer_to, closed, first, identity, ids, is_empty, names, run

ANN, BOB = UserId("ann"), UserId("bob")
SECOND = timedelta(seconds=1)
POINTS = ["before verify", "after verify", "before arrive", "after arrive"]
REVOKED, BLOCKED = RevokeTokens(ANN, START), BlockUser(ANN, None, None)
BOTH = pytest.mark.parametrize(
    ("control", "refusal", "closing"), [(REVOKED, "invalid_token", "token_revoked"), (BLOCKED, "blocked", "blocked")]
)


def issued(world: World, token: str, at: datetime | None, user: str = "ann") -> None:
    """``token`` is one of the user's that was issued then."""
    world.verifier.identities[token] = replace(identity(user), issued_at=at)


async def ask(client: MemoryClient, event: str, argument: object) -> str | None:
    """The code of the error that is answered; None where it is done."""
    answer = await client.request(event, argument)
    assert isinstance(answer, dict)
    return str(answer["error"]["code"]) if not answer["ok"] else None


async def restrict(world: World, control: RestrictUser) -> None:
    """As another server does it: this one meets it in the tail alone."""
    await world.inbox.append_control(control)
    await world.settle()


def test_those_with_an_older_token_go_and_come_back_with_another() -> None:
    async def story() -> None:
        async with World().running() as world:
            issued(world, "old", START - SECOND)
            issued(world, "same", START)
            issued(world, "new", START + SECOND)
            old, same, none, new = [await world.connect(token) for token in ("old", "same", "ann", "new")]
            bob = await world.connect("bob")
            revoked = await world.access.revoke(ANN, START)
            assert (revoked.issued_before, revoked.disconnected) == (START, 3)
            for client in (old, same, none):
                await closed(client)
                said = first(client, "session.closing")
                assert (said["code"], said["reconnect"]) == ("token_revoked", True)
                assert client.reconnect
            assert [new.connected, bob.connected] == [True, True]
            for token in ("old", "same", "ann"):
                refused = (await world.connect(token)).refusal
                assert refused is not None
                # Every failure of a token looks the same.
                assert (refused.code, refused.detail) == ("invalid_token", None)
            assert world.telemetry.named("refused") == [("invalid_token", "it was revoked")] * 3
            assert (await world.connect("new")).connected

    run(story())


def test_without_a_time_what_was_issued_by_now_is_revoked() -> None:
    async def story() -> None:
        async with World().running() as world:
            issued(world, "now", START)
            assert (await world.access.revoke(ANN, None)).issued_before == START
            assert (await world.connect("now")).refusal is not None
            issued(world, "later", START + SECOND)
            world.clock.advance(1)
            assert (await world.connect("later")).connected

    run(story())


def test_all_of_a_blocked_user_s_go_for_good_until_it_is_over() -> None:
    async def story() -> None:
        async with World().running() as world:
            access = world.access
            issued(world, "new", START + SECOND)
            clients = [await world.connect(token) for token in ("ann", "new")]
            assert await access.block(ANN, START + timedelta(minutes=1), "spam") == Blocked(
                Block(START + timedelta(minutes=1), "spam"), 2
            )
            for client in clients:
                await closed(client)
                said = first(client, "session.closing")
                assert (said["code"], said["reconnect"]) == ("blocked", False)
                assert not client.reconnect
            refused = (await world.connect("new")).refusal
            assert refused is not None
            assert (refused.code, refused.retryable) == ("blocked", False)
            assert await access.block_of(ANN) == Blocked(Block(START + timedelta(minutes=1), "spam"))
            assert await access.block_of(BOB) == Blocked(None)
            world.clock.advance(59)
            assert (await world.connect("new")).refusal is not None
            world.clock.advance(1)
            assert (await world.connect("new")).connected
            assert await access.block_of(ANN) == Blocked(None)

    run(story())


def test_who_is_unblocked_is_let_in_again() -> None:
    async def story() -> None:
        async with World().running() as world:
            await world.access.block(ANN, None, None)
            assert (await world.connect("ann")).refusal is not None
            assert await world.access.unblock(ANN) == Blocked(None)
            again = await world.connect("ann")
            await world.settle()
            # Nor does the tail, which brings it all once more, end that.
            assert again.connected
            head = await world.inbox.head()
            await world.access.unblock(ANN)
            assert await world.inbox.head() == head

    run(story())


@BOTH
def test_nothing_that_comes_after_it_is_sent(control: RestrictUser, refusal: str, closing: str) -> None:
    async def story() -> None:
        async with World().running() as world:
            ann, bob = await world.connect("ann"), await world.connect("bob")
            await world.publish("before")
            await world.inbox.append_control(control)
            await world.publish("after")
            await world.settle()
            assert ids(ann) == ["before"]
            assert names(ann)[-1] == "session.closing"
            assert first(ann, "session.closing")["code"] == closing
            assert bob.connected
            again = await world.connect("ann")
            assert again.refusal is not None
            assert again.refusal.code == refusal

    run(story())


@BOTH
@pytest.mark.parametrize("point", POINTS)
def test_who_is_connecting_meanwhile_is_refused(control: RestrictUser, refusal: str, closing: str, point: str) -> None:
    async def story() -> None:
        points = Points()
        async with World(seen_as=points.around).running() as world:

            async def restricted() -> None:
                await restrict(world, control)
                await world.publish("after")
                await world.settle()

            points.at_nth(point, 1, restricted)
            client = await world.connect("ann")
            assert client.refusal is not None
            assert client.refusal.code == refusal
            assert closing not in str(client.events)
            assert ids(client) == []
            assert is_empty(world)

    run(story())


@BOTH
def test_who_is_refused_at_the_last_moment_is_nobody_s(
    monkeypatch: pytest.MonkeyPatch, control: RestrictUser, refusal: str, closing: str
) -> None:
    async def story() -> None:
        async with World().running() as world:

            async def restricted(*_: object) -> None:
                await restrict(world, control)

            # The last that is waited for.
            monkeypatch.setattr(LocalPresence, "admit", restricted)
            client = await world.connect("ann")
            assert client.refusal is not None
            assert client.refusal.code == refusal
            assert closing not in str(client.events)
            assert is_empty(world)

    run(story())


@BOTH
def test_a_server_that_is_behind_refuses_who_would_be_given_what_came_after_it(
    control: RestrictUser, refusal: str, closing: str
) -> None:
    async def story() -> None:
        world = World()
        await world.hub.begin()
        early = await world.connect("ann")
        await world.inbox.append_control(control)
        await world.publish("after")
        late = await world.connect("ann", cursor="e:0")
        assert late.refusal is not None
        assert late.refusal.code == refusal
        assert early.connected
        with pytest.raises((InvalidToken, UserBlocked)):
            await answer_to(world.inboxes, "ann", "inbox.list", {})
        async with world.running():
            await closed(early)
            assert ids(early) == []
            assert first(early, "session.closing")["code"] == closing

    run(story())


@pytest.mark.parametrize("is_block", [False, True])
@pytest.mark.parametrize("elsewhere", [REVOKED, BLOCKED, UnblockUser(ANN)])
def test_what_another_server_said_before_is_not_lost_where_this_one_is_behind(
    elsewhere: RestrictUser, *, is_block: bool
) -> None:
    """What is done here holds at once, and not from the tail on, which has yet to bring what came before it."""

    async def story() -> None:
        world = World()
        await world.hub.begin()
        if isinstance(elsewhere, UnblockUser):
            await world.inbox.append_control(BLOCKED)
        await world.inbox.append_control(elsewhere)
        access = world.access
        await (access.block(ANN, None, "here") if is_block else access.revoke(ANN, START - SECOND))
        stored = await world.inbox.restriction(ANN)
        for token, issued_at in (("older", START - SECOND), ("old", START), ("new", START + SECOND)):
            issued(world, token, issued_at)
        expected = [fault(world.verifier.identities[token], stored, START) is None for token in ("older", "old", "new")]

        async def are_let_in() -> list[bool]:
            return [(await world.connect(token)).connected for token in ("older", "old", "new")]

        assert await are_let_in() == expected
        async with world.running():
            await world.settle()
            assert await are_let_in() == expected
            await access.unblock(ANN)
            is_revoked = stored is not None and stored.issued_before is not None and stored.issued_before >= START
            assert (await world.connect("old")).connected is not is_revoked

    run(story())


@BOTH
@pytest.mark.parametrize("pages", [1, 2])
def test_a_replay_that_reads_further_than_the_server_has_come_ends_before_it(
    control: RestrictUser, refusal: str, closing: str, pages: int
) -> None:
    assert refusal

    async def story() -> None:
        points = Points()
        world = World(seen_as=points.around, policy=ConnectionPolicy(replay_entries=1))
        await world.publish("a", "b", "c")
        await world.hub.begin()

        async def restricted() -> None:
            await world.inbox.append_control(control)
            await world.publish("after")

        points.at_nth("before read", pages, restricted)
        client = await world.connect("ann", cursor="e:0")
        assert ids(client) == ["a", "b", "c"]
        await closed(client)
        assert first(client, "session.closing")["code"] == closing

    run(story())


@BOTH
def test_users_without_a_connection_are_refused_too(control: RestrictUser, refusal: str, closing: str) -> None:
    assert closing

    async def story() -> None:
        async with World().running() as world:
            assert isinstance(await answer_to(world.inboxes, "ann", "inbox.list", {}), Listing)
            await restrict(world, control)
            for event in ("inbox.list", "inbox.count"):
                with pytest.raises((InvalidToken, UserBlocked)) as refused:
                    await answer_to(world.inboxes, "ann", event, {})
                assert refused.value.code == refusal
            await answer_to(world.inboxes, "bob", "inbox.list", {})

    run(story())


def test_a_connection_cannot_go_back_to_a_revoked_token_and_stays_with_a_new_one() -> None:
    async def story() -> None:
        async with World().running() as world:
            issued(world, "old", START - SECOND)
            issued(world, "new", START + SECOND)
            client = await world.connect("old")
            assert await ask(client, "auth.refresh", {"token": "new"}) is None
            await restrict(world, REVOKED)
            assert client.connected
            assert await ask(client, "auth.refresh", {"token": "old"}) == "invalid_token"
            assert client.connected

    run(story())


def test_it_is_known_from_the_start_whatever_the_tail_brings_again() -> None:
    async def story() -> None:
        world = World()
        at = await world.inbox.head()
        await world.access.block(ANN, None, None)
        await world.access.unblock(ANN)
        await world.access.revoke(BOB, START)
        # As after a restart: it begins at the head, or further back, and reads what is stored behind that.
        world.admission.begin_anew(await world.admission.read())
        world.hub.begin_anew(at)
        ann = await world.connect("ann")
        assert (await world.connect("bob")).refusal is not None
        async with world.running():
            assert ann.connected
            assert (await world.connect("bob")).refusal is not None

    run(story())


def test_tokens_that_live_longer_than_revocations_are_remembered_are_refused() -> None:
    async def story() -> None:
        async with World().running() as world:
            world.verifier.identities["ann"] = identity("ann", expires_at=START + timedelta(days=365))
            assert (await world.connect("ann")).connected
            world.verifier.identities["ann"] = identity("ann", expires_at=START + timedelta(days=365, seconds=1))
            assert (await world.connect("ann")).refusal is not None
            assert world.telemetry.named("refused") == [("invalid_token", "it lives longer than auth.longest_life")]

    run(story())


def test_what_keeps_nobody_out_any_more_is_forgotten() -> None:
    async def story() -> None:
        async with World().running() as world:
            access, admission = world.access, world.admission
            await access.revoke(ANN, START)
            await access.block(BOB, START + SECOND, None)
            world.clock.advance(1)
            await admission.forget()
            assert {one.user for one in (await world.inbox.restricted()).restrictions} == {ANN}
            world.clock.advance(timedelta(days=365, seconds=28).total_seconds())
            await admission.forget()
            assert await world.inbox.restriction(ANN) is not None
            world.clock.advance(1)
            await admission.forget()
            assert (await world.inbox.restricted()).restrictions == ()
            assert not admission._by_user

    run(story())


def test_there_are_no_more_of_them_than_may_be() -> None:
    async def story() -> None:
        async with World(most_restrictions=1).running() as world:
            access = world.access
            await access.revoke(ANN, START)
            await access.block(ANN, None, None)
            with pytest.raises(TooManyRestrictions):
                await access.revoke(BOB, START)
            with pytest.raises(TooManyRestrictions):
                await access.block(BOB, None, None)
            assert (await world.connect("bob")).connected

    run(story())


def test_times_and_reasons_that_mean_nothing_are_refused() -> None:
    async def story() -> None:
        async with World().running() as world:
            access = world.access
            wrong: list[Callable[[], Awaitable[object]]] = [
                lambda: access.revoke(ANN, START + timedelta(seconds=31)),
                lambda: access.block(ANN, START, None),
                lambda: access.block(ANN, None, ""),
                lambda: access.block(ANN, None, "x" * 257),
                lambda: access.block(ANN, None, "a\nb"),
            ]
            for act in wrong:
                with pytest.raises(InvalidArgument):
                    await act()
            assert (await world.inbox.head()).offset == 0
            await access.revoke(ANN, START + timedelta(seconds=30))
            await access.block(ANN, None, "x" * 256)

    run(story())


def test_without_a_store_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with World().running() as world:
            ann = await world.connect("ann")

            async def fail(*_: object) -> object:
                raise StoreUnavailable

            monkeypatch.setattr(world.inbox, "append_control", fail)
            with pytest.raises(StoreUnavailable):
                await world.access.revoke(ANN, None)
            with pytest.raises(StoreUnavailable):
                await world.access.block(ANN, None, None)
            assert ann.connected
            assert (await world.connect("ann")).connected

    run(story())
