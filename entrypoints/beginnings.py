"""Connections that have begun, which the ledger is told of at once."""

from __future__ import annotations

import asyncio

from domain.services.deliveries import DeliveryLedger

TOGETHER_SECONDS = 0.05
"""So long after the first of them its beginning waits for those of others, to be stored in one commit."""


async def store_beginnings(ledger: DeliveryLedger) -> None:
    """For ever."""
    has_begun = asyncio.Event()
    ledger.on_beginning(has_begun.set)
    while True:
        await has_begun.wait()
        await asyncio.sleep(TOGETHER_SECONDS)
        has_begun.clear()
        await ledger.store_beginnings()
