"""Every adapter of a port runs that port's contract suite: a new one without it is noticed."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pytest

from adapters.system.nodes import Registry
from domain import ports
from tests.architecture.source import ROOT, modules, tree

PORTS = [
    ("transport", ports.Transport),
    ("auth", ports.TokenVerifier),
    ("source", ports.NotificationSource),
    ("store", ports.Store),
    ("store", ports.Presence),
    ("store", Registry),
]

PARAMETERS = [pytest.param(folder, port, id=port.__name__) for folder, port in PORTS]


def is_adapter(candidate: type, port: type) -> bool:
    """Whether a class has every member of a port, with the same parameters, and is no port itself."""
    if getattr(candidate, "_is_protocol", False):
        return False
    members = {name: member for base in port.__mro__ for name, member in vars(base).items()}
    for name, member in members.items():
        if name.startswith("_"):
            continue
        own = inspect.getattr_static(candidate, name, None)
        if own is None:
            return False
        if inspect.isfunction(member) and (
            not inspect.isfunction(own) or list(signature(own)) != list(signature(member))
        ):
            return False
    return True


def signature(function: object) -> Iterable[str]:
    return inspect.signature(function).parameters if callable(function) else ()


@cache
def suites() -> Sequence[ast.Module]:
    """The modules of the contract suites, and of those that run them."""
    return [tree(path) for path in modules("tests/contract")]


def adapters(folder: str, port: type) -> dict[str, Path]:
    """The classes of an adapter folder that implement its port, by name."""
    found: dict[str, Path] = {}
    for path in modules(f"adapters/{folder}"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == name and is_adapter(cls, port):
                found[cls.__name__] = path
    return found


def covered(suite: str, files: Iterable[ast.Module]) -> set[str]:
    """The names that appear in the test modules which subclass a contract suite, directly or not."""
    files = list(files)
    bases: dict[str, set[str]] = {}
    for module in files:
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}

    def runs(cls: str) -> bool:
        return suite in bases.get(cls, ()) or any(runs(base) for base in bases.get(cls, ()))

    names: set[str] = set()
    for module in files:
        nodes = list(ast.walk(module))
        if any(isinstance(node, ast.ClassDef) and node.name.startswith("Test") and runs(node.name) for node in nodes):
            names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return names


@pytest.mark.parametrize(("folder", "port"), PARAMETERS)
def test_every_adapter_runs_the_contract_of_its_port(folder: str, port: type) -> None:
    found = adapters(folder, port)
    assert found, f"no adapter in adapters/{folder} implements {port.__name__}"
    names = covered(f"{port.__name__}Contract", suites())
    assert [f"{path.relative_to(ROOT)}: {name}" for name, path in found.items() if name not in names] == []


@pytest.mark.parametrize(("folder", "port"), PARAMETERS)
def test_every_port_has_a_suite_that_tries_something(folder: str, port: type) -> None:
    own = [
        node
        for module in suites()
        for node in module.body
        if isinstance(node, ast.ClassDef) and node.name == f"{port.__name__}Contract"
    ]
    assert len(own) == 1
    assert any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for node in own[0].body
    )


class Complete:
    async def verify(self, token: str) -> None: ...


class Other:
    async def verify(self, signature: bytes) -> None: ...


def test_what_implements_a_port_is_noticed_by_its_members() -> None:
    assert is_adapter(Complete, ports.TokenVerifier)
    assert not is_adapter(Other, ports.TokenVerifier)
    assert not is_adapter(Complete, ports.Store)


def test_only_classes_that_run_the_suite_cover_an_adapter() -> None:
    suite = ast.parse("class Base(TokenVerifierContract): ...")
    runs = ast.parse("class TestA(Base):\n    verifier = A()")
    does_not = ast.parse("class TestB:\n    verifier = B()")
    names = covered("TokenVerifierContract", [suite, runs, does_not])
    assert "A" in names
    assert "B" not in names
