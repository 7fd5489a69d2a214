"""Files of exports: what is in one, and what a damaged one, or one that another program wrote, is refused for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from adapters.store.moving import destination as batches
from adapters.store.moving.lines import BadFile, Time
from adapters.store.times import moment
from tests.doubles import ManualClock
from tests.transfers import (
    KINDS,
    InFile,
    Lines,
    Place,
    assert_nothing_is_served,
    double,
    empty_place,
    filled_export,
    first,
    import_,
    lines_of,
    octets_of,
    opened,
    sealed,
    taken_apart,
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_export(tmp_path_factory.mktemp("filled"))


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Somewhere that a store may be imported into."""
    with empty_place(request, tmp_path) as place:
        yield place


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SLICE_OFFSETS", 3)


@pytest.mark.gen_test(timeout=30)
async def test_the_lines_say_what_the_documentation_says(filled: Path) -> None:
    lines = lines_of(filled)
    header, end = lines[0], lines[-1]
    assert (header["kind"], header["product"], header["format"]) == ("export", "synkrone-socket", 1)
    assert (header["version"], header["store"]) == ("1.2.3", "sqlite")
    assert [line["line"] for line in lines] == [*range(1, len(lines) + 1)]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert header["epoch"] == epochs[-1]["epoch"]
    entries = [line for line in lines if line["kind"] == "entry"]
    assert [entry["offset"] for entry in entries] == [*range(header["floor"] + 1, header["head"] + 1)]
    assert [entry["epoch"] for entry in entries if entry["offset"] >= epochs[-1]["first"]] == [header["epoch"]]
    (first,) = [line for line in lines if line["kind"] == "contents" and line["id"] == "n-0"]
    assert json.loads(first["payload"])["title"].startswith('a "quote",\na line')
    assert end["counts"] == {kind: sum(line["kind"] == kind for line in lines[:-1]) for kind in end["counts"]}
    assert sum(end["counts"].values()) == len(lines) - 1
    whole = taken_apart(octets_of(filled))
    assert end["digest"] == sha256(b"".join(whole[:-1])).hexdigest()
    assert sealed(lines) == octets_of(filled)


def cut(octets: bytes, at: int) -> bytes:
    return octets[:at]


def changed(octets: bytes, at: int) -> bytes:
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


def without_line(octets: bytes, at: int) -> bytes:
    lines = taken_apart(octets)
    del lines[at % len(lines)]
    return b"".join(lines)


def line_twice(octets: bytes, at: int) -> bytes:
    lines = taken_apart(octets)
    lines.insert(at % len(lines), lines[at % len(lines)])
    return b"".join(lines)


def lines_swapped(octets: bytes, at: int) -> bytes:
    lines = taken_apart(octets)
    one = at % (len(lines) - 1)
    lines[one], lines[one + 1] = lines[one + 1], lines[one]
    return b"".join(lines)


DAMAGES: Sequence[Callable[[bytes, int], bytes]] = (cut, changed, without_line, line_twice, lines_swapped)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
@pytest.mark.gen_test(timeout=120)
@pytest.mark.usefixtures("small_batches")
async def test_a_damaged_file_is_refused_with_its_line_wherever_it_is_damaged(
    damage: Callable[[bytes, int], bytes], filled: Path, tmp_path: Path
) -> None:
    octets = octets_of(filled)
    numbers = random.Random(7)
    places = [0, 1, len(octets) - 1, *(numbers.randrange(len(octets)) for _ in range(30))]
    if damage is not cut and damage is not changed:
        places = [*range(len(taken_apart(octets)))]
    for number, at in enumerate(places):
        damaged = damage(octets, at)
        if damaged == octets:
            continue
        file, place = tmp_path / f"{number}.ndjson", InFile(tmp_path / f"{number}.db")
        file.write_bytes(damaged)
        with pytest.raises(BadFile) as refused:
            import_(file, place)
        first = next((i for i, pair in enumerate(zip(octets, damaged, strict=False)) if pair[0] != pair[1]), None)
        line = octets[: len(damaged) if first is None else first].count(b"\n") + 1
        # Of a last line that is there twice the first one is wrong, as it is not the last.
        line = min(line, octets.count(b"\n"))
        text = str(refused.value)
        if line > 1 and "cut short: it ends with line" not in text:
            assert text.startswith(f"FILE: line {line}: "), (at, text)
        elif line > 1:
            assert text == f"FILE is cut short: it ends with line {line - 1}, which is not the last", (at, text)
        else:
            assert text.startswith(("FILE: line 1: ", "FILE is empty", "FILE is no export", "FILE is of format"))
        # Of a first line that is not good nothing was begun, and a server may begin a store.
        if line > 1 and number % 5 == 0:
            await assert_nothing_is_served(place)
            import_(filled, place)
            async with opened(place, ManualClock()) as store:
                assert (await store.head()).offset == lines_of(filled)[0]["head"]


