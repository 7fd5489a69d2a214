from __future__ import annotations

import pytest

# The base classes of suites are no test modules themselves; without this their failures would show no values.
pytest.register_assert_rewrite("tests.contract", "tests.unit", "tests.engine_io")
