"""What stands behind the question mark of a request."""

from __future__ import annotations

from collections.abc import Collection

import tornado.web

from domain.errors import InvalidArgument
from domain.policy import REPEATED


def query_of(handler: tornado.web.RequestHandler, names: Collection[str]) -> dict[str, str]:
    """The arguments that are given, each once, and no others. Raises InvalidArgument."""
    given: dict[str, str] = {}
    for name, values in handler.request.query_arguments.items():
        if name not in names:
            raise InvalidArgument(name, "is not known")
        if len(values) > 1:
            raise InvalidArgument(name, REPEATED)
        given[name] = handler.decode_argument(values[0], name)
    return given
