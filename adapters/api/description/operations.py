"""What an operation of the OpenAPI document is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from adapters.api.bodies import NDJSON
from adapters.api.description.problems import bare_example, example
from adapters.api.description.schema_parts import Schema, ref
from adapters.api.description.schemas import SCHEMAS
from adapters.api.inbox import ForeignOrigin
from adapters.api.publish import JSON
from adapters.contract.json_text import InvalidJson
from adapters.http.bearer import challenge
from adapters.http.problems import MEDIA_TYPE, BodyTooLarge, MethodNotAllowed, UnsupportedMediaType, status_of
from domain.errors import Forbidden, KeysUnavailable, RateLimited, SynkroneError, Unauthenticated, Unavailable

Operation: TypeAlias = dict[str, Any]
Errors: TypeAlias = Sequence[type[SynkroneError]]

OF_CALLERS: Final[Errors] = (Unauthenticated, Forbidden, KeysUnavailable)
OF_BODIES: Final[Errors] = (InvalidJson, BodyTooLarge, UnsupportedMediaType)
BACKEND: Final[Sequence[Mapping[str, Sequence[str]]]] = [{"backend": []}]
TEXT: Final[Schema] = {"type": "string"}

_CHALLENGE: Final = challenge()[0]
HEADERS: Final[Mapping[str, Schema]] = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    _CHALLENGE: {"description": "RFC 6750, section 3.", "schema": TEXT},
    "Allow": {"description": "The methods there are.", "schema": TEXT},
    "Accept-Encoding": {"description": "Where the body was compressed.", "schema": TEXT},
    "ETag": {"schema": TEXT},
    "Cache-Control": {"schema": TEXT},
}
_HEADERS_OF: Final[Mapping[int, Sequence[str]]] = {
    status_of(Unauthenticated()): (_CHALLENGE,),
    status_of(MethodNotAllowed()): ("Allow",),
    status_of(UnsupportedMediaType()): ("Accept-Encoding",),
    status_of(Unavailable()): ("Retry-After",),
    status_of(RateLimited()): ("Retry-After",),
}


def operation(
    identifier: str,
    summary: str,
    description: str,
    *,
    tag: str,
    answers: Mapping[HTTPStatus, str | None],
    errors: Errors = (),
    statuses: Mapping[type[SynkroneError], HTTPStatus] | None = None,
    security: Sequence[Mapping[str, Sequence[str]]] = (),
    parameters: Sequence[Schema] = (),
    body: Mapping[str, Schema] | None = None,
    is_body_required: bool = True,
) -> Operation:
    """``answers`` are the names of their schemas, None where there is nothing in one; ``statuses`` are of errors that
    this route answers in its own way."""
    responses: dict[str, Any] = {
        str(int(status)): {
            "description": SCHEMAS[schema].get("description", status.phrase),
            "content": {JSON: {"schema": ref(schema), "examples": _examples(schema)}},
        }
        if schema is not None
        else {"description": status.phrase}
        for status, schema in answers.items()
    }
    responses |= _failures(errors, statuses or {})
    described: Operation = {
        "operationId": identifier,
        "summary": summary,
        "tags": [tag],
        "security": list(security),
        "responses": responses,
    }
    if description:
        described["description"] = description
    if parameters:
        described["parameters"] = list(parameters)
    if body is not None:
        content = {
            media_type: {"schema": schema, "examples": _body_examples(media_type, schema)}
            for media_type, schema in body.items()
        }
        described["requestBody"] = {"required": is_body_required, "content": content}
    return described


def _failures(errors: Errors, statuses: Mapping[type[SynkroneError], HTTPStatus]) -> dict[str, Any]:
    by_status: dict[int, dict[str, Any]] = {}
    for error in errors:
        status = int(statuses.get(error) or _status(error))
        by_status.setdefault(status, {})[error.code] = {"summary": error.title, "value": example(error, status)}
    failures = {str(status): _problem(status, by_status[status]) for status in sorted(by_status)}
    bare = {status.phrase.lower().replace(" ", "_"): {"value": bare_example(status)} for status in _ANY_ROUTE}
    return failures | {"default": {**_problem(0, bare), "description": "Any other failure of the request, or of ours."}}


_ANY_ROUTE: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.INTERNAL_SERVER_ERROR)


def _status(error: type[SynkroneError]) -> HTTPStatus:
    return HTTPStatus.FORBIDDEN if error is ForeignOrigin else status_of(error.__new__(error))


def _problem(status: int, examples: Mapping[str, Any]) -> dict[str, Any]:
    headers = {header: {"$ref": f"#/components/headers/{header}"} for header in _HEADERS_OF.get(status, ())}
    return {
        "description": ", ".join(f"`{code}`" for code in examples),
        **({"headers": headers} if headers else {}),
        "content": {MEDIA_TYPE: {"schema": ref("Problem"), "examples": dict(examples)}},
    }


def _examples(schema: str) -> dict[str, Any]:
    return {f"example{number}": {"value": value} for number, value in enumerate(SCHEMAS[schema]["examples"], start=1)}


def _body_examples(media_type: str, schema: Schema) -> dict[str, Any]:
    if media_type == NDJSON:
        return {"lines": {"value": '{"to":{"user":"42"},"type":"hello"}\n{"to":{"everyone":true},"type":"hello"}\n'}}
    (named, *_) = schema.get("anyOf", [schema])
    return _examples(named["$ref"].rpartition("/")[2])


def or_null(schema: str) -> Schema:
    return {"anyOf": [ref(schema), {"type": "null"}]}
