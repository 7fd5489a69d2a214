"""A database fails over while three nodes serve: synchronously nothing that was answered is lost; asynchronously some
is, and nobody goes on into the gap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from adapters.store.postgresql import connecting
from tests.integration.postgresql_failover import Story, stored_in, story
from tests.postgresql import PostgresqlServer, running_copy, running_server
from tests.serving import eventually

pytestmark = [pytest.mark.check, pytest.mark.campaign]

PROMOTIONS = 25 if os.environ.get("CAMPAIGN") == "full" else 2


@pytest.fixture(params=[15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresqlServer]:
    with running_server(request.param) as server:
        yield server


def answered_of(told: Story) -> set[str]:
    """The ids of what publishers were told is stored."""
    return {id_ for publisher in told.publishers for id_ in publisher.answered}


def ids_in(server: PostgresqlServer, told: Story) -> set[str]:
    return {id_ for _, id_ in stored_in(server, told.database)}


async def publish_all_again(told: Story) -> None:
    for publisher in told.publishers:
        for id_ in list(publisher.answered):
            await publisher.publish(id_)


async def fail_over(told: Story) -> None:
    await asyncio.to_thread(told.primary.fail_over)
    told.lead_to(told.primary.server)


@pytest.mark.gen_test(timeout=600)
async def test_synchronously_nothing_that_was_answered_is_lost(server: PostgresqlServer) -> None:
    async with story(server, server.new_store(), sync=True) as told:
        for _ in range(PROMOTIONS):
            await told.publish_a_little()
            await fail_over(told)
        await told.publish_a_little()
    assert answered_of(told) <= set(told.stored)
    print(f"{PROMOTIONS} promotions, {told.answered} answered, 0 lost")


@pytest.mark.gen_test(timeout=600)
async def test_asynchronously_nobody_goes_on_into_what_was_lost(server: PostgresqlServer) -> None:
    lost: set[str] = set()
    async with story(server, server.new_store(), sync=False) as told:
        for _ in range(PROMOTIONS):
            await told.publish_a_little()
            await asyncio.to_thread(told.primary.hold_standby_back)
            await told.publish_a_little()
            before = answered_of(told)
            await fail_over(told)
            lost |= before - ids_in(told.primary.server, told)
        await told.publish_a_little()
        # Whoever publishes again what was lost stores it once.
        await publish_all_again(told)
    assert answered_of(told) <= set(told.stored)
    assert lost
    reasons = [reason for client in told.clients for reason in client.reasons]
    assert "invalid" in reasons
    assert set(reasons) <= {"invalid", "unknown_epoch"}
    print(f"{PROMOTIONS} promotions, {told.answered} answered, {len(lost)} lost, {len(reasons)} cursors refused")


@pytest.mark.gen_test(timeout=120)
async def test_two_standbys_are_promoted_and_neither_is_taken_for_the_other(server: PostgresqlServer) -> None:
    """Both have the same system identifier and timeline, and go on at the same offset."""
    async with story(server, server.new_store(), sync=False, clients=6) as told:
        await told.publish_a_little()
        with running_copy(told.primary.server, follows=True) as other:
            await told.publish_a_little()
            await asyncio.to_thread(told.primary.fail_over)
            await asyncio.to_thread(other.promote)
            for server_ in (other, told.primary.server, other, told.primary.server):
                told.lead_to(server_)
                await told.publish_a_little()
        epochs = told.primary.server.execute("SELECT count(DISTINCT incarnation) FROM synkrone.epochs", told.database)
        assert epochs >= [(2,)]
        await publish_all_again(told)


@pytest.mark.gen_test(timeout=120)
async def test_a_base_backup_that_is_started_beside_the_primary_is_another_database(server: PostgresqlServer) -> None:
    async with story(server, server.new_store(), sync=False, clients=6) as told:
        await told.publish_a_little()
        with running_copy(told.primary.server, follows=False) as clone:
            await told.publish_a_little()
            told.lead_to(clone)
            await told.publish_a_little()
            told.lead_to(told.primary.server)
            await told.publish_a_little()
        await publish_all_again(told)
        assert all(set(client.reasons) <= {"invalid", "unknown_epoch"} for client in told.clients)


CANCEL = "SELECT count({}(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


async def restart(told: Story) -> None:
    await asyncio.to_thread(told.primary.server.stop)
    await asyncio.to_thread(told.primary.server.start)


async def cancel(told: Story) -> None:
    told.primary.server.execute(CANCEL.format("pg_cancel_backend"))


async def terminate(told: Story) -> None:
    told.primary.server.execute(CANCEL.format("pg_terminate_backend"))


@pytest.mark.parametrize("interrupt", [cancel, terminate, restart])
@pytest.mark.gen_test(timeout=120)
async def test_a_wait_for_the_standby_that_is_cut_short_is_no_answer(
    server: PostgresqlServer, interrupt: Callable[[Story], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting.Line, "answer_seconds", 2.0)
    async with story(server, server.new_store(), sync=True) as told:
        await told.publish_a_little()
        await asyncio.to_thread(told.primary.hold_standby_back)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        await eventually(lambda: told.primary.server.execute(waiting) != [(0,)], within=10)
        for _ in range(3):
            await interrupt(told)
            await asyncio.sleep(0.5)
        # What the standby never had was not answered, though others may have seen it.
        assert answered_of(told) <= ids_in(told.primary.standby, told)
        await fail_over(told)
        await told.publish_a_little()
    assert answered_of(told) <= set(told.stored)
