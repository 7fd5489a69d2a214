"""A program that relays what waits in an outbox, as a server does, and nothing else: to be killed at any moment.

``python -m tests.integration.outbox_relay URL``.
"""

from __future__ import annotations

import asyncio
import sys

from domain.policy import ConnectionPolicy
from tests.doubles import RecordingTelemetry
from tests.integration.outbox_harness import relay
from tests.integration.postgresql_harness import opened


async def run(url: str) -> None:
    async with opened(url) as store:
        await relay(store, ConnectionPolicy(), RecordingTelemetry())


def main() -> None:
    asyncio.run(run(sys.argv[1]))


if __name__ == "__main__":
    main()
