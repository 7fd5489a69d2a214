from __future__ import annotations

import io
import json

import pytest

from adapters.store.moving.progress import Moved, Progress, Step
from entrypoints import progress
from entrypoints.commands.move import FOLLOWING, Steps
from entrypoints.progress import progress_for

PLACE = "postgresql://db.example/synkrone"
COURSE = [
    Progress(Step.COPYING, 0, 4000),
    Progress(Step.COPYING, 2000, 4000),
    Progress(Step.FOLLOWING, 4000, 4000),
    Progress(Step.FOLLOWING, 4001, 4001),
    Progress(Step.FINISHING, 4002, 4002),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def moved(capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> list[str]:
    steps = Steps(as_json=as_json)
    for one in COURSE:
        steps.show(one)
    steps.close()
    steps.end(Moved(4002, 0.25), PLACE, 61.5)
    return capsys.readouterr().out.splitlines()


def test_a_move_says_each_step_once_and_when_to_restart_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert moved(capsys) == [
        "copying: 0 of 4000",
        FOLLOWING,
        "finishing: 4002 of 4002",
        f"Moved to {PLACE} in 61.5 s, 0.2 s of them after the server had ended.",
    ]


def test_a_step_that_takes_a_while_is_said_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.Progress, "seconds", 0.0)
    assert moved(capsys)[:3] == ["copying: 0 of 4000", "copying: 2000 of 4000", FOLLOWING]


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    *steps, end = map(json.loads, moved(capsys, as_json=True))
    assert steps == [
        {"step": "copying", "done": 0, "total": 4000},
        {"step": "following", "done": 4000, "total": 4000},
        {"step": "finishing", "done": 4002, "total": 4002},
    ]
    times = {"pause_seconds": 0.25, "seconds": 61.5}
    assert end == {"step": "moved", "to": PLACE, "head": 4002, "before": False} | times


def test_what_was_moved_before_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Steps(as_json=False).end(Moved(7, 0, before=True), PLACE, 0.1)
    assert capsys.readouterr().out == f"It was moved to {PLACE} before.\n"


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.Bar, "seconds", 0.0)
    out = Terminal()
    bar = progress_for(as_json=False, out=out)
    bar.show("pages", 15, 60)
    bar.show("rows", 7)
    bar.close()
    bar.close()
    assert out.getvalue() == "\rpages: 15 [########                      ]  25%\x1b[K\rrows: 7\x1b[K\r\x1b[K"


def test_what_is_over_in_a_moment_shows_nothing() -> None:
    for as_json in (False, True):
        out = io.StringIO()
        shown = progress_for(as_json=as_json, out=out)
        shown.show("pages", 1, 2)
        shown.show("pages", 2, 2)
        shown.close()
        assert out.getvalue() == ""
