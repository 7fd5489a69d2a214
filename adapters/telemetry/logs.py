"""Structured logs through the standard library's loggers: JSON lines for machines, coloured text on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import msgspec
import structlog

LogFormat = Literal["auto", "json", "text", "otlp"]
LogLevel = Literal["debug", "info", "warning", "error"]

AUDIT_LOGGER = "synkrone.audit"
"""Who did what on whose behalf: logged at every level."""

EXPORTING_LOGGER = "opentelemetry"
"""What exporting has to say is not exported: it would have to say it again of that."""

# Below these levels they log what clients send, tokens among it.
_QUIET = {
    "socketio": logging.ERROR,
    "engineio": logging.ERROR,
    "tornado.access": logging.WARNING,
    # A line for every client that speaks no TLS.
    "tornado.general": logging.ERROR,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
}


def configure_logging(
    level: LogLevel,
    log_format: LogFormat,
    stream: TextIO = sys.stderr,
    *,
    fields: Mapping[str, object] | None = None,
    exporter: logging.Handler | None = None,
) -> None:
    """Send every logger's records to ``stream``, each with ``fields``. ``auto`` is text on a terminal, else JSON.

    For ``otlp`` they go to the ``exporter`` instead, and only what that has to say of itself to ``stream``, in JSON.
    """
    text = log_format == "text" or (log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_text_lines(stream, fields) if text else JsonLines(fields))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(exporter or handler)
    of_exporting = logging.getLogger(EXPORTING_LOGGER)
    of_exporting.propagate = exporter is None
    of_exporting.handlers[:] = [handler] if exporter is not None else []
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)
    set_log_level(level)


def set_log_level(level: LogLevel) -> None:
    """From the next record on."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))


class JsonLines(logging.Formatter):
    """A JSON object in ASCII for each record, with what it was given as ``extra``.

    Every publish is a line: structlog, which makes the text, takes 40 µs for it, and this 4.
    """

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._fields = fields or {}
        self._second = 0
        self._second_as_text = ""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": self._timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OF_A_RECORD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line.update(self._fields)
        return _as_json(line)

    def _timestamp(self, created: float) -> str:
        microseconds = int(created * 1_000_000)
        second, microsecond = divmod(microseconds, 1_000_000)
        if second != self._second:
            self._second = second
            self._second_as_text = datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
        return f"{self._second_as_text}.{microsecond:06d}Z"


def _as_json(line: Mapping[str, object]) -> str:
    try:
        encoded = _encode(line)
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8.
        return _encode_as_ascii(line)
    return encoded.decode() if encoded.isascii() else _encode_as_ascii(line)


_encode: Final = msgspec.json.Encoder(enc_hook=repr).encode
_encode_as_ascii: Final = json.JSONEncoder(default=repr, separators=(",", ":")).encode
_OF_A_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _text_lines(stream: TextIO, fields: Mapping[str, object] | None) -> logging.Formatter:
    steps: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if fields:
        steps.append(lambda _logger, _name, event: {**event, **fields})
    rendering: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _event_on_one_line,
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(),
            # A line break in a value is no end of the line.
            repr_native_str=True,
            # The default shows the values of local variables where it can, tokens among them.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=steps, processors=rendering)


def _event_on_one_line(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    text = str(event["event"])
    if not text.isprintable():
        event["event"] = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return event
