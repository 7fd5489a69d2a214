"""What ``make dist`` says of what is shipped: the same each time, with all dependencies and their licences."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deploy.licences import Unlicensed, main, names_of, table_of
from tests.documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bill(*components: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"component": {"name": "it", "version": "1"}}, "components": list(components)}


def normalized(name: str) -> str:
    """As the packaging specifications compare names of distributions."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_identifiers_come_before_words() -> None:
    in_words = {"license": {"name": "License :: OSI Approved :: BSD License"}}
    assert names_of([in_words]) == ["BSD License"]
    assert names_of([{"license": {"id": "BSD-3-Clause"}}, in_words]) == ["BSD-3-Clause"]
    assert names_of([{"expression": "Apache-2.0 AND MIT"}]) == ["Apache-2.0 AND MIT"]


def test_what_has_no_licence_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bill.json"
    licensed = {"name": "b", "version": "2", "licenses": [{"license": {"id": "MIT"}}]}
    file.write_text(json.dumps(bill(licensed, {"name": "a", "version": "1"})))
    assert main([str(file)]) == 1
    assert capsys.readouterr().err == "no licence is named by a 1\n"
    file.write_text(json.dumps(bill(licensed)))
    assert main([str(file)]) == 0
    assert "| b | 2 | MIT |\n" in capsys.readouterr().out
    with pytest.raises(Unlicensed):
        list(table_of(bill({"name": "a", "version": "1"})))


@pytest.mark.check
def test_a_bill_of_this_environment_is_the_same_twice_and_has_what_is_shipped(tmp_path: Path) -> None:
    arguments = re.findall(
        r"-m cyclonedx_py (environment .+?) \\\n\t+--output-file (\S+) \S+$",
        (ROOT / "Makefile").read_text(),
        re.MULTILINE,
    )
    ((options, _),) = arguments
    for name in ("one", "two"):
        subprocess.run(
            [sys.executable, "-m", "cyclonedx_py", *options.split(), "--output-file", tmp_path / name, sys.executable],
            cwd=ROOT,
            check=True,
            timeout=120,
        )
    octets = (tmp_path / "one").read_bytes()
    assert octets == (tmp_path / "two").read_bytes()
    made = json.loads(octets)
    assert made["bomFormat"] == "CycloneDX"
    assert made["metadata"]["component"]["version"] == PROJECT["version"]
    # No file of this machine is named.
    assert str(ROOT).encode() not in octets
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgresql"]]
    names = {normalized(re.split(r"[^\w-]", each)[0]) for each in needed}
    shipped = [each for each in made["components"] if normalized(each["name"]) in names]
    assert {normalized(each["name"]) for each in shipped} == names
    assert len(list(table_of(made | {"components": shipped}))) == 4 + len(names)
