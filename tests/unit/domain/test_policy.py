from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.connect_requests import connect_request
from domain.errors import (
    ERRORS_MAX,
    DisconnectedByOperator,
    InvalidArgument,
    InvalidPublication,
    InvalidToken,
    PublicationTooLarge,
    ShuttingDown,
    SlowConsumer,
    StoreUnavailable,
    Superseded,
    SynkroneError,
    TokenExpired,
    TooManyConnections,
    UnknownEvent,
)
from domain.model import (
    Ambiguous,
    Audience,
    AudienceKind,
    Entry,
    FieldError,
    Json,
    Position,
    Publication,
    ResumeRequest,
    Room,
)
from domain.policy import (
    AUDIENCE_MAX_USERS,
    ConnectionPolicy,
    is_identifier,
    is_name,
)
from domain.requests import ConnectRequest, CountInbox, Credentials, Malformed, RefreshToken, UnknownCommand
from tests.doubles import START, FixedRandomness
from tests.unit.domain.world import data, identity, publication

POLICY = ConnectionPolicy(uniform=FixedRandomness(0.5).uniform)

# What people and devices call themselves: joined emoji, marks of direction, no-break spaces, combining characters,
# signs of their own, and what is newer than the Unicode of this Python.
USED_IN_NAMES = [
    "Ann's phone \N{MOBILE PHONE}",
    "Ann\u00a0\u2019s\u202fiPhone",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u200fהטלפון של דנה\u200e",
    "\u2764\ufe0f",
    "e\u0301",
    "\ue000\U000f0000",
    "\U0001fae8\U0003fffd",
    "\u202eevil\u202c\u2066x\u2069",
    "\u200b\ufeff\u00ad\u3000",
    "\uffff\ufdd0",
]
NOT_IN_NAMES = [*"\x00\t\n\r\x1f\x7f\x80\x85\x9f\u2028\u2029", "\ud800", "\udfff"]

MEMBERS = ["token", "device", "cursor", "pid", "offset"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(MEMBERS), inner),
    max_leaves=20,
)


def request(auth: object) -> ConnectRequest:
    return connect_request(auth, remote_address="192.0.2.1", transport="test")


