"""A trace over the nodes of a cluster, as a collector has it."""

from __future__ import annotations

import secrets
from pathlib import Path

import aiohttp
import pytest

from tests.cluster import cluster
from tests.collector import Collector, collecting
from tests.e2e.followers import CurlFollower
from tests.postgresql import Servers
from tests.processes import API_KEY, token
from tests.serving import eventually, publish

CALLER_SPAN = "00f067aa0ba902b7"
BODY = {"to": {"user": "42"}, "type": "t", "title": "hello"}
WITHIN = 15.0


def settings(collector: Collector) -> dict[str, str]:
    return {"SYNKRONE_OTEL__ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.mark.gen_test(timeout=60)
async def test_a_publish_is_one_trace_with_the_deliveries_of_all_nodes(postgresql: Servers, tmp_path: Path) -> None:
    async with collecting() as collector:
        async with (
            cluster(tmp_path, nodes=3, server=postgresql.of(18), settings=settings(collector)) as three,
            aiohttp.ClientSession() as session,
        ):
            followers = [CurlFollower(node.url, token("42")) for node in three.nodes]
            for follower in followers:
                await follower.start()
            traces: dict[str, int] = {}
            for number in range(12):
                trace, node = secrets.token_hex(16), three.nodes[number % 3]
                parent = f"00-{trace}-{CALLER_SPAN}-01"
                status, answer = await publish(session, node.url, BODY, key=API_KEY, traceparent=parent)
                assert status == 201
                for follower in followers:
                    await follower.has(answer["id"])
                traces[trace] = node.process.pid
            unsampled = f"00-{secrets.token_hex(16)}-{CALLER_SPAN}-00"
            status, answer = await publish(session, three.nodes[0].url, BODY, key=API_KEY, traceparent=unsampled)
            for follower in followers:
                await follower.has(answer["id"])
            await eventually(lambda: len(collector.named("deliver")) >= 3 * len(traces), within=WITHIN)
            for follower in followers:
                await follower.stop()
            nodes = {node.process.pid for node in three.nodes}
        # All have ended: what waited was exported.
        assert {span.trace for span in collector.spans()} == traces.keys()
        for trace, stored_by in traces.items():
            (published,), (commit,) = collector.named("publish", trace), collector.named("commit", trace)
            deliveries = collector.named("deliver", trace)
            assert published.parent == CALLER_SPAN
            assert {commit.parent, *(span.parent for span in deliveries)} == {published.id}
            assert published.resource["process.pid"] == commit.resource["process.pid"] == stored_by
            assert sorted(span.resource["process.pid"] for span in deliveries) == sorted(nodes)
            assert [span.attributes for span in deliveries] == [
                {"synkrone.transport": "sse", "synkrone.connections": 1}
            ] * 3
            assert all(0 <= span.nanoseconds < WITHIN * 1e9 for span in deliveries)
        assert len({span.resource["service.instance.id"] for span in collector.spans()}) == 3
