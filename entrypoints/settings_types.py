"""The kinds of value that settings have, and how a section of them is read."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    SecretStr,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_after_validator_function, str_schema

from adapters.http.origins import AllowedOrigin, Origin, Subdomains, parse_allowed_origin
from adapters.system.configuration import ConfigurationError
from entrypoints.files import read_file
from entrypoints.settings_errors import printable

T = TypeVar("T")


class Address(str):
    """What selects an adapter by its scheme, and says where it finds what it works with.

    Which schemes there are, the container knows; what stands behind one, the adapter that it selects. So it is these
    that refuse an address, not what reads the settings.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(cls, str_schema(min_length=1))

    @property
    def scheme(self) -> str:
        """What stands before the first colon, in lower case; the whole of an address without one."""
        return self.partition(":")[0].lower()

    @property
    def host(self) -> str | None:
        """What another machine is named by, as in ``scheme://host/``; None for an address of this one."""
        try:
            return urlsplit(self).hostname
        except ValueError:
            return None

    @property
    def path(self) -> Path:
        """Of ``scheme:///path``: relative to where the server was started, absolute with four slashes.

        Raises ConfigurationError for an address that is no such.
        """
        start, slashes, path = self.partition(":///")
        if not slashes or not path or "\0" in path or start.lower() != self.scheme:
            raise ConfigurationError("", f"must be {self.scheme}:/// and the path of a file")
        return Path(path)

    def check_bare(self) -> None:
        """Raises ConfigurationError where anything stands behind the scheme, as in ``memory://x``."""
        if self.partition(":")[2] not in ("", "//"):
            raise ConfigurationError("", f"must have nothing behind {self.scheme}")


LONGEST = timedelta(days=36_500)
"""A duration before or after any time of these centuries is still a time of the calendar."""
MAX_WORKERS = 256
MAX_PORT = 65_535
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|days?)?", re.ASCII)
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_KEY_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "day": 86400, "days": 86400}


def duration(text: object) -> timedelta:
    """Read ``"90"`` or 90 (seconds), ``"500ms"``, ``"30s"``, ``"10m"``, ``"1h"``, ``"30d"``. Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if isinstance(text, bool) or match is None:
        raise ValueError("must be a duration such as 30s, 10m, 1h or 30d")
    seconds = float(match[1]) * _UNIT_SECONDS[match[2] or "s"]
    if seconds > LONGEST.total_seconds():
        raise ValueError("is too long a duration")
    return timedelta(seconds=seconds)


def written(value: timedelta) -> str:
    """As ``duration`` reads it, in the largest unit of which it is a whole number."""
    milliseconds = value // timedelta(milliseconds=1)
    for unit in ("d", "h", "m", "s"):
        if not milliseconds % (of_unit := _UNIT_SECONDS[unit] * 1000):
            return f"{int(milliseconds // of_unit)}{unit}"
    return f"{milliseconds}ms"


def _from_json(value: object) -> object:
    """A list or table in an environment variable is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError(
            "json", 'must be a list or table such as ["one", "two"]; in the environment, as JSON'
        ) from None


def _claim_path(value: object) -> object:
    """The name of a claim or a dotted path; or a list of steps, which in an environment variable is JSON."""
    if isinstance(value, str) and value.startswith("["):
        value = _from_json(value)
    if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(step, str) for step in value)):
        raise PydanticCustomError("claim", "must be a string, or a list of strings")
    if not value or "" in (value if isinstance(value, list) else ()):
        raise PydanticCustomError("claim", "must not be empty")
    return value


def _secrets(value: object) -> object:
    """One secret or a list, which in an environment variable is JSON. What only looks like a list is none."""
    if not isinstance(value, str):
        if not isinstance(value, list):
            raise PydanticCustomError("secrets", "must be a string, or a list of strings")
        return value
    if not looks_like_list(value):
        return [value]
    try:
        secrets = json.loads(value)
    except (ValueError, RecursionError):
        secrets = None
    if not isinstance(secrets, list):
        raise PydanticCustomError("secrets", 'must be a secret, or JSON such as ["the new one", "the old one"]')
    return secrets


def looks_like_list(text: str) -> bool:
    """Whether JSON was meant, also where a shell has taken the quotes away. A secret may begin with ``[``."""
    text = text.strip()
    return text.startswith("[") and (text.endswith("]") or text[1:].lstrip().startswith(('"', "'")))


def overlap(one: str | list[str], other: str | list[str]) -> bool:
    """Whether two claims are, or could be taken for, the same one, or one of them for a part of the other."""
    return any(a[: len(b)] == b or b[: len(a)] == a for a in _readings_of_path(one) for b in _readings_of_path(other))


def _readings_of_path(path: str | list[str]) -> list[list[str]]:
    return [[path], path.split(".")] if isinstance(path, str) else [path]


