"""Where in a settings file each setting stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoints.settings_errors import printable
from entrypoints.settings_lines import lines_of

FILE = '''\
# A comment with port = 1
port = 8000 # and another
"host" = """
port = 2
""" # behind it
cors_origins = [ "https://a.example", # [
  'https://b.example',
]

[limits]
queue_bytes = 1
  ping_interval = "25s"
[ auth ]
secret = 'a"b # [x]'
[[auth.issuers]]
issuer = "a"
services = { billing = ["publish"], "x y" = [] }
[auth.issuers.more]
at = 1979-05-27 07:32:00
[[auth.issuers]]
claims . role = "r"
[api]
keys = [
  { name = "a" }, { name = "b",
    hash = "c" },
]
'''


def test_every_setting_has_its_line() -> None:
    assert lines_of(FILE) == {
        "port": 2,
        "host": 3,
        "cors_origins": 6,
        "cors_origins[0]": 6,
        "cors_origins[1]": 7,
        "limits": 10,
        "limits.queue_bytes": 11,
        "limits.ping_interval": 12,
        "auth": 13,
        "auth.secret": 14,
        "auth.issuers": 15,
        "auth.issuers[0]": 15,
        "auth.issuers[0].issuer": 16,
        "auth.issuers[0].services": 17,
        "auth.issuers[0].services.billing": 17,
        "auth.issuers[0].services.billing[0]": 17,
        "auth.issuers[0].services.x y": 17,
        "auth.issuers[0].more": 18,
        "auth.issuers[0].more.at": 19,
        "auth.issuers[1]": 20,
        "auth.issuers[1].claims": 21,
        "auth.issuers[1].claims.role": 21,
        "api": 22,
        "api.keys": 23,
        "api.keys[0]": 24,
        "api.keys[0].name": 24,
        "api.keys[1]": 24,
        "api.keys[1].name": 24,
        "api.keys[1].hash": 25,
    }


def test_a_text_that_is_no_toml_has_the_lines_before_it() -> None:
    assert lines_of('port = 1\nhost "x"\nlog = 1') == {"port": 1}
    assert lines_of("port = 1\n[[") == {"port": 1}
    assert lines_of("x = " + "[" * 100_000)["x"] == 1


NAMES = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"g\\"\\u00e9"', "8"])
SCALARS = st.sampled_from(
    ["1", "-0.5", "true", '"x # ] }"', "'''\n[a]\nb = 1'''", '"""\\"""a"" \\\n"""', "1979-05-27 07:32:00", '""', "inf"]
)
GAPS = st.sampled_from(["", " ", "\n", " # [x] = {\n"])


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    elements = st.lists(st.tuples(GAPS, values, GAPS).map("".join), max_size=3)
    return st.tuples(elements, GAPS).map(lambda drawn: f"[{','.join(drawn[0])}{drawn[1]}]")


def tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(NAMES, values).map(" = ".join), max_size=3)
    return members.map(lambda drawn: f"{{ {', '.join(drawn)} }}")


VALUES = st.recursive(SCALARS, lambda values: arrays(values) | tables(values), max_leaves=6)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
STATEMENTS = (
    st.tuples(PATHS, VALUES).map(" = ".join) | PATHS.map("[{}]".format) | PATHS.map("[[ {} ]] # x".format) | GAPS
)


def leaves(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, f"{path}.{printable(name)}" if path else printable(name))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from leaves(element, f"{path}[{index}]")
    else:
        yield path


@given(st.lists(STATEMENTS, max_size=8).map("\n".join))
def test_whatever_tomllib_reads_has_a_line(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        lines_of(text)
        return
    found = lines_of(text)
    assert set(leaves(values, "")) <= set(found)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


@pytest.mark.parametrize("gap", ["", "\n", "# x\n", "a = 1\n"])
def test_lines_are_counted_from_the_beginning(gap: str) -> None:
    assert lines_of(f"{gap}port = 1")["port"] == gap.count("\n") + 1
