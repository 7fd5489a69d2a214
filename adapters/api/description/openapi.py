"""What is asked over HTTP, as OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from adapters.api.description.backend_paths import paths_of_backends
from adapters.api.description.operations import HEADERS, TEXT, operation
from adapters.api.description.schemas import SCOPES, components
from adapters.api.description.user_paths import paths_of_users


def openapi(version: str, *, pages: Sequence[str]) -> dict[str, Any]:
    """The document. ``pages`` are the paths of files, each answered with its file."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "synkrone-socket",
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": (
                "Backends publish and look after connections; users read and mark their inbox, and follow it by a "
                "stream of Server-Sent Events. What is said over Socket.IO is in `/asyncapi.json`.\n\n"
                "Failures are `application/problem+json` with a stable `code`. Ignore members that you do not know."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "backends", "description": "With an API key, or a service's access token (RFC 9068)."},
            {"name": "users", "description": "With the user's own token. Pages of `cors_origins` may use them."},
            {"name": "operators", "description": "Without a credential."},
            {"name": "files", "description": "What pages and people load, from every origin."},
        ],
        "paths": {
            **paths_of_backends(),
            **paths_of_users(),
            **_of_operators(),
            **{path: _file(path) for path in pages},
        },
        "components": {
            "schemas": components(),
            "headers": dict(HEADERS),
            "securitySchemes": {
                "backend": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"An API key or an access token. Scopes: {', '.join(SCOPES)}.",
                },
                "user": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A user's token."},
            },
        },
    }


def _of_operators() -> dict[str, Any]:
    return {
        "/health/live": {
            "get": operation(
                "live",
                "Whether the process answers",
                "",
                tag="operators",
                answers={HTTPStatus.OK: "Live"},
            )
        },
        "/health/ready": {
            "get": operation(
                "ready",
                "Whether it can serve",
                "",
                tag="operators",
                answers={HTTPStatus.OK: "Ready", HTTPStatus.SERVICE_UNAVAILABLE: "NotReady"},
            )
        },
    }


def _file(path: str) -> dict[str, Any]:
    getting = operation("file" + path.replace("/", "_").replace(".", "_"), path, "", tag="files", answers={})
    headers = {header: {"$ref": f"#/components/headers/{header}"} for header in ("ETag", "Cache-Control")}
    getting["parameters"] = [{"name": "If-None-Match", "in": "header", "schema": TEXT}]
    getting["responses"]["200"] = {"description": "The file.", "headers": headers, "content": {"*/*": {}}}
    getting["responses"]["304"] = {"description": "It is what the client has.", "headers": headers}
    return {"get": getting}
