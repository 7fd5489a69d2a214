"""What operators are given to watch: every metric has a place in it, and nothing in it names what there is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate import metrics
from tests.architecture.source import ROOT
from tests.documents import block, page
from tests.engine_io import WebSocketPeer, connected, http_session
from tests.metrics import scrape
from tests.requirements import require
from tests.serving import publish, serving, token

DASHBOARD = ROOT / "deploy" / "grafana" / "synkrone.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
_NAME = re.compile(r"\bsynkrone_\w+")
_WIDTH, _COLUMNS_KEYS = 24, ("x", "y", "w", "h")


def exported() -> set[str]:
    """The names of all samples that there can be."""
    names: set[str] = set()
    for family in metrics():
        match family.type:
            case "counter":
                names.add(f"{family.name}_total")
            case "histogram":
                names |= {f"{family.name}_{suffix}" for suffix in ("bucket", "sum", "count")}
            case _:
                names.add(family.name)
    return names


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return content


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())


def of_family(sample: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", sample)


def test_every_metric_is_in_the_dashboard_or_an_alert() -> None:
    shown = {of_family(name) for query in queries() for name in _NAME.findall(query)}
    assert {family.name for family in metrics()} - shown == set()


def test_nothing_is_asked_for_that_is_not_exported() -> None:
    asked = {name for query in queries() for name in _NAME.findall(query)}
    assert asked - exported() == set()


def test_what_documents_ask_for_is_exported() -> None:
    families = {family.name for family in metrics()}
    for path in ("docs/how-to/monitor.md", "docs/reference/metrics.md"):
        assert {of_family(name) for name in _NAME.findall(page(path))} - families == set()


@pytest.mark.parametrize("family", metrics(), ids=lambda family: family.name)
def test_every_metric_has_help_a_prefix_and_a_base_unit(family: Any) -> None:
    assert family.name.startswith("synkrone_")
    assert re.fullmatch(r"[A-Z0-9].*\.", family.documentation)
    assert not re.search(r"_(ms|milliseconds|minutes|kilobytes|mib|percent)(_|$)", family.name)
    if family.type == "histogram":
        assert family.name.endswith(("_seconds", "_jobs", "_entries"))


def test_every_panel_says_what_it_shows_and_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        x, y, width, height = (panel["gridPos"][key] for key in _COLUMNS_KEYS)
        assert x + width <= _WIDTH
        cells = {(column, line) for column in range(x, x + width) for line in range(y, y + height)}
        assert not cells & taken
        taken |= cells


def test_every_alert_is_explained_and_has_a_severity() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "description"}
    pages = [rule["alert"] for rule in rules() if rule["labels"]["severity"] == "page"]
    # Whoever is woken finds each in the table at the top.
    first = page("docs/how-to/monitor.md").partition("Nothing of it?")[0]
    assert sorted(re.findall(r"`(Synkrone\w+)`", first)) == sorted(pages)


# with Prometheus's own tool


@pytest.fixture
def promtool() -> str:
    program = shutil.which("promtool")
    require(program, "no promtool is installed: apt-get install prometheus")
    return str(program)


def run(*command: str, said: str = "") -> str:
    done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.check
def test_promtool_finds_nothing_wrong_with_the_alerts(promtool: str) -> None:
    assert f"{len(rules())} rules found" in run(promtool, "check", "rules", str(ALERTS))
    run(promtool, "test", "rules", str(ALERTS.with_name("alerts_test.yml")))


@pytest.mark.check
def test_every_alert_fires_in_the_tests_of_the_rules() -> None:
    tests = ALERTS.with_name("alerts_test.yml").read_text(encoding="utf-8")
    fired = set(re.findall(r'alertname="(\w+)"', tests))
    assert {rule["alert"] for rule in rules()} == fired


@pytest.mark.check
def test_the_configuration_of_the_page_is_one(promtool: str, tmp_path: Path) -> None:
    text = block("docs/how-to/monitor.md", "yaml", "scrape_configs")
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(text.replace("/etc/prometheus/synkrone", str(ALERTS.parent)), encoding="utf-8")
    assert f"{len(rules())} rules found" in run(promtool, "check", "config", str(configuration))


@pytest.mark.check
@pytest.mark.gen_test
async def test_promtool_finds_nothing_wrong_with_what_a_server_says(promtool: str) -> None:
    async with serving(internal={"port": 0}) as server, http_session() as session:
        peer = await WebSocketPeer.open(session, server.url)
        await connected(peer, token("42"))
        await publish(session, server.url, {"to": {"user": "42"}, "type": "x"})
        await peer.next()
        seen = await scrape(session, server)
    assert run(promtool, "check", "metrics", said=seen.text) == ""


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    names = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    assert {name for name in names if f"| `{name}` |" not in page} == set()
