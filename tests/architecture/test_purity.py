"""The domain can do no I/O, because it can reach nothing that does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, imported, modules, tree

# Not simply the standard library: asyncio, os, sqlite3 and time are in it too.
ALLOWED = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "re",
    "typing",
    "domain",
}

# Ways around an import statement, to the world or to the clock.
IMPURE = {"__import__", "open", "input", "print", "exec", "eval", "compile", "breakpoint"}
CLOCKS = {"now", "utcnow", "today"}


def impurities(module: ast.Module) -> list[str]:
    found = [name for name in imported(module) if name.partition(".")[0] not in ALLOWED]
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id in IMPURE:
            found.append(node.id)
        if (
            isinstance(node, ast.Attribute)
            and node.attr in CLOCKS
            and isinstance(node.value, ast.Name)
            and node.value.id in {"datetime", "date"}
        ):
            found.append(f"{node.value.id}.{node.attr}")
    return found


@pytest.mark.parametrize("path", modules("domain"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_domain_reaches_nothing_that_does_io(path: Path) -> None:
    assert impurities(tree(path)) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import asyncio", "asyncio"),
        ("from os import environ", "os"),
        ("def f():\n    import time", "time"),
        ("import collections.abc, sqlite3", "sqlite3"),
        ("from adapters.contract.json_text import to_json", "adapters.contract.json_text"),
        ("from . import model", "."),
        ("x = __import__('os')", "__import__"),
        ("x = open('file')", "open"),
        ("x = datetime.now()", "datetime.now"),
    ],
)
def test_an_impurity_is_noticed(line: str, found: str) -> None:
    assert impurities(ast.parse(line)) == [found]


def test_there_is_a_domain_to_look_at() -> None:
    assert {"identity.py", "errors.py", "policy.py", "log.py", "transport.py", "connections.py", "hub.py"} <= {
        path.name for path in modules("domain")
    }
