"""What shells complete with what ``completion`` prints."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from entrypoints.cli import main, parser
from entrypoints.commands.completion import SHELLS
from tests.requirements import require

TIMEOUT = 30

BASH = """
source {script}
complete_words() {{
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${{#COMP_LINE}}
    "$(complete -p synkrone-socket | sed 's/.*-F \\([^ ]*\\).*/\\1/')" synkrone-socket "${{@: -1}}" "${{@: -2:1}}"
    printf '%s\\n' "${{COMPREPLY[@]}}"
}}
complete_words {words}
"""

FISH = "source {script}; complete -C '{line}'"

ZSH = 'autoload -Uz compinit && compinit -u -d {folder}/dump; eval "$(<{script})"; print $_comps[synkrone-socket]'


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    shell: str = request.param
    require(shutil.which(shell), f"{shell} is not installed: apt-get install {shell}")
    assert main(["completion", shell]) == 0
    path = tmp_path / shell
    path.write_text(capsys.readouterr().out)
    return path


def typed(shell: str, text: str, *options: str) -> list[str]:
    ended = subprocess.run([shell, *options, "-c", text], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return [line.partition("\t")[0] for line in ended.stdout.splitlines()]


def commands() -> list[str]:
    (action,) = [action for action in parser()._actions if action.dest == "==SUPPRESS==" or action.choices]
    return [name for name in (action.choices or []) if name.startswith("m")]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash(script: Path) -> None:
    assert sorted(typed("bash", BASH.format(script=script, words="synkrone-socket m"))) == sorted(commands())
    assert typed("bash", BASH.format(script=script, words="synkrone-socket token --us")) == ["--user"]
    assert typed("bash", BASH.format(script=script, words="synkrone-socket completion z")) == ["zsh"]


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish(script: Path) -> None:
    assert sorted(typed("fish", FISH.format(script=script, line="synkrone-socket m"))) == sorted(commands())
    assert typed("fish", FISH.format(script=script, line="synkrone-socket token --us")) == ["--user"]
    assert typed("fish", FISH.format(script=script, line="synkrone-socket completion z")) == ["zsh"]


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh(script: Path, tmp_path: Path) -> None:
    assert typed("zsh", ZSH.format(script=script, folder=tmp_path), "-f") == ["_shtab_synkrone_socket"]
    text = script.read_text()
    assert text.startswith("#compdef synkrone-socket\n")
    assert all(f"{name}:" in text for name in commands())


def test_all_three_are_offered() -> None:
    assert SHELLS == ("bash", "zsh", "fish")
