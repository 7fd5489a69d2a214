"""What became of a notification for a user, as it follows from what is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.model import (
    EVERYONE,
    SERVER_STOPPED,
    Addressed,
    AddressedPage,
    AudienceKind,
    Block,
    ConnectionHistory,
    ConnectionId,
    ConnectionRecord,
    DisconnectReason,
    Outcome,
    Position,
    Receipt,
    Room,
    UserId,
)
from domain.rules.deliveries import Case, awaited, case, stays
from domain.rules.wording import sentence
from tests.doubles import START

ANN = UserId("ann")
OWN, COMPANY = Room.of_user("ann"), Room.of_role("company")
OFFSET = 10


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


NOW = at(1000)


def notification(*rooms: Room, audience: AudienceKind = AudienceKind.USER, **members: Any) -> Addressed:
    values: dict[str, Any] = {"expires_at": None, "has_left": False, "read_at": None, "read_by": None, "deleted": False}
    return Addressed("n", Position("e", OFFSET), at(100), audience, frozenset(rooms or (OWN,)), **(values | members))


def connection(name: str, since: float, **members: Any) -> ConnectionRecord:
    """From before the notification; it was live at once."""
    values: dict[str, Any] = {
        "user": ANN,
        "role": "freelance",
        "device": "phone",
        "transport": "websocket",
        "pid": f"pid of {name}",
        "after": 5,
        "replayed": 5,
    }
    return ConnectionRecord(id=ConnectionId(name), number=1, since=at(since), **(values | members))


def ended(
    one: ConnectionRecord, until: float, *, sent: int = OFFSET, why: str = DisconnectReason.TRANSPORT_CLOSE, **more: Any
) -> ConnectionRecord:
    return replace(one, until=at(until), ended=str(why), sent=sent, **more)


def judged(
    what: Addressed,
    *connections: ConnectionRecord,
    receipts: Sequence[Receipt] = (),
    unsent: Mapping[ConnectionId, frozenset[int]] | None = None,
    starts: Mapping[Room, int] | None = None,
    marks: Mapping[str, int] | None = None,
    complete_since: datetime | None = START,
    block: Block | None = None,
) -> Case:
    page = AddressedPage([what], None, starts or {}, marks or {}, complete_since)
    history = ConnectionHistory(connections, unsent or {})
    followed = stays(connections)
    received = {
        (one.connection, one.offset): receipt.at
        for one in awaited(ANN, page, followed, history)
        for receipt in reversed(receipts)
        if receipt.upto.get(one.connection, -1) >= one.offset
    }
    return case(ANN, what, page, followed, history, received, block, NOW)


def outcome(what: Addressed, *connections: ConnectionRecord, **known: Any) -> Outcome:
    return judged(what, *connections, **known).outcome


LIVE = connection("c", 50)


@pytest.mark.parametrize(
    ("marks", "why"),
    [({}, "They have not connected."), ({"freelance": OFFSET - 1}, "They had no connection since.")],
    ids=["never came", "came before"],
)
def test_nobody_was_there(marks: Mapping[str, int], why: str) -> None:
    found = judged(notification(), marks=marks)
    assert (found.outcome, found.attempts) == (Outcome.WAITING, [])
    assert sentence(found) == f"It was stored at 2030-01-31 12:01:40 UTC. {why} It is sent as soon as they connect."


def test_whoever_never_came_was_not_connected_however_short_the_ledger() -> None:
    found = judged(notification(), complete_since=None)
    assert sentence(found).startswith("It was stored at 2030-01-31 12:01:40 UTC. They have not connected. ")


@pytest.mark.parametrize(
    ("until", "expires", "to_come"),
    [
        (None, None, "ann is blocked, without an end: it is {} once the block is taken back, {}."),
        (2000, None, "ann is blocked until 2030-01-31 12:33:20 UTC: it is {} after that, {}."),
        (2000, 2001, "ann is blocked until 2030-01-31 12:33:20 UTC: it is {} after that, {}."),
        (
            *(2000, 1999),
            "ann is blocked until 2030-01-31 12:33:20 UTC, and it expires before that, at 2030-01-31 12:33:19 UTC.",
        ),
        # It is over.
        (1000, None, "It is {} {}."),
    ],
    ids=["for good", "for a time", "expires after it", "expires within it", "over"],
)
def test_whoever_is_blocked_cannot_be_sent_it_before_that_is_over(
    until: float | None, expires: float | None, to_come: str
) -> None:
    what = notification(expires_at=at(expires) if expires is not None else None)
    block = Block(at(until) if until is not None else None, "a reason that is for operators")
    waiting = judged(what, block=block)
    assert waiting.outcome is Outcome.WAITING
    assert sentence(waiting).endswith(f"They have not connected. {to_come.format('sent', 'as soon as they connect')}")
    sent = judged(what, ended(LIVE, 120), block=block)
    assert sent.outcome is Outcome.SENT
    assert sentence(sent).endswith(
        f"as the line was cut. {to_come.format('sent again', 'when that client comes back')}"
    )
    # What has arrived, or never will, is told as it is of anybody.
    for arrived in (notification(deleted=True), notification(expires_at=at(900))):
        assert "blocked" not in sentence(judged(arrived, block=block))


def test_a_live_connection_was_sent_it_as_it_was_stored_and_confirmed_it() -> None:
    receipt = Receipt(at(101), {ConnectionId("c"): OFFSET})
    found = judged(notification(), replace(LIVE, sent=12), receipts=[receipt])
    (attempt,) = found.attempts
    assert found.outcome is Outcome.RECEIVED
    assert (attempt.sent_at, attempt.received_at) == (at(100), at(101))
    assert sentence(found) == (
        "It was sent to the device “phone” over websocket at 2030-01-31 12:01:40 UTC, and had arrived by "
        "2030-01-31 12:01:41 UTC."
    )


def test_a_receipt_of_less_is_none() -> None:
    receipts = [Receipt(at(101), {ConnectionId("c"): OFFSET - 1}), Receipt(at(102), {ConnectionId("other"): 99})]
    found = judged(notification(), replace(LIVE, sent=12), receipts=receipts)
    assert found.outcome is Outcome.SENT
    assert sentence(found) == (
        "It was sent to the device “phone” over websocket at 2030-01-31 12:01:40 UTC, but nothing shows that it "
        "arrived: the connection is open, and its client has not confirmed it yet. It is sent again when that client "
        "comes back."
    )


def test_what_a_connection_had_at_its_end_it_had_received() -> None:
    found = judged(notification(), ended(LIVE, 120, received=OFFSET))
    assert (found.outcome, found.attempts[0].received_at) == (Outcome.RECEIVED, at(120))


def test_a_cut_before_it_was_confirmed() -> None:
    found = judged(notification(), ended(LIVE, 120, received=9))
    assert found.outcome is Outcome.SENT
    assert "the connection ended at 2030-01-31 12:02:00 UTC, as the line was cut." in sentence(found)


UNNAMED = {
    *(DisconnectReason.NEVER_CONNECTED, DisconnectReason.ALREADY_ENDED, DisconnectReason.AT_CAPACITY),
    *(DisconnectReason.INVALID_TOKEN, DisconnectReason.INVALID_ARGUMENT, DisconnectReason.KEYS_UNAVAILABLE),
    DisconnectReason.DEFECT,
}
"""They keep a connection from beginning, or say more to whoever has to mend it than to others."""


@pytest.mark.parametrize("why", DisconnectReason)
def test_it_is_said_in_words_why_a_connection_ended(why: DisconnectReason) -> None:
    said = sentence(judged(notification(), ended(LIVE, 120, why=why)))
    assert (f"it ended with {why}" in said) == (why in UNNAMED), said


def test_a_cut_before_it_was_sent() -> None:
    assert outcome(notification(), ended(LIVE, 120, sent=9)) is Outcome.WAITING


def test_a_client_that_comes_back_beyond_it_had_it() -> None:
    first = ended(LIVE, 120, received=7)
    back = connection("d", 130, pid=first.pid, continues=first.pid, after=OFFSET, had=OFFSET, sent=OFFSET)
    found = judged(notification(), first, back)
    assert found.outcome is Outcome.RECEIVED
    assert [attempt.received_at for attempt in found.attempts if attempt.sent_at is not None] == [at(130)]


def test_one_that_comes_back_before_it_had_not() -> None:
    first = ended(LIVE, 120, received=7)
    back = connection("d", 130, pid=first.pid, continues=first.pid, after=9, had=9, replayed=OFFSET, sent=OFFSET)
    found = judged(notification(), first, back)
    assert found.outcome is Outcome.SENT
    assert [attempt.sent_at for attempt in found.attempts] == [at(100), at(130)]
    assert "It was sent 2 times by then." in sentence(found)


def test_another_client_that_had_it_does_not_speak_for_this_one() -> None:
    phone, desk = ended(LIVE, 120, received=7), connection("desk", 60, device="desk", sent=12)
    back = connection("desk 2", 130, pid=desk.pid, continues=desk.pid, after=OFFSET, had=OFFSET, sent=OFFSET)
    found = judged(notification(), phone, ended(desk, 125, received=9), back)
    received = {attempt.connection.id: attempt.received_at for attempt in found.attempts if attempt.sent_at is not None}
    assert received == {"c": None, "desk": at(130)}


def test_a_library_without_a_pid_is_known_by_its_device() -> None:
    first = ended(connection("a", 50, device="watch"), 120)
    back = connection("b", 130, device="watch", after=OFFSET, had=OFFSET, sent=OFFSET)
    other = connection("b", 130, device="desk", after=OFFSET, had=OFFSET, sent=OFFSET)
    assert outcome(notification(), first, back) is Outcome.RECEIVED
    assert outcome(notification(), first, other) is Outcome.SENT


def test_what_a_server_sent_just_before_it_stopped_was_sent_if_the_client_has_it() -> None:
    stopped = ended(LIVE, 99, sent=8, why=SERVER_STOPPED)
    stopped = replace(stopped, until=at(101))
    assert outcome(notification(), stopped) is Outcome.WAITING
    beyond = connection("d", 130, pid=stopped.pid, continues=stopped.pid, after=OFFSET, had=OFFSET, sent=OFFSET)
    assert outcome(notification(), stopped, beyond) is Outcome.RECEIVED
    before = replace(beyond, after=8, had=8, replayed=OFFSET)
    assert outcome(notification(), stopped, before, receipts=[]) is Outcome.SENT


def test_the_same_holds_while_nobody_has_noticed_that_the_server_stopped() -> None:
    unnoticed = replace(LIVE, sent=8)
    of_one_second = notification(expires_at=at(101))
    assert outcome(of_one_second, unnoticed) is Outcome.EXPIRED
    # Its library knows no pid.
    back = connection("d", 130, after=OFFSET, had=OFFSET, sent=OFFSET)
    assert outcome(of_one_second, unnoticed, back) is Outcome.RECEIVED
    before = replace(back, after=8, had=8)
    assert outcome(of_one_second, unnoticed, before) is Outcome.EXPIRED


def test_a_connection_that_a_stopped_server_had_no_time_to_note() -> None:
    first = ended(LIVE, 99, sent=8)
    first = replace(first, until=at(101))
    back = connection("d", 130, pid=first.pid, continues=first.pid, after=OFFSET + 3, had=OFFSET + 3, sent=OFFSET + 3)
    found = judged(notification(), first, back)
    assert (found.outcome, found.is_unwitnessed) == (Outcome.RECEIVED, True)
    assert "after a connection of which the server noted nothing" in sentence(found)
    expired = notification(expires_at=at(120))
    assert outcome(expired, first, back) is Outcome.EXPIRED


@pytest.mark.parametrize(
    ("expires", "skipped", "unsent", "replayed", "was_sent"),
    [
        (None, (), (), 5, True),
        (at(900), (), (), 5, True),
        # It expired before the connection began.
        (at(40), (), (), 20, False),
        # It expired while it was replayed, or waited for in a pause.
        (at(110), (OFFSET,), (), 20, False),
        # It had expired as its turn came to go to all that were live.
        (at(110), (), (OFFSET,), 5, False),
        # That is nothing to one that was sent it by a replay.
        (at(110), (), (OFFSET,), 20, True),
        (at(110), (9, 11), (9, 11), 5, True),
    ],
)
def test_what_had_expired_was_not_sent(
    expires: datetime | None, skipped: tuple[int, ...], unsent: tuple[int, ...], replayed: int, *, was_sent: bool
) -> None:
    one = ended(replace(LIVE, skipped=skipped, replayed=replayed), 120)
    found = judged(notification(expires_at=expires), one, unsent={one.id: frozenset(unsent)})
    assert bool(found.sent) is was_sent


def test_it_expired_before_they_came() -> None:
    late = connection("c", 300, after=2, replayed=20, sent=20)
    found = judged(notification(expires_at=at(200)), late)
    assert found.outcome is Outcome.EXPIRED
    assert sentence(found) == (
        "It was stored at 2030-01-31 12:01:40 UTC. They had no connection since. It expired at 2030-01-31 12:03:20 UTC."
    )


def test_what_was_received_stays_so_when_it_expires_or_leaves_the_log() -> None:
    one = ended(LIVE, 120, received=OFFSET)
    assert outcome(notification(expires_at=at(200), has_left=True), one) is Outcome.RECEIVED


def test_it_left_the_log_before_they_came() -> None:
    found = judged(notification(has_left=True), marks={"freelance": 15})
    assert found.outcome is Outcome.TRIMMED
    assert sentence(found).endswith(
        "It has left the log since and is not sent any more, but may still be in their inbox."
    )


def test_they_deleted_it() -> None:
    found = judged(notification(deleted=True), ended(LIVE, 120, received=OFFSET))
    assert found.outcome is Outcome.DELETED
    assert sentence(found).endswith("had arrived by 2030-01-31 12:02:00 UTC. They deleted it.")


TAKEN_BACK = "Its publisher took it back. It was over at 2030-01-31 12:03:20 UTC."
TAKEN_THE_PLACE_OF = "One that was published at 2030-01-31 12:03:20 UTC has taken its place."
SNOOZED = "They snoozed it until 2030-01-31 13:00:00 UTC."
ARCHIVED = "They archived it at 2030-01-31 12:03:20 UTC."


@pytest.mark.parametrize(
    ("became", "said"),
    [
        ({"recalled": True, "expires_at": at(200)}, TAKEN_BACK),
        ({"replaced_at": at(200)}, TAKEN_THE_PLACE_OF),
        ({"replaced_at": at(150), "recalled": True, "expires_at": at(200)}, TAKEN_BACK),
        ({"expires_at": at(200)}, "It expired at 2030-01-31 12:03:20 UTC."),
        ({"expires_at": at(2000)}, ""),
        ({"snoozed_until": at(3600)}, SNOOZED),
        ({"archived_at": at(200)}, ARCHIVED),
        ({"archived_at": at(200), "snoozed_until": at(3600)}, SNOOZED),
        ({"replaced_at": at(200), "snoozed_until": at(3600)}, TAKEN_THE_PLACE_OF),
    ],
)
def test_why_what_arrived_is_not_shown_any_more(became: Mapping[str, Any], said: str) -> None:
    arrived = ended(LIVE, 120, received=OFFSET)
    found = judged(notification(**became), arrived)
    assert (found.outcome, found.attempts[0].received_at) == (Outcome.RECEIVED, at(120))
    end = "and had arrived by 2030-01-31 12:02:00 UTC."
    assert sentence(found).endswith(f"{end} {said}" if said else end)
    read = sentence(judged(notification(**became, read_at=at(130)), arrived))
    assert read.endswith(
        " ".join(part for part in (end, "It was marked as read at 2030-01-31 12:02:10 UTC.", said) if part)
    )


@pytest.mark.parametrize(
    ("did", "said"), [({"snoozed_until": at(3600)}, SNOOZED), ({"archived_at": at(200)}, ARCHIVED)]
)
def test_what_a_user_did_to_one_that_no_device_of_theirs_has(did: Mapping[str, Any], said: str) -> None:
    assert sentence(judged(notification(**did))).endswith(f"It is sent as soon as they connect. {said}")
    assert said not in sentence(judged(notification(**did, expires_at=at(200))))


def test_it_is_said_when_and_by_what_it_was_read() -> None:
    read = notification(read_at=at(150), read_by="desk")
    assert sentence(judged(read, ended(LIVE, 120, received=OFFSET))).endswith(
        "It was marked as read at 2030-01-31 12:02:30 UTC by the device “desk”."
    )


def test_it_was_for_others() -> None:
    others = replace(notification(), rooms=frozenset())
    found = judged(others, replace(LIVE, sent=12))
    assert found.outcome is Outcome.NOT_ADDRESSED
    assert sentence(found) == "It was published for other users, and not for ann."


@pytest.mark.parametrize(
    ("start", "becomes"), [(None, Outcome.NOT_ADDRESSED), (10, Outcome.NOT_ADDRESSED), (9, Outcome.WAITING)]
)
def test_what_is_older_than_a_user_s_start_in_a_room_does_not_exist_for_them(
    start: int | None, becomes: Outcome
) -> None:
    of_role = notification(COMPANY, audience=AudienceKind.ROLE)
    starts = {COMPANY: start} if start is not None else {}
    assert outcome(of_role, starts=starts) is becomes
    of_all = notification(EVERYONE, audience=AudienceKind.EVERYONE)
    assert outcome(of_all, starts={EVERYONE: start} if start is not None else {}) is becomes
    if becomes is Outcome.NOT_ADDRESSED:
        for what, before in ((of_role, "had never come in that role"), (of_all, "had never come")):
            assert sentence(judged(what)).endswith(
                f"by then ann {before}, neither by a connection nor over HTTP: what is older does not exist for them."
            )


def test_of_several_groups_none_is_left_out() -> None:
    roles = [Room.of_role(role) for role in ("driver", "admin", "owner")]
    topics = [Room.of_topic(topic) for topic in ("p2", "p1")]
    never = "neither by a connection nor over HTTP: what is older does not exist for them."
    assert sentence(judged(notification(*roles, audience=AudienceKind.ROLE))) == (
        "It was published for the role admin or driver or owner at 2030-01-31 12:01:40 UTC, and by then ann had never "
        f"come in any of them, {never}"
    )
    assert sentence(judged(notification(*topics, audience=AudienceKind.TOPIC))) == (
        "It was published for the topic p1 or p2 at 2030-01-31 12:01:40 UTC, and ann was in none of them by then."
    )
    assert sentence(judged(notification(*roles, *topics, audience=AudienceKind.TOPIC))) == (
        "It was published for the topic p1 or p2 or the role admin or driver or owner at 2030-01-31 12:01:40 UTC, and "
        "ann was in none of them by then."
    )
    assert sentence(judged(notification(topics[0], audience=AudienceKind.TOPIC))) == (
        "It was published for the topic p2 at 2030-01-31 12:01:40 UTC, and ann was not in it by then."
    )


def test_a_connection_in_another_role_is_not_sent_it() -> None:
    of_role = notification(COMPANY, audience=AudienceKind.ROLE)
    freelance = ended(LIVE, 120, received=12)
    found = judged(of_role, freelance, starts={COMPANY: 1})
    assert (found.outcome, [attempt.sent_at for attempt in found.attempts]) == (Outcome.WAITING, [None])
    assert "They were connected since, but only in the role freelance, which it is not for." in sentence(found)
    company = ended(connection("d", 60, role="company"), 120, received=12)
    assert outcome(of_role, freelance, company, starts={COMPANY: 1}) is Outcome.RECEIVED


def test_a_cursor_from_a_list_says_that_they_have_it() -> None:
    of_role = notification(COMPANY, audience=AudienceKind.ROLE)
    listed = connection("c", 300, after=20, had=20, replayed=20, sent=20)
    assert outcome(notification(), listed, marks={"freelance": 20}) is Outcome.RECEIVED
    assert outcome(of_role, listed, starts={COMPANY: 1}, marks={"freelance": 20}) is Outcome.WAITING
    assert outcome(of_role, listed, starts={COMPANY: 1}, marks={"company": 20}) is Outcome.RECEIVED


def test_what_is_older_than_the_ledger_is_known_by_the_mark_alone() -> None:
    for complete_since in (None, at(500)):
        has = judged(notification(has_left=True), marks={"freelance": OFFSET}, complete_since=complete_since)
        assert has.outcome is Outcome.RECEIVED
        assert "how it was delivered is not kept for so long" in sentence(has)
        has_not = judged(notification(), marks={"freelance": 9}, complete_since=complete_since)
        assert has_not.outcome is Outcome.WAITING
        assert "Whether they were connected since is not kept for so long." in sentence(has_not)


def test_only_what_has_to_do_with_it_is_listed() -> None:
    receipt = Receipt(at(101), {ConnectionId("c"): OFFSET})
    before, after = ended(connection("old", 10), 90, sent=9), connection("new", 500, after=15, sent=15)
    during = ended(connection("role", 99, role="company", after=4, sent=4), 140, sent=4)
    found = judged(notification(), before, LIVE_SENT, during, after, receipts=[receipt])
    assert [attempt.connection.id for attempt in found.attempts] == ["c", "role"]


LIVE_SENT = replace(LIVE, sent=12)


def test_a_client_that_comes_back_too_late_for_what_follows_had_what_its_cursor_says() -> None:
    first = ended(LIVE, 120, received=7)
    back = connection("d", 500, pid="another", continues=first.pid, after=20, had=OFFSET, replayed=20, sent=20)
    assert outcome(notification(has_left=True), first, back) is Outcome.RECEIVED
    assert outcome(notification(has_left=True), first, replace(back, had=9)) is Outcome.TRIMMED


def test_what_its_publisher_took_back_before_it_arrived_says_so() -> None:
    what = notification(recalled=True, expires_at=at(200))
    waiting = judged(what)
    assert waiting.outcome is Outcome.DELETED
    assert sentence(waiting) == (
        "It was stored at 2030-01-31 12:01:40 UTC. They have not connected. Its publisher took it back. It was "
        "over at 2030-01-31 12:03:20 UTC."
    )
    # Whoever came later was not sent it.
    late = judged(what, connection("late", 300))
    assert (late.outcome, late.sent) == (Outcome.DELETED, [])
    sent = judged(what, ended(LIVE, 120))
    assert sent.outcome is Outcome.DELETED
    assert "It was sent to the device “phone”" in sentence(sent)
    assert judged(what, ended(LIVE, 120, received=OFFSET)).outcome is Outcome.RECEIVED
    assert "They deleted it." in sentence(judged(replace(what, deleted=True)))


def test_what_a_later_one_has_taken_the_place_of_says_so() -> None:
    what = notification(replaced_at=at(200))
    waiting = judged(what)
    assert waiting.outcome is Outcome.DELETED
    assert sentence(waiting) == (
        "It was stored at 2030-01-31 12:01:40 UTC. They have not connected. One that was published at "
        "2030-01-31 12:03:20 UTC has taken its place."
    )
    # Whoever came later was given the later one alone.
    late = judged(what, connection("late", 300))
    assert (late.outcome, late.sent) == (Outcome.DELETED, [])
    assert judged(what, ended(LIVE, 120, received=OFFSET)).outcome is Outcome.RECEIVED
