"""A database fails over while three nodes serve: synchronously nothing that was answered is lost; asynchronously some
is, and nobody goes on into the gap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.integration.postgresql_failover import Story, stored_in, story
from tests.postgresql import PostgresqlServer, running_server

pytestmark = [pytest.mark.check, pytest.mark.campaign]

PROMOTIONS = 25 if os.environ.get("CAMPAIGN") == "full" else 2


@pytest.fixture(params=[15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresqlServer]:
    with running_server(request.param) as server:
        yield server


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
    assert all(publisher.answered.keys() <= set(told.stored) for publisher in told.publishers)
    print(f"{PROMOTIONS} promotions, {told.answered} answered, 0 lost")


@pytest.mark.gen_test(timeout=600)
async def test_asynchronously_nobody_goes_on_into_what_was_lost(server: PostgresqlServer) -> None:
    lost = 0
    async with story(server, server.new_store(), sync=False) as told:
        for _ in range(PROMOTIONS):
            await told.publish_a_little()
            await asyncio.to_thread(told.primary.hold_standby_back)
            await told.publish_a_little()
            before = told.answered
            await fail_over(told)
            stored = {id_ for _, id_ in stored_in(told.primary.server, told.database)}
            lost += sum(len(publisher.answered.keys() - stored) for publisher in told.publishers)
            assert before <= told.answered
        await told.publish_a_little()
        # Whoever publishes again what was lost stores it once.
        for publisher in told.publishers:
            for id_ in list(publisher.answered):
                await publisher.publish(id_)
    assert all(publisher.answered.keys() <= set(told.stored) for publisher in told.publishers)
    assert lost > 0
    reasons = [reason for client in told.clients for reason in client.reasons]
    assert "invalid" in reasons
    assert set(reasons) <= {"invalid", "unknown_epoch"}
    print(f"{PROMOTIONS} promotions, {told.answered} answered, {lost} lost, {len(reasons)} cursors refused")
