"""What the commands make of their arguments."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract.json_text import to_json
from adapters.store.sqlite import schema
from adapters.store.sqlite.schema import MIGRATIONS
from docs.generate import command_names
from entrypoints.cli import main, parser
from tests.processes import environment, port_to_keep


def publish_arguments(*arguments: str) -> Any:
    return parser().parse_args(["publish", *arguments])


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("user:42", {"user": "42"}),
        ("user:a:b", {"user": "a:b"}),
        ("users:1,2", {"users": ["1", "2"]}),
        ("role:company", {"role": "company"}),
        ("everyone", {"everyone": True}),
        ("topic:a:b", {"topic": "a:b"}),
        ("any_of:role:admin,topic:x", {"any_of": [{"role": "admin"}, {"topic": "x"}]}),
        ("all_of:role:admin,topic:x", {"all_of": [{"role": "admin"}, {"topic": "x"}]}),
    ],
)
def test_audiences(text: str, to: dict[str, Any]) -> None:
    assert publish_arguments("--to", text, "--type", "t").to == to


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["--to", text]
            for text in (
                *("", "42", "user:", "user", "users:", "role:", "everyone:x", "topic:", "any_of:x", "all_of:user:x"),
                "\udcff",
            )
        ),
        *(
            ["--to", "everyone", "--data", text]
            for text in ("", "{", "[]", "7", "null", "{} {}", '{"a": NaN}', '{"a": "\\ud800"}', '{"a":' * 50_000)
        ),
        *(["--to", "everyone", name, "\udcff"] for name in ("--title", "--body", "--id", "--type")),
    ],
    ids=lambda arguments: repr(arguments)[:50],
)
def test_what_cannot_be_published(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["publish", "--type", "t", *arguments])
    assert ended.value.code == 2
    assert f"argument {arguments[-2]}: " in capsys.readouterr().err


@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
)
def test_data_is_sent_as_it_was_written(value: object) -> None:
    text = json.dumps({"b": value, "a": [1.0, 100]}, indent=1)
    options = publish_arguments("--to", "everyone", "--type", "t", "--data", text)
    assert to_json({"data": options.data}) == b'{"data":' + text.encode() + b"}"


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["token"], ["token", "--user", "1"], ["demo", "--twice"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: synkrone-socket" in capsys.readouterr().err


def test_a_lifetime_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", "--user", "42", "--role", "freelance", "--ttl", "soon"])
    assert ended.value.code == 2
    assert "argument --ttl: must be a duration such as 30s, 10m, 1h or 30d" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--user", "", "--role", "r"], ["--user", "42", "--role", "a\nb"]])
def test_a_token_is_of_a_user_that_there_can_be(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", *arguments])
    assert ended.value.code == 2
    assert re.search(r"--(user|role): (must be 1 to 128 characters|holds U\+000A)", capsys.readouterr().err)


COMMANDS = [["publish", "--to", "everyone", "--type", "t"], ["listen", "--token", "x"]]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_over_a_unix_socket_an_address_has_to_be_given(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNKRONE_HOST", "unix:/run/synkrone.sock")
    monkeypatch.setenv("SYNKRONE_API__KEY", "a-key-of-at-least-thirty-two-characters")
    assert main(arguments) == 2
    assert capsys.readouterr().err == (
        "synkrone-socket: --url: is needed, as the server of these settings listens on a Unix socket\n"
    )


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:PORT"), ("::1", "[::1]:PORT"), ("unix:x.sock", "unix:x.sock")],
)
def test_check_config_says_where_it_would_listen(
    host: str, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    port = port_to_keep()
    monkeypatch.setenv("SYNKRONE_HOST", host)
    monkeypatch.setenv("SYNKRONE_PORT", str(port))
    monkeypatch.setenv("SYNKRONE_AUTH__SECRET", "a secret of at least thirty-two bytes")
    assert main(["check-config"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"The settings are good: serve would listen on {address.replace('PORT', str(port))}.",
        f"Settings file: there is no file {tmp_path}/synkrone.toml",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "check-config", "migrate", "move", "token", "publish", "listen"])
def test_a_file_that_is_not_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    required = {
        "token": ["--user", "42", "--role", "freelance"],
        "publish": ["--to", "everyone", "--type", "t"],
        "listen": ["--token", "x"],
        "move": ["--from", "sqlite:///x"],
    }
    assert main([command, "--config", str(tmp_path / "none"), *required.get(command, [])]) == 2
    assert capsys.readouterr().err == (
        f"synkrone-socket: --config: cannot read {tmp_path / 'none'}: No such file or directory: "
        "make it, or name another file\n"
    )


def test_migrate_needs_nothing_but_the_store(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["migrate"]) == 0
        assert (
            capsys.readouterr().out == f"sqlite:///{tmp_path}/synkrone.db: the file is of version {len(MIGRATIONS)}\n"
        )
    (tmp_path / "synkrone.db").write_text("no database")
    assert main(["migrate"]) == 2
    assert capsys.readouterr().err.startswith(f"synkrone-socket: store: {tmp_path}/synkrone.db is not a database")
    monkeypatch.setenv("SYNKRONE_STORE", "memory://")
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "memory://: there is nothing to migrate\n"


@pytest.mark.parametrize(
    ("source", "store", "code", "said"),
    [
        ("sqlite:///none.db", "postgresql://localhost/x", 1, "none.db is no file"),
        ("sqlite:///none.db", "sqlite:///other.db", 2, "STORE: must name the database to move to"),
        (
            "postgresql://localhost/y",
            "postgresql://localhost/x",
            2,
            "--from: must be sqlite:/// and the path of a file",
        ),
        ("sqlite:none.db", "postgresql://localhost/x", 2, "--from: must be sqlite:/// and the path of a file"),
        ("sqlite:///none.db", "postgresql://a:b@c:d@e/x", 2, "STORE: must be a URL such as"),
    ],
)
def test_what_cannot_be_moved_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    source: str,
    store: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNKRONE_STORE", store)
    assert main(["move", "--from", source]) == code
    error = capsys.readouterr().err
    assert error.startswith("synkrone-socket: ")
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_commands_have_their_output_for_programs_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNKRONE_PORT", "0")
    monkeypatch.setenv("SYNKRONE_AUTH__SECRET", "a secret of at least thirty-two bytes")

    def said(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert said("check-config") == {
        "address": "127.0.0.1:0",
        "internal_url": None,
        "ops_url": None,
        "settings_file": f"there is no file {tmp_path}/synkrone.toml",
        "warnings": [],
        "notices": [],
        "in_the_way": [],
        "lacking": [],
        "untried": [],
        "fault": None,
    }
    minted = said("token", "--user", "42", "--role", "freelance", "--ttl", "10m")
    assert (minted["token"].count("."), minted["expires_in"]) == (2, 600)
    assert said("migrate") == {
        "store": f"sqlite:///{tmp_path}/synkrone.db",
        "done": f"the file is of version {len(MIGRATIONS)}",
    }


def test_check_config_says_what_serve_would_change_of_the_store(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNKRONE_PORT", "0")
    monkeypatch.setenv("SYNKRONE_AUTH__SECRET", "a secret of at least thirty-two bytes")
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", MIGRATIONS[:-1])
        assert main(["migrate"]) == 0
    older, newer = len(MIGRATIONS) - 1, len(MIGRATIONS)
    note = f"serve would change the store: the file is of version {older}, and becomes one of version {newer}"
    capsys.readouterr()
    assert main(["check-config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notices"] == [note]
    assert main(["migrate"]) == 0
    capsys.readouterr()
    assert main(["check-config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notices"] == []


def test_what_check_config_finds_wrong_is_json_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNKRONE_AUTH__SECRET", "too short")
    assert main(["check-config", "--json"]) == 2
    output, errors = capsys.readouterr()
    fault = json.loads(output)["fault"]
    assert "SYNKRONE_AUTH__SECRET" in fault
    assert errors == f"synkrone-socket: {fault}\n"


@pytest.mark.parametrize("command", command_names())
def test_every_help_has_examples_that_are_read(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    _, _, examples = capsys.readouterr().out.partition("\nexamples:\n")
    lines = [line.strip().removeprefix("synkrone-socket ") for line in examples.splitlines()]
    assert lines
    for line in lines:
        assert line.startswith(command)
        parser().parse_args(shlex.split(re.split(" [|<>] ", line)[0]))


def test_a_command_does_not_wait_for_what_others_import() -> None:
    program = (
        "import contextlib, sys; from entrypoints.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['token', '--help'])\n"
        "print(sorted({'aiohttp', 'socketio', 'entrypoints.container'} & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment({}), capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("usage: synkrone-socket token ")
    assert ended.stdout.splitlines()[-1] == "[]"
