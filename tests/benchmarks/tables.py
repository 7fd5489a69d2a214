"""A run as Markdown: for the terminal, for the document on performance, and in brief for the README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from tests.benchmarks.results import SHARE, Verdict
from tests.benchmarks.servers import DURABLE, KINDS, MEMORY, NODEJS, NODES, OURS, PEERS, SHARED, Kind

Run: TypeAlias = Mapping[str, Any]
"""What ``docs/benchmark.json`` holds."""

BEGIN = "<!-- benchmark: begin; what follows is written by make bench -->"
END = "<!-- benchmark: end -->"

_IN_BRIEF = ("publish-cpu@1000", "publish-p99@1000", "batch", "burst", "memory")
_TITLES = {kind.name: kind.title for kind in KINDS}


def marked(text: str) -> str:
    """What stands between the marks. Raises ValueError where they are not there, once and in order."""
    _, between, _ = _parts(text)
    return between.strip("\n")


def with_marked(text: str, section: str) -> str:
    """The text with another section between the marks. Raises ValueError as ``marked`` does."""
    before, _, after = _parts(text)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def section(run: Run) -> str:
    """What the document on performance says of a run."""
    versions = run["versions"]
    pinned = ", server and load generator on one of their own each" if run["pinned"] else ""
    about = (
        f"Medians of {run['rounds']} rounds, of {run['aside_rounds']} where nothing is judged (lowest to highest), on "
        f"{run['cores']} cores{pinned}, Python {versions['python']}, Node {versions['node']}. A ratio is the median of "
        "those within each round. CPU is counted until the last client has what was sent. Pauses of the loop are seen "
        f"by a ticker in it. {_load(run)}"
    )
    own = "This server beside itself:"
    parts = [about, servers_table(run, details=False), own, own_table(run)]
    if has_nodes(run):
        nodes = (
            "Nodes that share a PostgreSQL server, which flushes to the disk; all of them, and the load generator, on "
            "the same cores. Of the appending function alone: as many bare clients as nodes, with as much to append."
        )
        parts += [
            nodes,
            servers_table(run, details=False, among=SHARED),
            "Nodes beside themselves:",
            own_table(run, among=SHARED),
            "![Notifications appended a second, by the number of nodes](../benchmark-nodes.svg)",
        ]
    return "\n\n".join(parts)


def has_nodes(run: Run) -> bool:
    """Whether nodes that share a database were measured."""
    return any(NODES.name in measure["servers"] for measure in run["measures"].values())


def brief(run: Run) -> str:
    """What the README says of a run: medians alone of the measures that matter most, and all of their targets."""
    measures = run["measures"]
    servers = [kind.name for kind in (OURS, DURABLE, NODEJS)]
    rows = []
    for key in _IN_BRIEF:
        measure = measures[key]
        found = (measure["servers"].get(server) for server in servers)
        verdicts = [target for target in run["targets"] if target["over"] == {"measure": key, "server": OURS.name}]
        rows.append(
            (
                f"{measure['title']}, {measure['unit']}",
                *(number(summary["median"]) if summary else "" for summary in found),
                "; ".join(f"{_aim(target, measure['unit'])}: {target['verdict']}" for target in verdicts),
            )
        )
    return table([("", *(_TITLES[server] for server in servers), "aim"), *rows])


def servers_table(run: Run, *, details: bool, among: Sequence[Kind] = PEERS) -> str:
    """One row a measure, one column a server, and what is aimed at beside what is reached."""
    names = {kind.name for kind in among}
    shown = {
        key: measure
        for key, measure in run["measures"].items()
        if names & measure["servers"].keys() and (details or not measure["is_detail"])
    }
    servers = [kind.name for kind in among if any(kind.name in measure["servers"] for measure in shown.values())]
    rows = []
    for key, measure in shown.items():
        found = (measure["servers"].get(server) for server in servers)
        aimed = [target for target in run["targets"] if target["over"]["measure"] == key and not _is_own(target)]
        rows.append(
            (
                _named(measure["title"], measure["unit"]),
                *(_spread(summary) if summary else "" for summary in found),
                "; ".join(_aim(target, measure["unit"]) for target in aimed),
                "; ".join(_reached(target, measure["unit"]) for target in aimed),
            )
        )
    return table([("", *(_TITLES[server] for server in servers), "aim", "reached"), *rows])


def own_table(run: Run, among: Sequence[Kind] = PEERS) -> str:
    """One row a target that a server has beside itself."""
    measures, names = run["measures"], {kind.name for kind in among}
    rows = []
    for target in filter(_is_own, run["targets"]):
        if target["over"]["server"] not in names:
            continue
        over, under = (measures[target[side]["measure"]] for side in ("over", "under"))
        rows.append(
            (
                _named(target["title"], over["unit"]),
                _spread(under["servers"][target["under"]["server"]]),
                _spread(over["servers"][target["over"]["server"]]),
                f"≤ {number(target['at_most'])} ×{', the noise' if target['is_noise'] else ''}",
                _reached(target, ""),
            )
        )
    return table([("", "without, or small", "with, or large", "aim", "reached"), *rows])


def number(value: float) -> str:
    """Three digits or so."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    return "\n".join(_line(cells) for cells in (head, ("---",) * len(head), *body))


def _parts(text: str) -> tuple[str, str, str]:
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after or END in before:
        raise ValueError(f"{BEGIN!r} and {END!r} have to be there, once and in order")
    return before, between, after


def _load(run: Run) -> str:
    shares = [
        summary["median"]
        for measure in run["measures"].values()
        if measure["unit"] == SHARE
        for summary in measure["servers"].values()
    ]
    return f"The load generator took at most {number(max(shares))} {SHARE}." if shares else ""


def _is_own(target: Mapping[str, Any]) -> bool:
    return target["under"] is not None and target["under"]["server"] == target["over"]["server"]


def _named(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title


def _spread(summary: Mapping[str, Any]) -> str:
    median, low, high = (number(summary[name]) for name in ("median", "min", "max"))
    return median if low == high else f"{median} ({low} to {high})"


def _aim(target: Mapping[str, Any], unit: str) -> str:
    most = f"{target['at_most']:,g}"
    limit = (
        f"≤ {most} {unit}".rstrip() if target["under"] is None else f"≤ {most} × {_TITLES[target['under']['server']]}"
    )
    return _of_store(target, limit)


def _reached(target: Mapping[str, Any], unit: str) -> str:
    reached = f"{_spread(target)} {unit if target['under'] is None else '×'}".rstrip()
    verdict = target["verdict"]
    said = f"**{verdict}**" if verdict == Verdict.MISSED.value else verdict
    return _of_store(target, f"{reached}, {said}")


def _of_store(target: Mapping[str, Any], text: str) -> str:
    return f"in memory {text}" if target["over"]["server"] == MEMORY.name else text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