@pytest.mark.gen_test(timeout=60)
@pytest.mark.usefixtures("small_batches")
async def test_each_damage_leaves_nothing_that_is_served(empty: Place, filled: Path, tmp_path: Path) -> None:
    octets = octets_of(filled)
    file = tmp_path / "damaged.ndjson"
    for damage in DAMAGES:
        file.write_bytes(damage(octets, 12))
        with pytest.raises(BadFile):
            import_(file, empty)
    file.write_bytes(octets[: len(octets) // 2])
    with pytest.raises(BadFile):
        import_(file, empty)
    await assert_nothing_is_served(empty)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "FILE is empty"),
        (b"PK\x03\x04", "FILE: line 1: is cut short, and so is the file"),
        (b"{}\n", "FILE is no export of synkrone-socket: its first line is not that of one"),
        (b'{"kind":"export","product":"other","format":1}\n', "FILE is no export of synkrone-socket"),
        (
            b'{"kind":"export","line":1,"product":"synkrone-socket","format":2,"new":true}\n',
            "FILE is of format 2, and this program knows format 1: use the newer program that made it",
        ),
    ],
    ids=["empty", "binary", "json", "other", "newer"],
)
@pytest.mark.gen_test(timeout=30)
async def test_what_is_no_export_begins_nothing(content: bytes, says: str, empty: Place, tmp_path: Path) -> None:
    file = tmp_path / "other.ndjson"
    file.write_bytes(content)
    with pytest.raises(BadFile) as refused:
        import_(file, empty)
    assert str(refused.value).startswith(says)
    if isinstance(empty, InFile):
        assert not empty.path.exists()
    async with opened(empty, ManualClock()) as store:
        assert (await store.head()).offset == 0


def swap_kinds(lines: Lines) -> None:
    start, mark = lines.index(first(lines, "start")), lines.index(first(lines, "mark"))
    lines[start], lines[mark] = lines[mark], lines[start]


def drop(lines: Lines, kind: str, number: int = 0) -> None:
    found = [line for line in lines if line["kind"] == kind][number]
    lines.remove(found)
    lines[-1]["counts"][kind] -= 1


def without_epochs(lines: Lines) -> None:
    drop(lines, "epoch")
    drop(lines, "epoch")


Edit: TypeAlias = Callable[[Lines], Any]
EDITS: dict[str, tuple[Edit, str]] = {
    "a wrong type": (lambda lines: first(lines, "contents").update(type=7), "type: Expected `str`, got `int`"),
    "a number out of bounds": (lambda lines: first(lines, "start").update(offset=-1), "offset: Expected `int` >= 0"),
    "a time out of bounds": (lambda lines: first(lines, "epoch").update(opened_at=1 << 62), "opened_at: Expected"),
    "a room that is none": (lambda lines: first(lines, "contents").update(rooms=[None]), "rooms: Expected `str`"),
    "digits that are none": (lambda lines: first(lines, "contents").update(digest="xy"), "digest: Expected `str`"),
    "a field less": (lambda lines: first(lines, "mark").pop("role"), "Object missing required field `role`"),
    "a field more": (lambda lines: first(lines, "state").update(new=1), "Object contains unknown field `new`"),
    "an unknown kind": (lambda lines: first(lines, "state").update(kind="new"), "kind: Invalid value"),
    "kinds out of order": (swap_kinds, "kind: start does not come here"),
    "an entry less": (lambda lines: drop(lines, "entry", 1), "is the next one"),
    "the last entry less": (lambda lines: drop(lines, "entry", -1), "are missing before it"),
    "an entry twice": (lambda lines: double(lines, "entry"), "is the next one"),
    "an epoch twice": (lambda lines: double(lines, "epoch"), "number: is not behind the one before it"),
    "no epoch": (without_epochs, "kind: the present epoch is missing"),
    "another epoch": (lambda lines: first(lines, "entry").update(epoch="x"), "epoch: is not that of the offset"),
    "beyond the head": (lambda lines: first(lines, "mark").update(offset=999), "offset: is 999, and the last entry"),
    "another form": (lambda lines: first(lines, "contents").update(form=2), "form: is 2, which this program does not"),
    "wrong counts": (lambda lines: lines[-1]["counts"].update(state=9), "counts: are not those of the lines before"),
    "another header": (lambda lines: lines[0].update(head=99), "are missing before it"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.gen_test(timeout=30)
async def test_what_another_program_wrote_is_refused_with_line_and_field(
    edit: str, filled: Path, tmp_path: Path
) -> None:
    change, says = EDITS[edit]
    lines = lines_of(filled)
    change(lines)
    file, place = tmp_path / "edited.ndjson", InFile(tmp_path / "imported.db")
    file.write_bytes(sealed(lines))
    with pytest.raises(BadFile) as refused:
        import_(file, place)
    number, _, said_of_it = str(refused.value).removeprefix("FILE: line ").partition(": ")
    assert number.isdigit()
    assert says in said_of_it
    await assert_nothing_is_served(place)


def test_times_are_of_the_years_that_there_are() -> None:
    (bounds,) = Time.__metadata__  # type: ignore[attr-defined]
    assert moment(bounds.ge).year == 1
    assert moment(bounds.lt - 1).year == 9999
