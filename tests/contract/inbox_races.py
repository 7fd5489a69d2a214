"""Whatever is asked of a store at once, every answer is that of one moment: the one of its ``as_of``."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest

from adapters.contract.events import item_json
from domain.model import EVERYONE, Action, Changed, InboxQuery, ItemState, Listing
from tests.campaigning import examples
from tests.contract.inbox_harness import (
    ANN,
    BOB,
    COMPANY,
    Following,
    OpenedStore,
    assert_readable,
    draft,
    register,
)
from tests.contract.inbox_recount import recount
from tests.doubles import START

PUBLISHED = 60
PLENTY = timedelta(days=30)


class RaceContract:
    @pytest.mark.campaign
    @pytest.mark.parametrize("seed", range(examples(2, in_full=50)))
    async def test_every_answer_is_what_the_log_says_up_to_its_as_of(self, inbox: OpenedStore, seed: int) -> None:
        chance = random.Random(seed)
        ann, bob = await register(inbox), await register(inbox, "bob")
        start = await inbox.head()
        # What is asked comes before, between and after what is published, however long a store takes for either.
        published = [asyncio.Event() for _ in range(PUBLISHED + 1)]
        published[0].set()

        async def ask() -> tuple[Any, Any]:
            """Something at random, of one of the two: who asked, and the answer."""
            whom = chance.choice((ann, bob))
            at = START + timedelta(seconds=chance.randint(1, 1000))
            ids = [f"n-{number}" for number in chance.sample(range(PUBLISHED), 8)]
            await published[chance.randint(0, PUBLISHED)].wait()
            match chance.randint(0, 5):
                case 0:
                    return whom, await inbox.count(whom)
                case 1 | 2:
                    return whom, await inbox.list_items(whom, InboxQuery(limit=1000, state=ItemState.ALL))
                case 3:
                    return whom, await inbox.read_all(whom, chance.choice((None, start, await inbox.head())), at)
                case _:
                    return whom, await inbox.change(whom, chance.choice(list(Action)), ids, at)

        async def publish() -> None:
            for number in range(PUBLISHED):
                await inbox.append([draft(f"n-{number}", *chance.sample((ANN, BOB, COMPANY, EVERYONE), 2))])
                published[number + 1].set()

        async def read() -> None:
            """What was read can be read on from at once, and the same holds for what is answered."""
            for _ in range(40):
                page = await inbox.read(ann, start, max_entries=1000, max_bytes=1 << 20)
                await assert_readable(inbox, ann, page.upto)

        async def ask_and_read_on() -> tuple[Any, Any]:
            whom, answer = await ask()
            await assert_readable(inbox, whom, answer.as_of)
            return whom, answer

        _, _, *answers = await asyncio.gather(publish(), read(), *(ask_and_read_on() for _ in range(150)))

        following = Following(inbox, start)
        await following.until((await inbox.head()).offset)
        for whom, answer in answers:
            log = [entry for entry in following.entries if entry.position.offset <= answer.as_of.offset]
            expected = recount(log, whom, START, per_user=10_000, retention=PLENTY)
            counts = answer.counts
            assert (counts.unread, counts.unseen, counts.total) == expected.counts
            if isinstance(answer, Listing):
                assert [json.loads(item_json(item)) for item in answer.items] == expected.items
        changed = sum(answer.changed for _, answer in answers if isinstance(answer, Changed))
        named = [json.loads(entry.payload).get("ids", ()) for entry in following.entries]
        assert changed >= sum(map(len, named)) > 0
