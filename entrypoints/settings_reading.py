"""One validated object from ``synkrone.toml`` and ``SYNKRONE_*``; the environment comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from entrypoints.settings import Settings, SettingsError, validate_settings
from entrypoints.settings_file import UnusableFile, parse_toml, read_text
from entrypoints.settings_sources import Sources, path_of

DEFAULT_FILE = Path("synkrone.toml")


def load_settings(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Read the file (``synkrone.toml`` where there is one) and the environment. Raises SettingsError."""
    return read_settings(environ, file)[0]


def read_settings(environ: Mapping[str, str], file: Path | None = None) -> tuple[Settings, Sources]:
    """The same, and where they came from, for ``Naming`` in what is found wrong with them later."""
    path = file if file is not None else DEFAULT_FILE
    try:
        text = read_text(path.absolute(), is_named=file is not None)
        values = parse_toml(path.absolute(), text or "")
    except UnusableFile as error:
        raise SettingsError(str(error)) from None
    sources = Sources.found(path, environ, text)
    given = _given(sources, environ)
    with Naming(sources):
        _override(values, given, "")
        return validate_settings(values), sources


def read_again(sources: Sources, environ: Mapping[str, str]) -> tuple[Settings, Sources]:
    """The settings of where they came from before. A file that was there has to be there. Raises SettingsError."""
    settings, found = read_settings(environ, sources.file if sources.has_file else None)
    return with_workers(settings, found, sources.workers)


def with_workers(settings: Settings, sources: Sources, workers: int | None) -> tuple[Settings, Sources]:
    """The same where the command line says how many there are; None: it does not."""
    if workers is None:
        return settings, sources
    sources = replace(sources.with_option("workers", "--workers"), workers=workers)
    return settings.model_copy(update={"workers": workers}), sources


class Naming:
    """What is found wrong with a setting is said of where it comes from, as ``Sources.named`` does.

    Of a generator the error would be in a cycle with its frames, from Python 3.12 on.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, SettingsError):
            raise SettingsError(self._sources.named(str(error))) from None


def _given(sources: Sources, environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the environment: ``SYNKRONE_A__B`` at ``a.b``."""
    given: dict[str, Any] = {}
    for variable in sources.variables.values():
        *sections, name = path_of(variable)
        values = given
        for section in sections:
            values = values.setdefault(section, {})
            if not isinstance(values, dict):
                raise SettingsError(f"{variable}: {section} is not a section")
        values[name] = environ[variable]
    return given


def _override(values: dict[str, Any], given: Mapping[str, Any], path: str) -> None:
    """Put what is given above the values: ``x`` takes the place of ``x_file`` too, and the other way round."""
    for name, value in given.items():
        if isinstance(value, dict):
            inner = values.setdefault(name, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"{path}{name}: is not a section in the settings file")
            _override(inner, value, f"{path}{name}.")
        else:
            values.pop(name.removesuffix("_file") if name.endswith("_file") else f"{name}_file", None)
    values.update({name: value for name, value in given.items() if not isinstance(value, dict)})