def _network(value: object) -> IPv4Network | IPv6Network | Literal["unix"]:
    """Raises ValueError, in one line for both versions of IP."""
    if value == "unix":
        return "unix"
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        network = ip_network(str(value))
    except ValueError:
        raise ValueError("must be an IP address, a network such as 10.0.0.0/8, or unix") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
        # What connects from there is seen as IPv4.
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - _IPV4_MAPPED.prefixlen))
    return network


def _origin(value: object) -> AllowedOrigin:
    if isinstance(value, Origin | Subdomains):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be a string")
    return parse_allowed_origin(value)


def _node_address(value: str) -> str:
    """``http(s)://host:port``, and nothing behind it."""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:
        is_good = False
    if not is_good or value != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ValueError("must be the address of the internal listener, such as http://10.0.0.5:8001")
    return value


def key_name(value: str) -> str:
    """The name of an API key. Raises ValueError."""
    if not _KEY_NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'")
    return value


def _bounded(text: str, is_good: Callable[[timedelta], bool]) -> AfterValidator:
    """``text`` says what is good."""

    def check(value: timedelta) -> timedelta:
        if not is_good(value):
            raise ValueError(f"must be {text}")
        return value

    return AfterValidator(check)


def _no_flag(value: object) -> object:
    """In Python true is a number; in a settings file it is a mistake."""
    if isinstance(value, bool):
        raise PydanticCustomError("flag", "must be a whole number")
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Timeout = Annotated[Duration, _bounded("more than 0", lambda value: value > timedelta())]
Retention = Annotated[Duration, _bounded("0 or more", lambda value: value >= timedelta())]
Heartbeat = Annotated[Duration, _bounded("at least 100ms", lambda value: value >= timedelta(milliseconds=100))]
DrainTime = Annotated[Duration, _bounded("at most 25s", lambda value: value <= timedelta(seconds=25))]
JsonList = Annotated[list[T], BeforeValidator(_from_json)]
JsonTable = Annotated[dict[str, T], BeforeValidator(_from_json)]
ClaimPath = Annotated[str | list[str], PlainValidator(_claim_path)]
CorsOrigin = Annotated[AllowedOrigin, PlainValidator(_origin)]
Secrets = Annotated[list[SecretStr], BeforeValidator(_secrets)]
Network = Annotated[IPv4Network | IPv6Network | Literal["unix"], PlainValidator(_network)]
NodeAddress = Annotated[str, AfterValidator(_node_address)]
KeyName = Annotated[str, AfterValidator(key_name)]
TokenBytes = Annotated[int, BeforeValidator(_no_flag), Field(ge=1_024, le=65_536)]
WorkerCount = Annotated[int, BeforeValidator(_no_flag), Field(ge=1, le=MAX_WORKERS)]
Port = Annotated[int, BeforeValidator(_no_flag), Field(ge=0, le=MAX_PORT)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class SectionWithSecrets(Section):
    """Every setting ``x`` with a twin ``x_file`` is read from that file where the twin is given.

    Line ends after the last line do not count. Of the settings that are ``one_a_line`` each line is a value of its own.
    """

    one_a_line: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for name in [name for name in cls.model_fields if f"{name}_file" in cls.model_fields]:
            path = values.get(f"{name}_file")
            if path is None:
                continue
            if values.get(name) is not None:
                raise error_at(f"{name}_file", f"is given beside {name}: remove one of them")
            text = _read_text(f"{name}_file", Path(str(path)))
            values[name] = _lines(f"{name}_file", text) if name in cls.one_a_line else text
        return values


def _read_text(setting: str, path: Path) -> str:
    try:
        return read_file(path).decode().replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    except OSError as error:
        raise error_at(setting, cannot_read(path, error)) from None
    except ValueError:
        raise error_at(setting, f"cannot read {str(path)!r}: not text: save it as UTF-8") from None


_MENDS = {
    errno.ENOENT: "make it, or name another file",
    errno.ENOTDIR: "name a file in a folder",
    errno.EISDIR: "name a file in it",
    errno.EINVAL: "name a file",
    errno.ETIMEDOUT: "name a file, or have somebody write into it",
    errno.EFBIG: "name a file of settings, keys or certificates",
}


def cannot_read(path: Path | str, error: OSError) -> str:
    """What to say of a file that a setting names, and how to mend it."""
    mend = _MENDS.get(error.errno or 0, f"let the user of this process ({os.geteuid()}) read it")
    return f"cannot read {printable(str(path))}: {error.strerror or error}: {mend}"


def _lines(setting: str, text: str) -> list[str]:
    """Lines with nothing in them are left out, but for a text that has no other."""
    lines = [line for line in text.split("\n") if line] or [""]
    if any(looks_like_list(line) for line in lines):
        raise error_at(setting, "must hold one a line, and no JSON")
    return lines


def error_at(setting: str, message: str) -> PydanticCustomError:
    """An error of a section that belongs to one of its settings."""
    return PydanticCustomError("setting", "{message}", {"setting": setting, "message": message})
