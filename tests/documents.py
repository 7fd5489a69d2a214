"""The documents, and the blocks of code in them: the README and every page below ``docs/``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code; ``page`` is the path of its page from the root of the project."""

    page: str
    language: str
    text: str


def pages() -> list[str]:
    """The paths of all pages, from the root of the project."""
    found = (path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", *sorted(str(path) for path in found if "_build" not in path.parts)]


@cache
def page(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def blocks(path: str) -> list[Block]:
    """The blocks of code of a page, in their order. Directives of Sphinx, such as ``{toctree}``, are none."""
    return [Block(path, language, text) for language, text in _FENCE.findall(page(path))]


def block(path: str, language: str, containing: str) -> str:
    """The text of the one block of a page in that language that contains something."""
    (only,) = (block.text for block in blocks(path) if block.language == language and containing in block.text)
    return only


async def answers(path: str, containing: str, *, url: str, key: str) -> list[Any]:
    """What a server answers, each in JSON, to the commands of the one block of a page that contains something."""
    commands = block(path, "bash", containing).replace("http://127.0.0.1:8000", url)
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-ec", commands.replace("curl ", "curl -sSf ").replace("\ncurl", "; echo\ncurl")],
        env={**os.environ, "SYNKRONE_API__KEY": key},
        capture_output=True,
        check=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line]
