"""Rules that hold for every file, and that no linter checks for us."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, imported, modules, tree

# Where somebody's machine shows: home directories and checkouts, and the package registry that was used.
MACHINE_PATH = re.compile(r"(?<![\w.:}])/(?:root|home|Users|work)/\w")
REGISTRY = re.compile(r"https?://[^/\s\"']*(?:pypi|pythonhosted|npmjs|artifactory|nexus|devpi)", re.IGNORECASE)
BROAD = {"Exception", "BaseException"}
CATCHES_EVERYTHING = re.compile(r"except\s*:|\b(?:Base)?Exception\b")


def tracked() -> list[Path]:
    """The files of the repository, those not yet added among them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=30,
    )
    paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


def lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def is_of_one_machine(line: str) -> bool:
    return MACHINE_PATH.search(line) is not None or REGISTRY.search(line) is not None


def test_no_line_belongs_to_one_machine() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        for number, line in enumerate(lines(path), 1)
        if is_of_one_machine(line)
    ] == []


@pytest.mark.parametrize("folder", ["root", "home", "Users", "work"])
def test_a_line_of_one_machine_is_noticed(folder: str) -> None:
    assert is_of_one_machine(f"cd /{folder}/somebody/project")
    assert is_of_one_machine("index-url = https://" + "pypi.example/simple")
    assert not is_of_one_machine(f"see https://synkrone.example/{folder}/page and /v1/{folder}/7")


def swallowed(module: ast.Module) -> list[int]:
    """The lines of handlers that catch everything and do not raise again."""
    return [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or BROAD & {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)})
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]


def may_swallow(source: str) -> bool:
    """Whether reading it as a tree may find a handler that does: nearly no file has to be."""
    return CATCHES_EVERYTHING.search(source) is not None


def test_nothing_catches_everything() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in modules(*PACKAGES, "tests")}
    found = {path: swallowed(ast.parse(source)) for path, source in sources.items() if may_swallow(source)}
    assert {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("except: pass", [2]),
        ("except : pass", [2]),
        ("except Exception: pass", [2]),
        ("except (ValueError, BaseException) as e: print(e)", [2]),
        ("except Exception: raise", []),
        ("except ValueError: pass", []),
    ],
)
def test_a_handler_that_catches_everything_is_noticed(handler: str, found: list[int]) -> None:
    source = f"try: x()\n{handler}"
    assert swallowed(ast.parse(source)) == found
    assert may_swallow(source) or not found


def waits_for(parsed: ast.AST) -> list[int]:
    """The lines that use asyncio.wait_for(), which before Python 3.12 loses a cancellation that comes as what it waits
    for is done: a task that was ended goes on."""
    return [
        node.lineno
        for node in ast.walk(parsed)
        if isinstance(node, ast.Attribute) and node.attr == "wait_for" and getattr(node.value, "id", "") == "asyncio"
    ]


def test_no_wait_loses_a_cancellation() -> None:
    paths = [path for path in tracked() if path.suffix == ".py"]
    assert len(paths) > 500
    assert [
        f"{path.relative_to(ROOT)}:{line}"
        for path in paths
        if "wait_for" in (text := path.read_text(encoding="utf-8"))
        for line in waits_for(ast.parse(text))
    ] == []


def test_a_wait_that_may_lose_a_cancellation_is_noticed() -> None:
    assert waits_for(ast.parse("await condition.wait_for(is_done)\nawait asyncio.wait_for(some(), 1)")) == [2]


def test_only_the_container_knows_the_injector() -> None:
    injector = "dependency_injector"
    importers = {
        str(path.relative_to(ROOT))
        for path in modules(*PACKAGES, "tests")
        if injector in path.read_text(encoding="utf-8")
        and any(name.partition(".")[0] == injector for name in imported(tree(path)))
    }
    assert importers <= {"entrypoints/container.py"}


SEAM = "adapters/transport/socketio/library.py"
OTLP = "adapters/telemetry/otlp.py"


def private_names(module: ast.Module) -> list[str]:
    """Names of other packages that begin with an underscore: imported, or reached through what was imported."""
    own = (*PACKAGES, "tests")
    foreign: set[str] = set()
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] not in own:
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name.startswith("_")]
            found += [str(node.module) for part in str(node.module).split(".")[1:] if part.startswith("_")]
            foreign |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            foreign |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in foreign:
            is_private = node.attr.startswith("_") and not node.attr.startswith("__")
            found += [f"{node.value.id}.{node.attr}"] if is_private else []
    return found


def test_private_names_of_libraries_stay_in_the_one_seam() -> None:
    users = {str(path.relative_to(ROOT)): private_names(tree(path)) for path in modules(*PACKAGES)}
    # OpenTelemetry documents its logs under these names until they are declared stable.
    others = {path: [name for name in names if "_log" not in name or path != OTLP] for path, names in users.items()}
    assert {path: names for path, names in others.items() if names and path != SEAM} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from socketio import _x", ["socketio._x"]),
        ("from a._b import c", ["a._b"]),
        ("import socketio\nsocketio._x()", ["socketio._x"]),
        ("from socketio import packet as p\np._x", ["p._x"]),
        ("import domain\nself._x", []),
        ("from domain.policy import _x", []),
    ],
)
def test_a_private_name_is_noticed(source: str, found: list[str]) -> None:
    assert private_names(ast.parse(source)) == found


def test_what_marks_tests_for_the_check_is_seen_in_their_files() -> None:
    """``tests/conftest.py`` chooses by the text of a file whether it is collected for ``make check``."""
    marking = {path for path in modules("tests") if "mark.check" in path.read_text(encoding="utf-8")}
    helping = {str(path.relative_to(ROOT)) for path in marking if not path.name.startswith("test_")}
    assert helping == {"tests/conftest.py", "tests/transfers.py"}
