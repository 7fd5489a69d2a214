"""The distribution's top-level names are plain words: no other installed distribution may provide them too."""

from __future__ import annotations

from importlib.metadata import packages_distributions

import pytest

from tests.architecture.source import PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_provides_our_packages(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"synkrone-socket"}
