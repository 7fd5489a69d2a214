"""What HTTP's answers have in common stands in one place: credentials, problems, permissions for pages."""

from __future__ import annotations

import re

import pytest

from tests.architecture.source import ROOT, modules

STATED_IN = {
    r"application/problem\+json\"": {"adapters/http/problems.py"},
    r"\"WWW-Authenticate\"": {"adapters/http/bearer.py"},
    r"== \"bearer\"": {"adapters/http/bearer.py"},
    r"realm": {"adapters/http/bearer.py"},
    r"HTTPStatus\.UNSUPPORTED_MEDIA_TYPE\b": {"adapters/http/problems.py"},
    # The doctor is on the other side: it asks whether a proxy has kept them.
    r"\"Access-Control-Allow-": {"adapters/http/cors.py", "entrypoints/doctor/through.py"},
    # A service manager is told by datagrams, to which nobody listens here.
    r"socket\.AF_UNIX": {"adapters/http/binding.py", "entrypoints/service_manager.py"},
}


@pytest.mark.parametrize("pattern", STATED_IN)
def test_it_is_stated_once(pattern: str) -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in modules("adapters", "entrypoints")
        if re.search(pattern, path.read_text(encoding="utf-8"), re.IGNORECASE)
    }
    assert found == STATED_IN[pattern]
