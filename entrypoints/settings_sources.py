"""Where settings come from: a file, and the variables of the environment that are settings and not somebody else's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from entrypoints.settings_errors import printable
from entrypoints.settings_lines import lines_of

ENVIRONMENT_PREFIX = "SYNKRONE_"

_MAX_PORT = 65_535
_LINK = re.compile(r"(?:tcp|udp|sctp)://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_PROTOCOLS = frozenset(("tcp", "udp", "sctp"))
_CONTAINER = re.compile(r"/[^/]+/[^/]+")
_REFERENCE = re.compile(r"(?<![\w./'\"-])[a-z_]+(?:\.[a-z_]+)+(?![\w/'\"-]|\.\w)")
_BOUNDARY = re.compile(r"[.\[]|$")
_SETTING = re.compile(r"[a-z_]+(?:\[\d+\])*(?:\.[a-z_]+(?:\[\d+\])*)*")


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_PORT)) and int(value) <= _MAX_PORT


def _is_link(value: str) -> bool:
    return _LINK.fullmatch(value) is not None


_ABOUT_SERVICES: Sequence[tuple[re.Pattern[str], Callable[[str], bool]]] = tuple(
    (re.compile(rf"(?:[A-Z0-9_]*[A-Z0-9]_)?{name}", re.ASCII), is_good)
    for name, is_good in (
        (r"SERVICE_HOST", _is_address),
        (r"SERVICE_PORT(?:_[A-Z0-9_]+)?", _is_port),
        (r"PORT", _is_link),
        (r"PORT_[0-9]+_(?:TCP|UDP|SCTP)", _is_link),
        (r"PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO", _PROTOCOLS.__contains__),
        (r"PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT", _is_port),
        (r"PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR", _is_address),
    )
)
"""What Kubernetes tells every container of a Service named ``synkrone`` or ``synkrone-…``, and Docker of a link of such
a name: the name of the variable behind the prefix, and what its value looks like."""


def is_about_a_service(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether an orchestrator has put it there, and it is no setting.

    Both what it is called and what it says decide: ``SYNKRONE_PORT=tcp://10.0.0.1:8000`` is about a service,
    ``SYNKRONE_PORT=8000`` is a setting. See "Discovering services" in the documentation of Kubernetes, and "Legacy
    container links" in Docker's.
    """
    name, value = variable.removeprefix(ENVIRONMENT_PREFIX), environ[variable]
    if any(pattern.fullmatch(name) and is_good(value) for pattern, is_good in _ABOUT_SERVICES):
        return True
    if name == "NAME" or (name.endswith("_NAME") and "__" not in name):
        return _CONTAINER.fullmatch(value) is not None
    # A link carries the other container's own environment too.
    alias, of_container, _ = f"_{name}".partition("_ENV_")
    of_alias = f"{ENVIRONMENT_PREFIX}{alias.removeprefix('_')}{'_' if alias else ''}NAME"
    return bool(of_container) and _CONTAINER.fullmatch(environ.get(of_alias, "")) is not None


def path_of(variable: str) -> list[str]:
    """``SYNKRONE_A__B`` is the setting ``a.b``: its sections, and its name in the last of them."""
    return variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the settings of this process came from.

    ``file`` is the absolute path of the file, whether there is one or not. ``variables`` are those of the environment
    that are settings, by the path of the setting; ``ignored`` those that are not. ``lines`` are those of the file, by
    the path of what stands there. ``workers`` is what the command line says of them, which comes first.
    """

    file: Path
    has_file: bool
    variables: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    workers: int | None = None

    @classmethod
    def found(cls, file: Path, environ: Mapping[str, str], text: str | None) -> Sources:
        """``text`` is that of the file; None where there is none."""
        variables: dict[str, str] = {}
        ignored: list[str] = []
        for variable in sorted(environ):
            if not variable.startswith(ENVIRONMENT_PREFIX):
                continue
            if is_about_a_service(variable, environ):
                ignored.append(variable)
            else:
                variables[".".join(map(printable, path_of(variable)))] = variable
        return cls(file.absolute(), text is not None, variables, ignored, lines_of(text or ""))

    def with_option(self, setting: str, option: str) -> Sources:
        """The same where an option of the command line comes before both."""
        return replace(self, variables={**self.variables, setting: option})

    @property
    def where(self) -> str:
        """The settings file, for whoever looks for it."""
        return f"{'' if self.has_file else 'there is no file '}{printable(str(self.file))}"

    def named(self, message: str) -> str:
        """``setting: what is wrong`` with the variables of the environment named as they are written there.

        Of what no variable gives it is said where in the file it stands, or where it was looked for. What lies in a
        file of its own is named by the setting that names that one.
        """
        setting, colon, wrong = message.partition(": ")
        if not colon:
            return message
        place = self._place(setting, wrong)
        return f"{self._named(setting)}{self.mentioned(wrong)}{f' ({place})' if place else ''}"

    def mentioned(self, text: str) -> str:
        """The same of a text with settings in it, each with the name of its section."""
        return _REFERENCE.sub(lambda match: self._variable(match[0]) or match[0], text)

    def _named(self, setting: str) -> str:
        for whole, rest in _wholes(setting):
            if variable := self._variable(whole):
                return f"{variable}{rest}: "
        # What is given one by one, and cannot be.
        for path, variable in self.variables.items():
            if path.startswith(f"{setting}."):
                return f"{printable(variable)}: {setting} "
        for whole, rest in _wholes(setting):
            if whole not in self.lines and f"{whole}_file" in self.lines:
                return f"{whole}_file{rest}: "
        return f"{setting}: "

    def _place(self, setting: str, wrong: str) -> str | None:
        """Where a setting comes from, or else what is said of it; None where a variable does, which is named."""
        if any(self._variable(whole) for whole, _ in _wholes(setting)):
            return None
        if line := self._line(setting):
            return f"{self.where}, line {line}"
        if not _SETTING.fullmatch(setting) or any(path.startswith(f"{setting}.") for path in self.variables):
            return None
        for other in _REFERENCE.findall(wrong):
            if self._variable(other):
                return None
            if line := self._line(other):
                return f"{self.where}, line {line}"
        return f"not set in {self.where}" if self.has_file else f"not set; {self.where}"

    def _line(self, setting: str) -> int | None:
        """Where it is given, or the list that it is of, or what names the file that holds it."""
        for whole, rest in _wholes(setting):
            if not rest or rest.startswith("[") or whole.endswith("]"):
                line = self.lines.get(whole) or self.lines.get(f"{whole}_file")
                if line is not None:
                    return line
        return None

    def _variable(self, path: str) -> str | None:
        """The variable that gives a setting, or names the file that holds it."""
        variable = self.variables.get(path) or self.variables.get(f"{path}_file")
        return printable(variable) if variable is not None else None


def _wholes(setting: str) -> Sequence[tuple[str, str]]:
    """The setting, and what it is a part of, from the smallest on, each with what of its path is left."""
    ends = reversed([boundary.start() for boundary in _BOUNDARY.finditer(setting)])
    return [(setting[:end], setting[end:]) for end in ends]
