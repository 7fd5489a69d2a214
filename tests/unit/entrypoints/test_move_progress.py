from __future__ import annotations

import json

import pytest

from adapters.store.moving.progress import Moved, Progress, Step
from entrypoints import move_progress
from entrypoints.move_progress import Bar, Display, JsonLines, Lines

PLACE = "postgresql://db.example/synkrone"
COURSE = [
    Progress(Step.COPYING, 0, 4000),
    Progress(Step.COPYING, 2000, 4000),
    Progress(Step.FOLLOWING, 4000, 4000),
    Progress(Step.FOLLOWING, 4001, 4001),
    Progress(Step.FINISHING, 4002, 4002),
]


def shown(display: Display, capsys: pytest.CaptureFixture[str]) -> list[str]:
    for progress in COURSE:
        display.show(progress)
    display.close()
    display.end(Moved(4002, 0.25), PLACE, 61.5)
    return capsys.readouterr().out.splitlines()


def test_lines_say_each_step_once_and_when_to_restart_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(Lines(), capsys) == [
        "copying: 0 of 4000",
        move_progress.FOLLOWING,
        "finishing: 4002 of 4002",
        f"Moved to {PLACE} in 61.5 s, 0.2 s of them after the server had ended.",
    ]


def test_a_step_that_takes_a_while_is_said_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_progress, "LINE_SECONDS", 0.0)
    assert shown(Lines(), capsys)[:3] == ["copying: 0 of 4000", "copying: 2000 of 4000", move_progress.FOLLOWING]


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    *steps, moved = map(json.loads, shown(JsonLines(), capsys))
    assert steps == [
        {"step": "copying", "done": 0, "total": 4000},
        {"step": "following", "done": 4000, "total": 4000},
        {"step": "finishing", "done": 4002, "total": 4002},
    ]
    times = {"pause_seconds": 0.25, "seconds": 61.5}
    assert moved == {"step": "moved", "to": PLACE, "head": 4002, "before": False} | times


def test_a_bar_says_when_to_restart_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    output = " ".join(" ".join(shown(Bar(), capsys)).split())
    assert output.count(move_progress.FOLLOWING) == 1
    assert output.endswith(f"Moved to {PLACE} in 61.5 s, 0.2 s of them after the server had ended.")


def test_what_was_moved_before_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().end(Moved(7, 0, before=True), PLACE, 0.1)
    assert capsys.readouterr().out == f"It was moved to {PLACE} before.\n"
