"""What every store must do: all of it in one suite, as an adapter runs it."""

from __future__ import annotations

import pytest
from tornado.ioloop import IOLoop

from tests.contract.inbox_all_of import AllOfContract
from tests.contract.inbox_arrivals import ArriveContract
from tests.contract.inbox_changes import ChangeContract, ReadAllContract, ReadUpToContract
from tests.contract.inbox_collapse import CollapseContract
from tests.contract.inbox_controls import ControlContract
from tests.contract.inbox_deletions import DeletionContract
from tests.contract.inbox_erasures import ErasureContract
from tests.contract.inbox_harness import OpenedStore, OpenStore, draft
from tests.contract.inbox_items import CountContract, ListContract, WindowContract
from tests.contract.inbox_ledger import AddressedContract, LedgerContract
from tests.contract.inbox_log import AppendContract, FollowContract
from tests.contract.inbox_races import RaceContract
from tests.contract.inbox_recalls import RecallContract
from tests.contract.inbox_recipients import RecipientsContract
from tests.contract.inbox_restrictions import RestrictionContract
from tests.contract.inbox_revisions import RevisionContract
from tests.contract.inbox_role_sets import RoleSetsContract
from tests.contract.inbox_schedule import ScheduleContract
from tests.contract.inbox_snooze import SnoozeContract
from tests.contract.inbox_snoozed_list import SnoozedListContract
from tests.contract.inbox_subscribers import EnterContract, MarksContract, SinceContract, TrimmingContract
from tests.contract.inbox_topics import TopicContract
from tests.doubles import ManualClock


@pytest.mark.gen_test
class StoreContract(
    AppendContract,
    FollowContract,
    ControlContract,
    RestrictionContract,
    SinceContract,
    TrimmingContract,
    EnterContract,
    MarksContract,
    ArriveContract,
    ListContract,
    CountContract,
    WindowContract,
    ChangeContract,
    ReadAllContract,
    ReadUpToContract,
    RaceContract,
    AddressedContract,
    LedgerContract,
    RecipientsContract,
    RecallContract,
    RevisionContract,
    ScheduleContract,
    CollapseContract,
    TopicContract,
    AllOfContract,
    RoleSetsContract,
    SnoozeContract,
    SnoozedListContract,
    ErasureContract,
    DeletionContract,
):
    """Subclass it, and give it an ``open_inbox``, which opens stores that live by the ``clock``."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def open_inbox(self, clock: ManualClock) -> OpenStore:
        raise NotImplementedError

    @pytest.fixture
    def inbox(self, io_loop: IOLoop, open_inbox: OpenStore) -> OpenedStore:
        opened: OpenedStore = io_loop.run_sync(open_inbox)
        return opened

    async def test_a_store_has_a_secret_of_its_own(self, open_inbox: OpenStore) -> None:
        first, second = await open_inbox(), await open_inbox()
        secret = await first.secret()
        assert len(secret) == 32
        await first.append([draft("a")])
        assert await first.secret() == secret
        assert await second.secret() != secret

    async def test_stores_know_each_other_s_cursors_apart(self, open_inbox: OpenStore) -> None:
        first, second = await open_inbox(), await open_inbox()
        assert (await first.head()).epoch != (await second.head()).epoch

    async def test_a_store_that_is_given_more_takes_more(self, inbox: OpenedStore) -> None:
        before = await inbox.size()
        await inbox.append([draft(str(number), body="x" * 1000) for number in range(1000)])
        assert await inbox.size() > before + 1_000_000

    async def test_a_store_that_works_can_be_written_to(self, inbox: OpenedStore) -> None:
        await inbox.ensure_writable()
        await inbox.append([draft("a")])
        await inbox.ensure_writable()
