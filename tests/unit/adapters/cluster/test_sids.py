"""The names of sessions: whose they are, and that nobody else can make one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from adapters.cluster.sids import SessionNames
from tests.two_nodes import FixedMembers

SECRET = b"s" * 32
FORMER = b"f" * 32


def names(*secrets: bytes) -> tuple[SessionNames, str]:
    members = FixedMembers({}, secrets)
    return SessionNames(members), members.boot


def test_a_name_says_which_node_has_given_it() -> None:
    one, boot = names(SECRET)
    other, _ = names(SECRET)
    sid = one.new()
    assert re.fullmatch(r"[A-Za-z0-9_-]{46}", sid)
    assert one.boot_of(sid) == other.boot_of(sid) == boot


def test_names_differ() -> None:
    one, _ = names(SECRET)
    assert len({one.new() for _ in range(1_000)}) == 1_000


def test_a_name_that_was_given_under_a_former_secret_stays_good() -> None:
    before, boot = names(FORMER)
    after, _ = names(SECRET, FORMER)
    assert after.boot_of(before.new()) == boot
    assert names(SECRET)[0].boot_of(before.new()) is None


def test_a_name_that_nobody_gave_is_noticed() -> None:
    one, _ = names(SECRET)
    sid = one.new()
    for at in range(len(sid)):
        for letter in other_letters(sid[at]):
            assert one.boot_of(sid[:at] + letter + sid[at + 1 :]) is None
    for text in ("", sid[:-1], sid + "A", sid[:-1] + "=", sid[:-1] + "\N{LATIN SMALL LETTER E WITH ACUTE}", "\n" + sid):
        assert one.boot_of(text) is None


def other_letters(letter: str) -> Sequence[str]:
    return [other for other in "A9-_z" if other != letter]
