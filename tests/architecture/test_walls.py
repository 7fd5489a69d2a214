"""The import contracts of pyproject.toml hold, and each of them notices what it is there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT

LINT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from importlinter.cli import lint_imports_command; "
    "lint_imports_command(['--cache-dir', sys.argv[2], '--no-logo'])"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is known of files that stay as they are."""
    return tmp_path_factory.mktemp("cache")


def lint(root: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the packages below ``root``, in a process that has imported no others of these names."""
    return subprocess.run(
        [sys.executable, "-P", "-c", LINT, root, cache],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_walls_stand(cache: Path) -> None:
    result = lint(ROOT, cache)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("domain/model/log.py", "import adapters.contract.answers", "entrypoints -> adapters -> domain"),
        ("adapters/contract/answers.py", "import entrypoints", "entrypoints -> adapters -> domain"),
        ("domain/policy.py", "import domain.ports", "Inside the domain"),
        ("domain/ports/log.py", "import domain.services.publishing", "Inside the domain"),
        ("domain/delivery/hub.py", "import domain.services.counts", "Inside the domain"),
        ("domain/model/log.py", "import domain.errors", "Inside the domain"),
        (
            "adapters/store/memory/store.py",
            "import adapters.transport.memory.transport",
            "Adapter folders know what all of them use",
        ),
        ("adapters/transport/memory/transport.py", "import adapters.auth", "Adapter folders know what all of them use"),
        ("adapters/system/clock.py", "import adapters.store.tail", "Adapter folders know what all of them use"),
        ("adapters/http/cors.py", "import adapters.api.routes", "Adapter folders know what all of them use"),
        # What stands in no layer is noticed too.
        ("domain/extra.py", "", "Inside the domain"),
        ("adapters/extra/__init__.py", "", "Adapter folders know what all of them use"),
        ("adapters/contract/answers.py", "import dependency_injector", "Only the container knows dependency-injector"),
        ("adapters/store/memory/store.py", "import socketio", "The transport library stays in its adapter"),
    ],
)
def test_a_breach_is_noticed(copy: Path, cache: Path, module: str, line: str, broken: str) -> None:
    path = copy / module
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    result = lint(copy, cache)
    assert result.returncode == 1, result.stdout + result.stderr
    verdicts = [verdict for verdict in result.stdout.splitlines() if verdict.endswith("BROKEN")]
    assert any(verdict.startswith(broken) for verdict in verdicts), result.stdout
