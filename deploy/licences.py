"""The licences of what a bill of materials (CycloneDX, JSON) names, as a table: ``python deploy/licences.py FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class Unlicensed(Exception):
    """A component says nothing of its licence."""


def names_of(licences: Sequence[Mapping[str, Any]]) -> list[str]:
    """SPDX identifiers and expressions, in the order of the file; names in words only where there is none of these."""
    exact: list[str] = []
    in_words: list[str] = []
    for each in licences:
        licence = each.get("license", {})
        (exact if "expression" in each or "id" in licence else in_words).append(
            each.get("expression") or licence.get("id") or licence["name"].rpartition(" :: ")[2]
        )
    return list(dict.fromkeys(exact or in_words))


def table_of(bill: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown. Raises Unlicensed, naming all that are."""
    components = sorted(bill["components"], key=lambda component: (component["name"].lower(), component["version"]))
    rows = [(each["name"], each["version"], names_of(each.get("licenses", []))) for each in components]
    if nameless := [f"{name} {version}" for name, version, licences in rows if not licences]:
        raise Unlicensed(f"no licence is named by {', '.join(nameless)}")
    root = bill["metadata"]["component"]
    yield f"# What {root['name']} {root['version']} is installed with"
    yield ""
    yield "| package | version | licence |"
    yield "|---|---|---|"
    for name, version, licences in rows:
        yield f"| {name} | {version} | {', '.join(licences)} |"


def main(arguments: Sequence[str]) -> int:
    (path,) = arguments
    try:
        lines = list(table_of(json.loads(Path(path).read_bytes())))
    except Unlicensed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
