"""What a run of the benchmark says of what it has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.benchmarks.measures import measures_of, targets_of
from tests.benchmarks.plan import FULL, QUICK
from tests.benchmarks.results import Measure, Results, Target
from tests.benchmarks.servers import REPOSITORY
from tests.benchmarks.tables import BEGIN, END, brief, marked, own_table, section, servers_table, with_marked

COST = Measure("cost", "a piece of work", "µs")
BESIDE_NODE = Target("cost beside Node", ("cost", "ours"), ("cost", "node"), 0.8)
PERFORMANCE = (REPOSITORY / "docs" / "explanation" / "performance.md").read_text()
README = (REPOSITORY / "README.md").read_text()
ABOUT = {"rounds": 5, "aside_rounds": 3, "cores": 2, "pinned": True, "versions": {"python": "3.11", "node": "24"}}


def results(
    samples: Mapping[str, Sequence[float]], *targets: Target, is_full: bool = True, measure: Measure = COST
) -> Results:
    found = Results([measure], targets, is_full=is_full)
    for server, rounds in samples.items():
        for found.round, value in enumerate(rounds):
            found.add(measure.key, server, value)
    return found


def row(found: Results) -> list[str]:
    """Of the only measure: the cells behind its title."""
    return [cell.strip() for cell in servers_table(found.as_json(), details=True).splitlines()[-1].split("|")[2:-1]]


def test_a_ratio_is_the_median_of_those_within_a_round() -> None:
    # Rounds on a machine that slows down: the ratio of the medians would be 1.
    found = results({"ours": [1, 2, 3, 8, 16], "node": [2, 4, 3, 1, 32]}, BESIDE_NODE)
    assert row(found) == [
        "3.00 (1.00 to 16.0)",
        "3.00 (1.00 to 32.0)",
        "≤ 0.8 × Socket.IO on Node",
        "0.50 (0.50 to 8.00) ×, met",
    ]


def test_what_is_missed_is_said_beside_what_is_aimed_at() -> None:
    found = results({"ours": [9] * 5, "node": [10] * 5}, BESIDE_NODE)
    assert row(found)[-2:] == ["≤ 0.8 × Socket.IO on Node", "0.90 ×, **missed**"]


def test_a_limit_of_its_own_needs_no_other_server() -> None:
    limit = Target("cost", ("cost", "ours"), None, 10)
    assert row(results({"ours": [8, 9, 10, 11, 12]}, limit)) == [
        "10.0 (8.00 to 12.0)",
        "≤ 10 µs",
        "10.0 (8.00 to 12.0) µs, met",
    ]
    assert row(results({"ours": [8, 9, 10.1, 11, 12]}, limit))[-1] == "10.1 (8.00 to 12.0) µs, **missed**"


def test_both_stores_are_judged_in_one_row_the_default_first() -> None:
    in_memory = replace(BESIDE_NODE, over=("cost", "memory"), at_most=0.5)
    found = results({"node": [10] * 5, "memory": [4] * 5, "ours": [9] * 5}, BESIDE_NODE, in_memory)
    assert servers_table(found.as_json(), details=True).startswith(
        "|  | this server | the same in memory | Socket.IO on Node |"
    )
    assert row(found)[-1] == "0.90 ×, **missed**; in memory 0.40 ×, met"


@pytest.mark.parametrize(
    ("samples", "is_full"),
    [
        ({"ours": [1] * 4, "node": [9] * 5}, True),
        ({"ours": [1] * 5, "node": [9] * 5}, False),
    ],
    ids=["too few rounds of one", "small counts"],
)
def test_too_little_is_not_judged(samples: Mapping[str, Sequence[float]], *, is_full: bool) -> None:
    assert row(results(samples, BESIDE_NODE, is_full=is_full))[-1] == "0.11 ×, not judged"


def test_within_noise_is_within_what_the_other_reaches_at_its_worst() -> None:
    measures = [Measure("p99", "p99", "ms"), Measure("p99-slow", "p99, slow", "ms")]
    target = Target("a slow reader against none", ("p99-slow", "ours"), ("p99", "ours"))
    for slow, verdict in ((12, "met"), (13, "**missed**")):
        found = Results(measures, [target], is_full=True)
        for found.round, value in enumerate((8, 9, 10, 11, 12)):
            found.add("p99", "ours", value)
            found.add("p99-slow", "ours", value * slow / 10)
        aim, reached = own_table(found.as_json()).splitlines()[-1].split("|")[-3:-1]
        assert aim.strip() == "≤ 1.20 ×, the noise"
        assert reached.strip() == f"{slow / 10:.2f} ×, {verdict}"


def test_a_round_that_failed_is_no_round() -> None:
    found = results({"ours": [4, 4, 4, 4, 4]}, BESIDE_NODE)
    for found.round in (0, 1, 3, 4):
        found.add("cost", "node", 10)
    assert found.as_json()["measures"]["cost"]["servers"]["node"]["rounds"] == [10, 10, None, 10, 10]
    assert row(found)[-1] == "0.40 ×, not judged"


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=["full", "quick"])
def test_every_target_is_of_what_is_measured(plan: Any) -> None:
    keys = [measure.key for measure in measures_of(plan)]
    assert len(set(keys)) == len(keys)
    for target in targets_of(plan):
        assert {key for key, _ in (target.over, target.under or target.over)} <= set(keys), target.title


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n"
    replaced = with_marked(text, "new")
    assert replaced == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"
    assert marked(replaced) == "new"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", f"{BEGIN} {END} {END}"])
def test_a_text_without_the_marks_is_not_touched(text: str) -> None:
    with pytest.raises(ValueError, match="once and in order"):
        with_marked(text, "new")


def test_the_document_has_a_place_for_what_is_found() -> None:
    found = {**ABOUT, **results({"ours": [9] * 5, "node": [10] * 5}, BESIDE_NODE).as_json()}
    assert marked(with_marked(PERFORMANCE, section(found))) == section(found)


def test_nodes_that_share_a_database_have_tables_of_their_own() -> None:
    measures = [COST, Measure("shared", "a piece of shared work", "")]
    beside = Target("beside the function", ("shared", "nodes"), ("shared", "appender"), 1.25)
    held = Target("held against none", ("shared-held", "nodes"), ("shared", "nodes"), 2)
    found = Results([*measures, Measure("shared-held", "held", "", is_detail=True)], [beside, held], is_full=True)
    for found.round in range(5):
        found.add("cost", "ours", 9)
        found.add("shared", "nodes", 5)
        found.add("shared-held", "nodes", 10)
        found.add("shared", "appender", 4)
    said = section({**ABOUT, **found.as_json()}).splitlines()
    assert "|  | this server | aim | reached |" in said
    assert "|  | nodes on PostgreSQL | the appending function alone | aim | reached |" in said
    assert "| a piece of shared work | 5.00 | 4.00 | ≤ 1.25 × the appending function alone | 1.25 ×, met |" in said
    assert "| held against none | 5.00 | 10.0 | ≤ 2.00 × | 2.00 ×, met |" in said


def test_the_documents_say_what_the_last_run_found() -> None:
    run = json.loads((REPOSITORY / "docs" / "benchmark.json").read_text())
    if all("title" in measure for measure in run["measures"].values()):
        assert marked(PERFORMANCE) == section(run)
        assert marked(README) == brief(run)
    else:
        assert marked(PERFORMANCE).startswith("These are figures of an earlier form of the benchmark")
