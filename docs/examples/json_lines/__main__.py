"""``synkrone-socket`` with one source more: ``source.url = "jsonl:///notifications.jsonl"``."""

from __future__ import annotations

import sys

from dependency_injector import providers

from docs.examples.json_lines.json_lines import JsonLines
from entrypoints.cli import main
from entrypoints.container import Container, add_kinds

add_kinds(
    Container.source,
    jsonl=providers.Singleton(
        JsonLines, Container.settings.provided.source.url.path, Container.settings.provided.limits.publish_bytes
    ),
)
sys.exit(main())
