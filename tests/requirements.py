"""What a test needs of the machine beyond Python packages."""

from __future__ import annotations

import os

import pytest


def require(condition: object, reason: str) -> None:
    """Skip the test where something is missing; on CI (``CI=true``) fail, so that nothing is left out unnoticed.

    ``reason`` names what is missing and how to get it.
    """
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
