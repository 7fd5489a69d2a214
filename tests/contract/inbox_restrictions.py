"""What every store must do with what is said against users: it is stored with the control that says it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from domain.model import (
    Block,
    BlockUser,
    DisconnectUser,
    Position,
    Restriction,
    RestrictUser,
    RevokeTokens,
    UnblockUser,
    UserId,
)
from domain.rules.restrictions import after
from tests.contract.inbox_harness import HOUR, Following, OpenedStore, OpenStore, at, draft, pass_time
from tests.doubles import START, ManualClock

ANN, BOB = UserId("ann"), UserId("bob")
SECOND = timedelta(seconds=1)
EARLIER, LATER = START - timedelta(microseconds=1), START + HOUR


class RestrictionContract:
    async def test_nobody_is_restricted(self, inbox: OpenedStore) -> None:
        found = await inbox.restricted()
        assert (found.as_of, tuple(found.restrictions)) == (await inbox.head(), ())
        assert await inbox.restriction(ANN) is None

    async def test_each_control_says_the_same_in_the_tail_and_in_the_store(self, inbox: OpenedStore) -> None:
        start = await inbox.head()
        said: list[RestrictUser] = [
            RevokeTokens(ANN, START),
            BlockUser(ANN, LATER, 'a "reason" \u05d3'),
            BlockUser(BOB, None, None),
            RevokeTokens(ANN, EARLIER),
            UnblockUser(BOB),
        ]
        expected: Restriction | None = None
        for number, control in enumerate(said, 1):
            place = await inbox.append_control(control)
            assert place == at(start, number)
            if control.user == ANN:
                expected = after(expected, control, place.offset)
                assert await inbox.restriction(ANN) == expected
        following = Following(inbox, start)
        await following.until(start.offset + len(said))
        assert [entry.control for entry in following.entries] == said
        ann = Restriction(ANN, start.offset + 4, START, Block(LATER, 'a "reason" \u05d3'))
        bob = Restriction(BOB, start.offset + 5)
        found = await inbox.restricted()
        assert (found.as_of, set(found.restrictions)) == (at(start, 5), {ann, bob})

    async def test_a_block_and_its_end_leave_a_revocation_and_it_leaves_them(self, inbox: OpenedStore) -> None:
        for control in (RevokeTokens(ANN, START), BlockUser(ANN, None, "r"), BlockUser(ANN, LATER, None)):
            place = await inbox.append_control(control)
        assert await inbox.restriction(ANN) == Restriction(ANN, place.offset, START, Block(LATER, None))
        place = await inbox.append_control(RevokeTokens(ANN, START + SECOND))
        assert await inbox.restriction(ANN) == Restriction(ANN, place.offset, START + SECOND, Block(LATER, None))
        place = await inbox.append_control(UnblockUser(ANN))
        assert await inbox.restriction(ANN) == Restriction(ANN, place.offset, START + SECOND)

    async def test_what_else_is_logged_restricts_nobody(self, inbox: OpenedStore) -> None:
        await inbox.append_control(DisconnectUser(ANN, reconnect=False))
        await inbox.append([draft("a")])
        assert await inbox.restriction(ANN) is None

    async def test_of_many_at_once_about_one_user_the_last_in_the_log_counts(self, inbox: OpenedStore) -> None:
        times: list[datetime] = [START + SECOND * number for number in range(20)]
        revoked = [inbox.append_control(RevokeTokens(ANN, time)) for time in times]
        blocked = [inbox.append_control(BlockUser(ANN, time + HOUR, str(time))) for time in times]
        places: list[Position] = await asyncio.gather(*revoked, *blocked)
        last = max(range(len(times)), key=lambda number: places[len(times) + number].offset)
        offset = max(place.offset for place in places)
        block = Block(times[last] + HOUR, str(times[last]))
        assert await inbox.restriction(ANN) == Restriction(ANN, offset, times[-1], block)

    async def test_it_stays_when_it_has_left_the_log(self, open_inbox: OpenStore, clock: ManualClock) -> None:
        inbox = await open_inbox(retention=HOUR)
        place = await inbox.append_control(RevokeTokens(ANN, START))
        await pass_time(inbox, clock, 2 * HOUR)
        await inbox.append([draft("b")])
        assert await inbox.restriction(ANN) == Restriction(ANN, place.offset, START)

    async def test_what_is_over_is_forgotten_and_nothing_else(self, inbox: OpenedStore) -> None:
        users: dict[str, list[RestrictUser]] = {
            "revoked long ago": [RevokeTokens(UserId("revoked long ago"), START)],
            "unblocked": [BlockUser(UserId("unblocked"), None, None), UnblockUser(UserId("unblocked"))],
            "block ended": [BlockUser(UserId("block ended"), LATER, None)],
            "both": [RevokeTokens(UserId("both"), EARLIER), BlockUser(UserId("both"), LATER, None)],
        }
        kept: dict[str, list[RestrictUser]] = {
            "revoked": [RevokeTokens(UserId("revoked"), START + SECOND)],
            "blocked": [BlockUser(UserId("blocked"), LATER + SECOND, None)],
            "for ever": [BlockUser(UserId("for ever"), None, None)],
            "one is over": [RevokeTokens(UserId("one is over"), START), BlockUser(UserId("one is over"), None, None)],
            "the other": [RevokeTokens(UserId("the other"), LATER), BlockUser(UserId("the other"), LATER, None)],
        }
        for control in [one for some in (*users.values(), *kept.values()) for one in some]:
            await inbox.append_control(control)
        await inbox.forget_restrictions(issued_before=START, until=LATER)
        found = await inbox.restricted()
        assert {one.user for one in found.restrictions} == set(kept)
