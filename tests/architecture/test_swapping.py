"""What a new adapter is said to touch is all that it touches: each example becomes one of the project's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT
from tests.documents import page

EXAMPLES = ROOT / "docs" / "examples"
SECRET = {"SYNKRONE_AUTH__SECRET": "a-secret-of-the-tests-that-has-48-characters-...."}


@dataclass(frozen=True)
class Example:
    """An adapter of ``adapters/{folder}`` that ``address`` selects in ``variable``; beside it no secret is needed."""

    name: str
    folder: str
    variable: str
    address: str
    needs_secret: bool

    @property
    def module(self) -> str:
        return f"adapters/{self.folder}/{self.name}.py"

    @property
    def suite(self) -> str:
        return f"tests/contract/test_{self.name}.py"

    def settings(self, address: str) -> dict[str, str]:
        return {self.variable: address, **(SECRET if self.needs_secret else {})}


TOKENS = Example("opaque_tokens", "auth", "SYNKRONE_AUTH__VERIFIER", "tokens:///tokens.jsonl", needs_secret=False)
LINES = Example("json_lines", "source", "SYNKRONE_SOURCE__URL", "jsonl:///lines.jsonl", needs_secret=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The project without its examples."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "test_opaque_tokens.py", "test_json_lines.py")
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # The settings of that page are tried with the container.
    (tmp_path / "docs" / "how-to").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "how-to" / "postgresql.md", tmp_path / "docs" / "how-to")
    return tmp_path


def content(root: Path) -> dict[str, list[str]]:
    paths = (path for path in root.rglob("*.*") if path.suffix in {".py", ".toml"})
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8").splitlines() for path in paths}


def insert(path: Path, diff: Sequence[str]) -> None:
    """Put each line that begins with + behind the one before it, which has to be there once."""
    lines, before = path.read_text(encoding="utf-8").splitlines(), ""
    for line in diff:
        if line.startswith("+"):
            assert lines.count(before) == 1, f"{path.name} has not once: {before}"
            lines.insert(lines.index(before) + 1, line[1:])
        before = line[1:]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def make_adapter_of(example: Example, root: Path) -> None:
    """Do what the README of the examples says."""
    shutil.copy(EXAMPLES / example.name / f"{example.name}.py", root / example.module)
    suite = (ROOT / example.suite).read_text(encoding="utf-8")
    assert suite.count(f"docs.examples.{example.name}.") == 1
    suite = suite.replace(f"docs.examples.{example.name}.", f"adapters.{example.folder}.")
    (root / example.suite).write_text(suite, encoding="utf-8")
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    diffs = re.findall(r"^```diff\n(.*?)^```$", told, re.MULTILINE | re.DOTALL)
    (diff,) = (diff for diff in diffs if f".{example.name} import" in diff)
    insert(root / "entrypoints" / "container.py", diff.splitlines())


def touched_by(example: Example) -> dict[str, int]:
    """How many lines of which file, as the document has it: where a row has two files, each is of one example."""
    section = page("docs/how-to/adapter.md")
    rows = re.findall(r"^\| (`[^|]+`) \| (\d+) \| (\d+) \|$", section, re.MULTILINE)
    of_example = [TOKENS, LINES].index(example)
    touched: dict[str, int] = {}
    for files, *counts in rows:
        paths = re.findall(r"`([^`]+)`", files)
        touched[paths[of_example] if len(paths) > 1 else paths[0]] = int(counts[of_example])
    return touched


def run(root: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SYNKRONE_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root,
        env={**inherited, "PYTHONPATH": str(root), **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


EACH = pytest.mark.parametrize("example", [TOKENS, LINES], ids=lambda example: example.name)


@EACH
def test_what_the_document_says_is_all_that_a_new_adapter_touches(example: Example, root: Path) -> None:
    before = content(root)
    make_adapter_of(example, root)
    after = content(root)
    touched = {
        path: len(lines) - len(before.get(path, [])) for path, lines in after.items() if lines != before.get(path)
    }
    assert touched == touched_by(example)
    (root / "tokens.jsonl").touch()
    good = run(root, "entrypoints.cli", "check-config", SYNKRONE_PORT="0", **example.settings(example.address))
    assert good.stdout.startswith("The settings are good"), good.stderr
    other = run(root, "entrypoints.cli", "check-config", SYNKRONE_PORT="0", **example.settings("kafka://x"))
    scheme = example.address.partition(":")[0]
    assert re.match(rf"synkrone-socket: {example.variable}: must begin with .*\b{scheme}\b", other.stderr), other.stderr


@pytest.mark.check
@EACH
def test_with_a_new_adapter_every_test_that_has_to_do_with_it_holds(example: Example, root: Path) -> None:
    make_adapter_of(example, root)
    tests = run(
        root,
        *("pytest", "-q", "-x", "-p", "no:cacheprovider"),
        *("tests/architecture/test_completeness.py", "tests/architecture/test_walls.py::test_the_walls_stand"),
        *(example.suite, "tests/integration/test_container.py"),
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr


@pytest.mark.check
@EACH
def test_a_new_adapter_whose_suite_was_forgotten_is_noticed(example: Example, root: Path) -> None:
    make_adapter_of(example, root)
    (root / example.suite).unlink()
    tests = run(root, "pytest", "-q", "-p", "no:cacheprovider", "tests/architecture/test_completeness.py")
    assert f"{example.module}: " in tests.stdout