class TestCredentials:
    def test_the_token_alone_is_enough(self) -> None:
        assert POLICY.credentials(request({"token": "t"})) == Credentials("t", ResumeRequest(), None)

    def test_the_claim_is_taken_as_it_came_and_what_is_not_known_is_ignored(self) -> None:
        auth = {"token": "t", "cursor": ["?"], "device": "phone", "pid": 7, "offset": {"o": 1}, "other": "x"}
        resume_request = ResumeRequest(pid=7, offset={"o": 1}, cursor=["?"])
        assert POLICY.credentials(request(auth)) == Credentials("t", resume_request, "phone")

    @pytest.mark.parametrize("auth", [None, [], ["t"], "t", 1, True, {}])
    def test_auth_of_another_shape_is_an_invalid_token(self, auth: object) -> None:
        with pytest.raises(InvalidToken):
            POLICY.credentials(request(auth))

    @pytest.mark.parametrize("token", [None, "", 1, True, ["t"], {"t": 1}, "x" * (POLICY.token_bytes + 1)])
    def test_a_token_that_cannot_be_one_is_invalid(self, token: object) -> None:
        with pytest.raises(InvalidToken):
            POLICY.credentials(request({"token": token}))

    def test_the_longest_token(self) -> None:
        assert POLICY.credentials(request({"token": "x" * 16_384})).token == "x" * 16_384

    @pytest.mark.parametrize("device", ["x", "x" * 64, *USED_IN_NAMES])
    def test_devices_as_they_call_themselves(self, device: str) -> None:
        assert POLICY.credentials(request({"token": "t", "device": device})).device == device

    @pytest.mark.parametrize(
        ("device", "says"),
        [
            ("", "must be 1 to 64 characters"),
            ("x" * 65, "must be 1 to 64 characters"),
            (7, "must be a string"),
            (False, "must be a string"),
            ([], "must be a string"),
            *((f"a{bad}b", f"holds U+{ord(bad):04X}, which is not allowed") for bad in NOT_IN_NAMES),
        ],
    )
    def test_what_is_wrong_with_a_device_is_said(self, device: object, says: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            POLICY.credentials(request({"token": "t", "device": device}))
        assert str(refused.value) == f"auth.device: {says}"

    @pytest.mark.parametrize(
        ("repeated", "field"), [("token", "auth.token"), ("", "auth"), ("a\n", "auth"), ("x" * 500, "auth")]
    )
    def test_what_says_something_twice_is_refused(self, repeated: str, field: str) -> None:
        with pytest.raises(InvalidArgument) as refused:
            POLICY.credentials(request(Ambiguous({"token": "t"}, repeated)))
        assert str(refused.value) == f"{field}: is given more than once"

    @given(JSON)
    def test_anything_else_is_refused_with_the_domains_errors_only(self, auth: object) -> None:
        try:
            credentials = POLICY.credentials(request(auth))
        except (InvalidToken, InvalidArgument):
            return
        assert isinstance(auth, dict)
        assert credentials.token == auth["token"]


class TestCommands:
    def test_what_was_read_is_what_is_done(self) -> None:
        token = "x" * POLICY.token_bytes
        assert POLICY.command(RefreshToken(token)) == RefreshToken(token)
        assert POLICY.command(CountInbox()) == CountInbox()

    def test_what_could_not_be_read_is_an_invalid_argument(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^ids\[1\]: must be a string$"):
            POLICY.command(Malformed("ids[1]", "must be a string"))

    def test_what_nobody_knows_is_an_unknown_event(self) -> None:
        with pytest.raises(UnknownEvent):
            POLICY.command(UnknownCommand())

    def test_a_new_token_is_no_longer_than_a_first_one(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^token: must have at most 16384 characters$"):
            POLICY.command(RefreshToken("x" * (POLICY.token_bytes + 1)))


class TestDeadlines:
    @pytest.mark.parametrize(("share", "lead"), [(0.0, 60), (0.5, 90), (1.0, 120)])
    def test_a_long_token_is_announced_one_to_two_minutes_before(self, share: float, lead: float) -> None:
        policy = ConnectionPolicy(uniform=FixedRandomness(share).uniform)
        deadlines = policy.deadlines(identity("ann", expires_at=START + timedelta(seconds=3600)), START, 500.0)
        assert deadlines.warn_at == 500 + 3600 - lead
        assert deadlines.close_at == 500 + 3600 + 30

    def test_a_short_token_is_announced_at_half_its_life(self) -> None:
        deadlines = POLICY.deadlines(identity("ann", expires_at=START + timedelta(seconds=100)), START, 500.0)
        assert (deadlines.warn_at, deadlines.close_at) == (550.0, 630.0)

    def test_a_token_within_its_leeway_is_announced_at_once(self) -> None:
        deadlines = POLICY.deadlines(identity("ann", expires_at=START - timedelta(seconds=10)), START, 500.0)
        assert (deadlines.warn_at, deadlines.close_at) == (500.0, 520.0)

    @given(st.integers(-10_000, 10_000_000))
    def test_the_warning_is_never_after_the_close_nor_in_the_past(self, seconds: int) -> None:
        token = identity("ann", expires_at=START + timedelta(seconds=seconds))
        deadlines = POLICY.deadlines(token, START, 500.0)
        assert 500.0 <= deadlines.warn_at <= deadlines.close_at


class TestRooms:
    def test_a_user_hears_their_own_their_roles_and_everyones(self) -> None:
        assert POLICY.rooms(identity("42", "company")) == {"user:42", "role:company", "everyone"}

    @pytest.mark.parametrize(("connections", "surplus"), [(0, 0), (19, 0), (20, 0), (21, 1), (25, 5)])
    def test_more_than_the_limit_is_surplus(self, connections: int, surplus: int) -> None:
        assert POLICY.surplus(connections) == surplus


class TestPublications:
    def test_an_entry_is_current_until_the_instant_it_expires(self) -> None:
        entry = Entry(Position("e", 1), frozenset(), "notification.new", Json(b"{}"), expires_at=START)
        assert POLICY.is_current(entry, START - timedelta(microseconds=1))
        assert not POLICY.is_current(entry, START)
        assert POLICY.is_current(replace(entry, expires_at=None), START)

    def test_a_publication_without_an_id_gets_one(self) -> None:
        draft = POLICY.draft(publication(), "new", START, "key")
        assert (draft.notification.id, draft.own_id, draft.idempotency_key) == ("new", False, "key")
        assert draft.rooms == {"user:ann"}

    def test_a_publication_keeps_what_it_came_with(self) -> None:
        asked = Publication(
            to=Audience.role("company"),
            type="t",
            title="Title",
            body="Body",
            data=data('{"a":1}'),
            id="own",
            expires_at=START + timedelta(days=1),
        )
        draft = POLICY.draft(asked, "new", START, None)
        notification = draft.notification
        assert (notification.id, draft.own_id, draft.rooms) == ("own", True, frozenset((Room("role:company"),)))
        assert (notification.type, notification.title, notification.body) == ("t", "Title", "Body")
        assert (notification.data, notification.audience) == (b'{"a":1}', AudienceKind.ROLE)
        assert (notification.created_at, notification.expires_at) == (START, START + timedelta(days=1))

    @pytest.mark.parametrize(
        ("asked", "path"),
        [
            (publication(Audience.users([])), "to.users"),
            (publication(Audience.users(str(n) for n in range(AUDIENCE_MAX_USERS + 1))), "to.users"),
            (publication(Audience.users([""])), "to"),
            (publication(Audience.users(["a\nb"])), "to"),
            (publication(Audience.users(["x" * 129])), "to"),
            (publication(Audience.role("")), "to"),
            (publication(type=""), "type"),
            (publication(type="a\tb"), "type"),
            (publication(type="x" * 129), "type"),
            (publication(id=""), "id"),
            (publication(id="a b"), "id"),
            (publication(id="x" * 129), "id"),
            (publication(id="a\n"), "id"),
            (publication(id="."), "id"),
            (publication(id=".."), "id"),
            (publication(id="batch"), "id"),
        ],
    )
    def test_every_bad_field_is_named(self, asked: Publication, path: str) -> None:
        with pytest.raises(InvalidPublication) as caught:
            POLICY.check(asked, "[3].")
        assert [error.path for error in caught.value.errors] == [f"[3].{path}"]

    def test_all_bad_fields_are_named_at_once(self) -> None:
        with pytest.raises(InvalidPublication) as caught:
            POLICY.check(publication(Audience.users([]), type="", id=""))
        assert [error.path for error in caught.value.errors] == ["to.users", "type", "id"]

    @pytest.mark.parametrize(
        "asked",
        [
            publication(Audience.users(str(n) for n in range(AUDIENCE_MAX_USERS))),
            publication(Audience.users(["x" * 128, "a:b", "é"])),
            publication(Audience.role("company"), type="x" * 128, id="A-z.0_9:" * 16),
            publication(Audience.everyone(), title="", body="", data=data("{}")),
        ],
    )
    def test_good_publications_pass(self, asked: Publication) -> None:
        POLICY.check(asked)

    def test_texts_and_data_count_together_in_bytes(self) -> None:
        policy = ConnectionPolicy(notification_bytes=20)
        fits = publication(type="t" * 4, title="é" * 2, body="b" * 5, data=data('{"a":1}'))
        policy.check(fits)
        with pytest.raises(PublicationTooLarge, match="21 bytes; 20 are allowed"):
            policy.check(replace(fits, body="b" * 6))

    def test_a_lone_surrogate_is_a_bad_field_and_no_other_error(self) -> None:
        with pytest.raises(InvalidPublication) as caught:
            POLICY.check(publication(title="\ud800", body="\udfff"))
        assert [error.path for error in caught.value.errors] == ["title", "body"]


class TestGoodbye:
    @pytest.mark.parametrize(
        "error", [TokenExpired("x"), ShuttingDown(), SlowConsumer(), StoreUnavailable(), Superseded()]
    )
    def test_most_clients_are_to_come_back(self, error: SynkroneError) -> None:
        refusal = POLICY.refusal(error)
        assert refusal.reconnect
        assert refusal.problem == error.problem
        assert timedelta(seconds=1) <= refusal.retry_after <= timedelta(seconds=5)

    def test_the_oldest_of_too_many_is_to_stay_away(self) -> None:
        assert not POLICY.refusal(TooManyConnections()).reconnect

    @pytest.mark.parametrize("reconnect", [True, False])
    def test_an_operator_says_whether_to_come_back(self, *, reconnect: bool) -> None:
        assert POLICY.refusal(DisconnectedByOperator(reconnect=reconnect)).reconnect is reconnect

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_the_delay_is_spread_over_one_to_five_seconds(self, share: float) -> None:
        policy = ConnectionPolicy(uniform=FixedRandomness(share).uniform)
        assert policy.reconnect_delay() == 1 + 4 * share

    def test_nobody_to_drain(self) -> None:
        assert list(POLICY.drain_schedule(0)) == []

    def test_few_are_drained_at_the_rate(self) -> None:
        schedule = POLICY.drain_schedule(500)
        assert len(schedule) == 500
        assert schedule[0] == 0
        assert schedule[250] == pytest.approx(1.0)
        assert list(schedule) == sorted(schedule)

    def test_many_are_drained_within_the_time(self) -> None:
        schedule = POLICY.drain_schedule(100_000)
        assert len(schedule) == 100_000
        assert max(schedule) < 20


def test_names_and_identifiers() -> None:
    assert all(map(is_name, ["a", "x" * 128, "é b", "everyone", *USED_IN_NAMES, "\U0001f600" * 128]))
    assert not any(map(is_name, ["", "x" * 129, None, 1, b"a", ["a"], *NOT_IN_NAMES]))
    assert all(map(is_identifier, ["a", "A.b_c:d-9", "x" * 128]))
    assert not any(map(is_identifier, ["", "x" * 129, "é", "a b", "a\n", None, 1, b"a"]))


def test_the_room_of_a_user_named_as_everyone_is_not_everyones() -> None:
    POLICY.check(publication(Audience.users(["everyone"])))
    assert Room.of_user("everyone") != "everyone"


class TestBatches:
    def test_each_is_named_by_its_index(self) -> None:
        with pytest.raises(InvalidPublication) as info:
            POLICY.check_all([publication(), replace(publication(), type="")], by_index=True)
        assert [error.path for error in info.value.errors] == ["[1].type"]

    def test_every_bad_one_is_named(self) -> None:
        unread = InvalidPublication([FieldError("[0].to", "is required"), FieldError("[0].x", "is not known")])
        large = publication(body="x" * 70_000)
        with pytest.raises(InvalidPublication) as info:
            POLICY.check_all([unread, publication(), replace(publication(), type=""), large], by_index=True)
        assert [error.path for error in info.value.errors] == ["[0].to", "[0].x", "[2].type", "[3]"]
        assert info.value.errors_total == 4
        with pytest.raises(PublicationTooLarge, match=r"^\[0\]: .* bytes; .*; \[2\]: ") as too_large:
            POLICY.check_all([large, publication(), large], by_index=True)
        assert [error.path for error in too_large.value.errors] == ["[0]", "[2]"]

    def test_of_very_many_bad_ones_each_is_named_before_the_second_fault_of_any(self) -> None:
        bad = publication(type="", id="")
        for number, extra in ((ERRORS_MAX - 10, 10), (ERRORS_MAX, 0), (1000, 0)):
            with pytest.raises(InvalidPublication) as info:
                POLICY.check_all([bad] * number, by_index=True)
            paths = [error.path for error in info.value.errors]
            firsts = min(number, ERRORS_MAX)
            assert [path for path in paths if path.endswith("type")] == [f"[{index}].type" for index in range(firsts)]
            assert len(paths) == firsts + extra
            assert info.value.errors_total == 2 * number
            assert str(info.value).endswith(f"and {2 * number - 5} more")

    def test_what_is_raised_leads_to_nothing_but_itself(self) -> None:
        """Its traceback holds the frames it came through, and these must not hold it: nothing else would free them."""
        unread = InvalidPublication([FieldError("[0].to", "is required")])
        for batch in ([unread], [unread, unread], [publication(body="x" * 70_000)], [publication(type="")]):
            with pytest.raises(SynkroneError) as info:
                POLICY.check_all(batch, by_index=True)
            traceback = info.value.__traceback__
            while traceback is not None:
                if traceback.tb_frame.f_code.co_name != "test_what_is_raised_leads_to_nothing_but_itself":
                    held = list(traceback.tb_frame.f_locals.values())
                    assert all(info.value is not value for value in held)
                    assert all(info.value not in value for value in held if isinstance(value, list | tuple))
                traceback = traceback.tb_next

    def test_all_together_name_a_bounded_number_of_recipients(self) -> None:
        ten_thousand = publication(Audience.users(str(number) for number in range(AUDIENCE_MAX_USERS)))
        POLICY.check_all([ten_thousand] * 10, by_index=True)
        with pytest.raises(InvalidPublication, match="100000 recipients"):
            POLICY.check_all([ten_thousand] * 10 + [publication()], by_index=True)
