"""``synkrone-socket key``: what it prints is good as settings, and the key in it as a key."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli import main
from entrypoints.container import build_container
from entrypoints.settings import validate_settings
from entrypoints.settings_reading import load_settings
from tests.serving import SECRET

KEY = re.compile(r"^(synkrone_[A-Za-z0-9_-]{43})$", re.MULTILINE)


def made_as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["key", "--json"]) == 0
    made: dict[str, Any] = json.loads(capsys.readouterr().out)
    return made


async def caller_of(key: str, settings: dict[str, object]) -> tuple[str, frozenset[str]]:
    callers = build_container(validate_settings({"auth": {"secret": SECRET}, **settings})).callers()
    assert callers is not None
    caller = await callers.authenticate(key)
    return caller.name, caller.scopes


@pytest.mark.gen_test
async def test_what_it_prints_can_be_put_into_the_settings_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["key", "--name", "billing", "--scopes", "publish, connections:read"]) == 0
    out, err = capsys.readouterr()
    (key,) = KEY.findall(err)
    # What is redirected into the file has the key in no form that it could be had from.
    assert key not in out
    file = tmp_path / "synkrone.toml"
    file.write_text(f'auth.secret = "{SECRET}"\n{out}')
    (of_file,) = load_settings({}, file).api.keys
    assert (of_file.name, of_file.key) == ("billing", None)
    assert await caller_of(key, tomllib.loads(out)) == ("billing", frozenset(("publish", "connections:read")))


@pytest.mark.gen_test
async def test_as_json_it_is_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    made = made_as_json(capsys)
    assert set(made) == {"key", "name", "hash", "scopes"}
    key = made.pop("key")
    assert await caller_of(key, {"api": {"keys": [made]}}) == ("backend", frozenset(("publish",)))


def test_each_is_another_one_and_there_need_be_no_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synkrone.toml").write_text("no settings")
    keys = [made_as_json(capsys)["key"] for _ in range(3)]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    "arguments",
    [("--name", ""), ("--name", 'a"b'), ("--name", "x" * 65), ("--scopes", "publish,root"), ("--scopes", "")],
)
def test_what_the_settings_would_refuse_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["key", *arguments])
    assert ended.value.code == 2
    option, wrong = arguments
    last = capsys.readouterr().err.splitlines()[-1]
    named, scopes = "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'", f"{wrong.rpartition(',')[2]!r} is not one of "
    assert last.startswith(f"synkrone-socket key: error: argument {option}: {named if option == '--name' else scopes}")
