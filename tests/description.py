"""The API's own description, and whether what was really answered is as it says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker


class Description:
    """An OpenAPI document. ``seen`` are the answers that were compared with it: operation and status."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str]] = set()

    def problems(self, schema: Mapping[str, Any], value: object) -> list[str]:
        """Why a value is not as the schema says."""
        whole = {**schema, "components": self.document["components"]}
        validator = Draft202012Validator(whole, format_checker=FormatChecker())
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def operation(self, method: str, path: str) -> Mapping[str, Any]:
        for template, item in self.document["paths"].items():
            pattern = "/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in template.split("/"))
            if re.fullmatch(pattern, path) and method.lower() in item:
                found: Mapping[str, Any] = item[method.lower()]
                return found
        raise AssertionError(f"{method} {path} is not described")

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: object) -> None:
        """That this answer is described, as it is."""
        operation = self.operation(method, path)
        responses = operation["responses"]
        key = str(status) if str(status) in responses else "default"
        self.seen.add((operation["operationId"], key))
        media_type = headers.get("Content-Type", "").partition(";")[0]
        content = responses[key].get("content", {})
        if status == 304 or "*/*" in content:
            return
        assert media_type in content, f"{method} {path}: {status} with {media_type}, described as {list(content)}"
        wrong = self.problems(content[media_type]["schema"], body)
        assert not wrong, f"{method} {path}: {status} {body!r}: {wrong}"
        if media_type == "application/problem+json" and key != "default":
            known = {example["value"]["code"] for example in content[media_type]["examples"].values()}
            assert isinstance(body, dict)
            assert body["code"] in known, f"{method} {path}: {status} {body['code']!r} is not among {known}"
        for header in responses[key].get("headers", {}):
            if header != "Accept-Encoding":
                assert header in headers, f"{method} {path}: {status} without {header}"
