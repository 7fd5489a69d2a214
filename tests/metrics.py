"""Reading what a server counts, as Prometheus does."""

from __future__ import annotations

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from entrypoints.server import Server

Labels = frozenset[tuple[str, str]]


class Scrape:
    """What was answered at one time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: dict[tuple[str, Labels], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def sum(self, name: str, **labels: str) -> float:
        """Over all that have these labels, whatever others they have."""
        wanted = set(labels.items())
        return sum(value for (sample, has), value in self.samples.items() if sample == name and wanted <= has)


async def scrape(session: aiohttp.ClientSession, server: Server) -> Scrape:
    async with session.get(f"{server.internal_url}/metrics") as answer:
        assert answer.status == 200
        return Scrape(await answer.text())
