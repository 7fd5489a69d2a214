"""JsonLines keeps the contract of every NotificationSource; and what is particular to it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path, PosixPath

import pytest

from adapters.system.configuration import ConfigurationError
from docs.examples.json_lines.json_lines import JsonLines
from domain.errors import Unavailable
from tests.contract.notification_source import NotificationSourceContract, Reader, Supply

MAX_LINE_BYTES = 2000
LONG_HEAD = "x" * 1900


def line(id_: str | None, **members: object) -> bytes:
    own_id = {} if id_ is None else {"id": id_}
    return json.dumps({"to": {"user": "ann"}, "type": "test", **own_id, **members}).encode() + b"\n"


class Lines:
    """The file, and who appends to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notifications.jsonl"
        self.source = JsonLines(self.path, MAX_LINE_BYTES, poll_seconds=0.005)

    async def provide(self, *ids: str) -> None:
        self.append(b"".join(map(line, ids)))

    def append(self, octets: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(octets)

    async def settled(self) -> None:
        pass


class WatchedPath(PosixPath):
    """Has something happen just before it is looked at."""

    happens: Callable[[], None] = staticmethod(lambda: None)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        happens, self.happens = self.happens, lambda: None
        happens()
        return super().stat(follow_symlinks=follow_symlinks)


class TestJsonLines(NotificationSourceContract):
    @pytest.fixture
    def lines(self, tmp_path: Path) -> Lines:
        return Lines(tmp_path)

    @pytest.fixture
    def supply(self, lines: Lines) -> Supply:
        return lines

    async def test_a_line_is_waited_for_until_it_ends(self, lines: Lines) -> None:
        begun, rest = line("b")[:9], line("b")[9:]
        lines.append(line("a") + begun)
        async with Reader(lines) as reader:
            await reader.until(1)
            waiting = asyncio.create_task(reader.until(2))
            async with Reader(lines, after=reader.items[0].resume_id) as other:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await other.next_batch()
            assert not waiting.done()
            lines.append(rest)
            assert await waiting == ["a", "b"]

    async def test_a_file_that_is_not_there_yet_is_waited_for(self, lines: Lines) -> None:
        async with Reader(lines) as reader:
            waiting = asyncio.create_task(reader.until(1))
            await asyncio.sleep(0)
            await lines.provide("a")
            assert await waiting == ["a"]

    async def test_bad_lines_are_given_with_what_is_wrong_and_the_rest_goes_on(self, lines: Lines) -> None:
        too_long = b"x" * (3 * MAX_LINE_BYTES) + b"\n"
        bad = b"{\n\n \r\n" + line("a", colour="red") + b"[]\n\xff\n"
        lines.append(bad + too_long + line("b") + too_long + line("c"))
        async with Reader(lines) as reader:
            assert await reader.until(8) == [None, None, None, None, None, "b", None, "c"]
        told = [f"{error.path}: {error.message}" for item in reader.items for error in item.errors]
        assert told[0].startswith("line: is not JSON: ")
        assert told[1:3] == ["colour: is not known", "body: must be a JSON object"]
        assert told[3].startswith("line: is not JSON: not UTF-8")
        assert told[4] == told[5] == f"line: has more than {MAX_LINE_BYTES} bytes"
        for number, item in enumerate(reader.items[:-1], 1):
            async with Reader(lines, after=item.resume_id) as again:
                assert await again.until(8 - number) == reader.ids[number:]

    async def test_a_line_without_an_id_has_the_same_one_whenever_it_is_read(self, lines: Lines) -> None:
        lines.append(line(None) + line(None))
        async with Reader(lines) as first, Reader(lines) as again:
            one, other = await first.until(2)
            assert one != other
            assert await again.until(2) == [one, other]

    @pytest.mark.parametrize("shorter", [b"", line("c"), line("c") * 9, line("c", title=LONG_HEAD) + line("d") * 9])
    async def test_a_file_that_was_truncated_is_read_from_its_beginning_and_that_is_logged(
        self, lines: Lines, shorter: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        await lines.provide("a", "b")
        async with Reader(lines) as reader:
            await reader.until(2)
            lines.path.write_bytes(shorter)
            lines.append(line("e"))
            expected = [json.loads(text)["id"] for text in lines.path.read_bytes().splitlines()]
            assert (await reader.until(2 + len(expected)))[2:] == expected
        assert "read from its start" in caplog.text

    async def test_a_file_that_is_renamed_is_read_to_its_end_and_then_the_new_one(self, lines: Lines) -> None:
        await lines.provide("a")
        async with Reader(lines) as reader:
            await reader.until(1)
            with lines.path.open("ab") as still_open:
                lines.path.rename(lines.path.with_suffix(".1"))
                waiting = asyncio.create_task(reader.until(3))
                await asyncio.sleep(0)
                still_open.write(line("b") + b'{"to"')
            await lines.provide("c")
            await waiting
            assert await reader.until(4) == ["a", "b", None, "c"]
            assert reader.items[2].errors[0].message == "does not end, and the file was rotated"
        async with Reader(lines, after=reader.items[2].resume_id) as again:
            assert await again.until(1) == ["c"]

    async def test_nothing_falls_through_between_the_end_of_a_file_and_its_renaming(self, lines: Lines) -> None:
        path = WatchedPath(lines.path)
        lines.source = JsonLines(path, poll_seconds=0.005)
        await lines.provide("a")

        def rotate() -> None:
            lines.append(line("b"))
            lines.path.rename(lines.path.with_suffix(".1"))
            lines.append(line("c"))

        async with Reader(lines) as reader:
            await reader.until(1)
            path.happens = rotate
            assert await reader.until(3) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        "changed", [line("c") + line("d"), line("a") + b" " + line("b")], ids=["rotated", "edited"]
    )
    async def test_a_place_that_the_file_no_longer_has_is_said_in_the_log(
        self, lines: Lines, caplog: pytest.LogCaptureFixture, changed: bytes
    ) -> None:
        await lines.provide("a", "b")
        async with Reader(lines) as reader:
            await reader.until(2)
        lines.path.write_bytes(changed)
        last = reader.items[-1].resume_id
        async with Reader(lines, after=last) as again:
            assert await again.until(2) == [json.loads(text)["id"] for text in changed.splitlines()]
        assert f"{lines.path} has no {last} any more: read from its start" in caplog.text

    async def test_what_cannot_be_read_is_asked_for_again_later(self, lines: Lines) -> None:
        lines.path.mkdir()
        async with Reader(lines) as reader:
            with pytest.raises(Unavailable, match="Is a directory"):
                await reader.next_batch()

    def test_a_path_that_leads_to_no_file_stops_the_server(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="is not a file"):
            JsonLines(tmp_path)
