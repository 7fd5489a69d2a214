"""Structured logs through the standard library's loggers: JSON lines for machines, coloured text on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog

LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

# At INFO these log what clients send, tokens among it.
_QUIET = ("socketio", "engineio", "tornado.access", "tornado.general", "asyncio", "aiohttp")


def configure_logging(level: LogLevel, log_format: LogFormat, stream: TextIO = sys.stderr) -> None:
    """Send every logger's records to ``stream``. ``auto`` is text on a terminal, else JSON."""
    text = log_format == "text" or (log_format == "auto" and stream.isatty())
    steps: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if text:
        rendering.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()))
    else:
        rendering += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=steps, processors=rendering))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
