"""Backups of a store that is being written, and what is put back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.store.new_file import NotMade
from adapters.store.served import StoreUnusable
from adapters.store.sqlite.backup import back_up, restore
from adapters.store.sqlite.schema import FileInUse, FileLock
from tests.integration.test_commands import run
from tests.processes import ONE_SECRET, ServerProcess, token

NOW = datetime(2026, 11, 29, 12, 30, 5, tzinfo=UTC)


def tell(_done: int, _total: int) -> None:
    pass


def of(server: ServerProcess) -> dict[str, str]:
    return ONE_SECRET | {"SYNKRONE_STORE": f"sqlite:///{server.directory}/synkrone.db"}


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.gen_test(timeout=60)
async def test_a_backup_beside_a_server_that_is_written_to_is_restored_and_cursors_past_it_are_refused(
    tmp_path: Path,
) -> None:
    server = ServerProcess(tmp_path / "server", ONE_SECRET)
    try:
        server.wait_until_ready()
        before = await server.publish({"user": "42"}, title="before")

        async def write() -> None:
            while True:
                await server.publish({"user": "43"})

        writing = asyncio.create_task(write())
        code, output, errors = await run("backup", "--json", str(tmp_path / "copy.db"), settings=of(server))
        writing.cancel()
        assert (code, errors) == (0, "")
        after = await server.publish({"user": "42"}, title="after")
        # It is in use, and what is there is not written over.
        code, _, errors = await run("restore", "--replace", str(tmp_path / "copy.db"), settings=of(server))
        assert code == 1
        assert "is in use by another process" in errors
        assert server.stop() == 0

        said = json.loads(output)
        assert said["file"] == str(tmp_path / "copy.db")
        assert said["bytes"] == (tmp_path / "copy.db").stat().st_size
        assert said["notifications"] == said["head"] >= 1
        assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
        assert sorted(names_in(tmp_path)) == ["copy.db", "server"]

        code, _, errors = await run("restore", str(tmp_path / "copy.db"), settings=of(server))
        assert code == 1
        assert "exists: move it away, or say --replace" in errors
        code, output, errors = await run(
            "restore", "--json", "--replace", str(tmp_path / "copy.db"), settings=of(server)
        )
        assert (code, errors) == (0, "")
        assert json.loads(output)["notifications"] == said["notifications"]
        assert json.loads(output)["set_aside"].rpartition("/")[2] in names_in(server.directory)
        server.start_again()
        server.wait_until_ready()
        items = (await server.inbox(token("42")))["items"]
        assert [item["title"] for item in items] == ["before"]
        # The generation is a new one: nobody resumes into what was lost.
        anew = await server.publish({"user": "42"}, title="anew")
        epochs = [published["cursor"].partition(":")[0] for published in (before, after, anew)]
        assert epochs[0] == epochs[1] != epochs[2]
    finally:
        server.kill()


@pytest.mark.gen_test
async def test_a_folder_that_knows_of_no_store_is_given_none(store: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    back_up(store, backup, tell)
    for options in ((), ("--replace",)):
        code, output, errors = await run("restore", *options, str(backup), settings={})
        assert (code, output) == (2, "")
        assert errors == (
            "synkrone-socket: store: nothing says where it is, and FOLDER/synkrone.db does not exist: "
            "give the server's settings with --config, or its store in SYNKRONE_STORE "
            "(not set; there is no file FOLDER/synkrone.toml)\n"
        )


@pytest.mark.gen_test
async def test_it_is_said_where_there_was_nothing_to_replace(store: Path, tmp_path: Path) -> None:
    backup, new = tmp_path / "backup.db", tmp_path / "new.db"
    back_up(store, backup, tell)
    variable = {"SYNKRONE_STORE": f"sqlite:///{new}"}
    code, _, errors = await run("restore", "--replace", str(backup), settings=variable)
    assert (code, errors) == (0, f"synkrone-socket: there was nothing to replace: {new} is new\n")
    code, output, errors = await run("restore", "--replace", str(backup), settings=variable)
    assert (code, errors) == (0, "")
    assert "What was there is in" in output
    config, other = tmp_path / "synkrone.toml", tmp_path / "other.db"
    config.write_text(f'store = "sqlite:///{other}"\n')
    code, _, errors = await run("restore", "--config", str(config), str(backup), settings={})
    assert (code, errors, other.exists()) == (0, "", True)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A file of the tests, with entries."""
    path = tmp_path / "synkrone.db"
    source = Path(__file__).parent.parent / "data" / "inbox-1.sqlite"
    path.write_bytes(source.read_bytes())
    return path


def everything_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_backup_is_refused_where_a_file_is_or_none_can_be_and_leaves_nothing(store: Path, tmp_path: Path) -> None:
    (tmp_path / "there.db").write_text("precious")
    before = everything_in(tmp_path)
    for target, says in (
        (tmp_path / "there.db", "there.db exists: it is not written over"),
        (tmp_path / "none" / "x.db", "none cannot be written: No such file or directory"),
    ):
        with pytest.raises(NotMade, match=says):
            back_up(store, target, tell)
    with pytest.raises(NotMade, match=r"none\.db is no file: there is nothing to back up"):
        back_up(tmp_path / "none.db", tmp_path / "copy.db", tell)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b"x" * 4096, "is not a database of SQLite: name a file"), (None, "is damaged|malformed")],
    ids=["empty", "no database", "damaged"],
)
def test_what_is_no_good_backup_is_not_put_back(store: Path, tmp_path: Path, content: bytes | None, says: str) -> None:
    bad = tmp_path / "bad.db"
    if content is None:
        octets = bytearray(store.read_bytes())
        octets[8192:12288] = b"\xff" * 4096
        content = bytes(octets)
    bad.write_bytes(content)
    before = everything_in(tmp_path)
    with pytest.raises(StoreUnusable, match=says) as raised:
        restore(bad, store, tell, now=NOW, replace=True)
    assert "\n" not in str(raised.value)
    del before["bad.db"]
    after = everything_in(tmp_path)
    assert {name: octets for name, octets in after.items() if name in before} == before
    assert set(after) - set(before) <= {"bad.db", "synkrone.db-lock"}


def test_the_log_of_a_file_goes_aside_with_it_also_where_the_file_is_gone(store: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    back_up(store, backup, tell)
    (tmp_path / "synkrone.db-wal").write_bytes(b"of another file")
    store.unlink()
    copied = restore(backup, store, tell, now=NOW)
    assert copied.set_aside is None
    assert (tmp_path / "synkrone.db.20261129T123005Z-wal").read_bytes() == b"of another file"
    assert not (tmp_path / "synkrone.db-wal").exists()
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone()[0] > 0


def test_nothing_is_restored_under_a_server(store: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    back_up(store, backup, tell)
    lock = FileLock(store)
    try:
        with pytest.raises(FileInUse):
            restore(backup, store, tell, now=NOW, replace=True)
    finally:
        lock.release()


@pytest.mark.gen_test
async def test_what_has_no_file_is_backed_up_otherwise() -> None:
    code, output, errors = await run("backup", "x", settings={"SYNKRONE_STORE": "postgresql://app@db/app"})
    assert (code, output) == (1, "")
    assert "pg_dump --format=custom" in errors
    code, _, errors = await run("restore", "x", settings={"SYNKRONE_STORE": "memory://"})
    assert (code, errors) == (2, "synkrone-socket: SYNKRONE_STORE: what is stored in memory has no file\n")
