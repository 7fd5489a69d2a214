"""At which lines of a TOML text its keys stand. tomllib, which has read the text before, does not say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Final

from entrypoints.settings_errors import printable

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_NAME: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]+")


class _Lost(Exception):
    """The text is not what was expected."""


def lines_of(text: str) -> Mapping[str, int]:
    """The line of every key and element of a TOML text, from 1 on, by its path, such as ``auth.issuers[0].jwks``.

    Of a text that is no TOML those before the place where that shows.
    """
    scanner = _Scanner(text)
    try:
        scanner.scan()
    except (_Lost, RecursionError):
        pass
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._text = text
        self._at = 0
        self._tables: dict[str, int] = {}
        """How many tables there are so far of each array of tables."""

    def scan(self) -> None:
        """Raises _Lost."""
        section = ""
        while self._skip(_BLANK) < len(self._text):
            start = self._at
            if self._takes("[["):
                section = self._array_of_tables(self._names())
                self._expect("]]")
                self._note(section.rpartition("[")[0], start)
                self._note(section, start)
            elif self._takes("["):
                section = self._resolved(self._names())
                self._expect("]")
                self._note(section, start)
            else:
                self._member(section)

    def _member(self, section: str) -> None:
        start = self._at
        names = self._names()
        self._expect("=")
        for end in range(1, len(names) + 1):
            self._note(_joined(section, names[:end]), start)
        self._skip(_SPACE)
        self._value(_joined(section, names))

    def _value(self, path: str) -> None:
        if self._takes("["):
            index = 0
            while not self._ends_with("]"):
                element = f"{path}[{index}]"
                self._note(element, self._at)
                self._value(element)
                index += 1
        elif self._takes("{"):
            while not self._ends_with("}"):
                self._member(path)
        else:
            found = _TEXT.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            self._take(found)

    def _ends_with(self, bracket: str) -> bool:
        """Whether the list ends here, behind the comma that may stand between its members."""
        self._skip(_BLANK)
        self._takes(",")
        self._skip(_BLANK)
        return self._takes(bracket)

    def _names(self) -> Sequence[str]:
        names = []
        while True:
            self._skip(_SPACE)
            names.append(_read(self._take(_NAME.match(self._text, self._at))))
            self._skip(_SPACE)
            if not self._takes("."):
                return names

    def _array_of_tables(self, names: Sequence[str]) -> str:
        path = _joined(self._resolved(names[:-1]), names[-1:])
        number = self._tables.get(path, 0)
        self._tables[path] = number + 1
        return f"{path}[{number}]"

    def _resolved(self, names: Sequence[str]) -> str:
        """The path of a section: of an array of tables its last one is meant."""
        path = ""
        for name in names:
            path = _joined(path, [name])
            if path in self._tables:
                path = f"{path}[{self._tables[path] - 1}]"
        return path

    def _note(self, path: str, at: int) -> None:
        self.lines.setdefault(path, self._text.count("\n", 0, at) + 1)

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return self._at

    def _takes(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _take(self, found: re.Match[str] | None) -> str:
        """Raises _Lost."""
        if found is None:
            raise _Lost
        self._at = found.end()
        return found[0]

    def _expect(self, text: str) -> None:
        """Raises _Lost."""
        if not self._takes(text):
            raise _Lost


def _read(name: str) -> str:
    """A key as it is written, without its quotes and escapes. Raises _Lost."""
    if name[0] not in "\"'":
        return name
    try:
        (unquoted,) = tomllib.loads(f"{name} = 0")
    except ValueError:
        raise _Lost from None
    return unquoted


def _joined(section: str, names: Sequence[str]) -> str:
    return ".".join(filter(None, (section, *map(printable, names))))
