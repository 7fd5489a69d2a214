"""The description as a page for people: no script, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from tornado.escape import xhtml_escape
from tornado.template import Template

from adapters.api.description.asyncapi import ASKED, SENT
from adapters.api.description.problems import codes

STYLE: Final = "docs.css"

_CODE: Final = re.compile(r"`([^`]+)`")


def page(of_http: Mapping[str, Any], of_events: Mapping[str, Any]) -> bytes:
    """HTML, of the two documents."""
    template = Template(files(__package__).joinpath("docs.html").read_text(encoding="utf-8"), autoescape="xhtml_escape")
    return template.generate(
        info=of_http["info"],
        operations=_operations(of_http),
        schemas=of_http["components"]["schemas"],
        sent=SENT,
        asked=ASKED,
        events=of_events["components"]["messages"],
        codes=codes(),
        shown=_shown,
        prose=_prose,
        examples=_examples,
    )


def _operations(of_http: Mapping[str, Any]) -> Mapping[str, list[tuple[str, str, Mapping[str, Any]]]]:
    """Method, path and operation, by their tags."""
    tagged: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {tag["name"]: [] for tag in of_http["tags"]}
    for path, item in of_http["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                more = {"parameters": [*item.get("parameters", ()), *operation.get("parameters", ())]}
                tagged[operation["tags"][0]].append((method.upper(), path, {**operation, **more}))
    return tagged


def _examples(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each example of a body, by its media type, as text."""
    return [
        (media_type, _shown(example["value"]))
        for media_type, body in content.items()
        for example in body.get("examples", {}).values()
    ]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _prose(text: str) -> str:
    """As HTML: what is between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", xhtml_escape(text))
