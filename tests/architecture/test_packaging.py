"""What the distribution claims: its top-level names, which are plain words, and the Pythons that it runs on."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.source import PACKAGES, ROOT


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_provides_our_packages(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"synkrone-socket"}


def test_the_same_pythons_are_claimed_everywhere() -> None:
    """Those on which ``make pythons`` runs the tests, and no others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = "Programming Language :: Python :: "
    claimed = [text.removeprefix(python) for text in project["classifiers"] if text.startswith(python)]
    minors = [int(version.removeprefix("3.")) for version in claimed]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert project["requires-python"] == f">=3.{minors[0]},<3.{minors[-1] + 1}"
    makefile = (ROOT / "Makefile").read_text()
    assert f"PYTHONS := {' '.join(f'python{version}' for version in reversed(claimed))}\n" in makefile
    assert f"(3, {minors[0]}) <= sys.version_info < (3, {minors[-1] + 1})" in makefile
    for page in ("README.md", "docs/tutorial/page.md"):
        assert f"Python {', '.join(claimed[:-1])} or {claimed[-1]}" in (ROOT / page).read_text()
    images = re.findall(r"^FROM python:([\d.]+)-", (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
    assert images
    assert set(images) <= set(claimed)
