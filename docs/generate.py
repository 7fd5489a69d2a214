"""The parts of the reference that are made from the program: ``python -m docs.generate`` writes them into their pages.

What only a person can say stands here, a line a setting and a line a code; one without a line is a KeyError.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, get_args

from prometheus_client import Metric
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from adapters.api.description.problems import codes
from entrypoints import cli
from entrypoints.container import build_container
from entrypoints.reloading import LIVE
from entrypoints.settings import Settings, validate_settings
from entrypoints.settings_types import written

REFERENCE: Final = Path(__file__).parent / "reference"
BEGIN: Final = "<!-- generated: begin; python -m docs.generate writes what follows -->"
END: Final = "<!-- generated: end -->"

_NONE: Final = "none"
SETTINGS: Final[Mapping[str, str]] = {
    "host": "where to listen; `unix:/path` is a Unix socket, with no port",
    "port": "port 0 picks a free one; the address in use is printed",
    "workers": (
        "processes that serve the port, for a machine with several cores; more than one need `postgresql://`, see "
        "[Deploy](../how-to/deploy.md#all-cores-of-a-machine)"
    ),
    "auth.verifier": "what verifies users' tokens; others can be added, see [Write an adapter](../how-to/adapter.md)",
    "auth.secret": (
        "one secret or a list, of at least 32 bytes each; this or `[[auth.issuers]]` is needed, see [Tokens](tokens.md)"
    ),
    "auth.secret_file": "the same from a file, one a line",
    "auth.audience": "what `aud` must hold; refines `auth.secret`",
    "auth.roles": "roles that may be asserted; none: any; refines `auth.secret`",
    "auth.user_claim": "a claim's name, a dotted path or a list of steps; refines `auth.secret`",
    "auth.role_claim": "the same; refines `auth.secret`",
    "auth.issuers": "issuers, each with its own keys: `[[auth.issuers]]`, see [Tokens](tokens.md)",
    "auth.issuers[].issuer": "matched exactly with `iss`; required",
    "auth.issuers[].jwks": "a URL, or a file with its public keys or else with its secrets",
    "auth.issuers[].secret": "a secret or a list",
    "auth.issuers[].secret_file": "the same from a file, one a line",
    "auth.issuers[].public_key": "PEM",
    "auth.issuers[].public_key_file": "the same from a file",
    "auth.issuers[].algorithms": "`HS256` with a secret and else `RS256`, where nothing is said",
    "auth.issuers[].audience": "what `aud` must hold",
    "auth.issuers[].roles": "roles that it may assert; none: any",
    "auth.issuers[].multiple_roles": "a token may give several of `roles`, in whose order they come",
    "auth.issuers[].user_claim": "where the user's id is",
    "auth.issuers[].role_claim": "where the role is",
    "auth.issuers[].user_prefix": "put before the claim to make the user's id; needed with two issuers or more",
    "auth.issuers[].services": "client ids that may call the backend API, and their scopes",
    "auth.shared_user_ids": "several issuers speak for the same users",
    "auth.leeway": "for clocks that differ; 0 to 5m",
    "auth.token_bytes": (
        "longest token, 1024 to 65536; the head of a request may have 8192 more. `limits.message_bytes` must "
        "exceed it by 2048"
    ),
    "auth.longest_life": (
        "for how long a token may be good, from its `iat` to its `exp`; one that lives longer is refused. For so long "
        "revocations are remembered, see [Revoke and block](../how-to/revoke.md)"
    ),
    "api.key": "one key with all scopes but `admin`, at least 32 characters",
    "api.key_file": "the same from a file",
    "api.docs": "serve the description: `/docs`, `/openapi.json`, `/asyncapi.json`",
    "api.keys": "keys with scopes: `[[api.keys]]`. With none of these the backend API answers 403",
    "api.keys[].name": "for logs; 1 to 64 of `A-Z a-z 0-9 . _ -`",
    "api.keys[].hash": "`sha256:` and 64 hex digits; this or a key",
    "api.keys[].key": "the key itself, at least 32 characters",
    "api.keys[].key_file": "the same from a file",
    "api.keys[].scopes": (
        "of `publish`, `notifications:read`, `notifications:write`, `connections:read`, `connections:write`, "
        "`deliveries:read`, `inbox:read`, `inbox:write`, `topics:write`, `users:write`, `users:erase`, `users:export`, "
        "`admin`"
    ),
    "api.keys[].publish_per_second": (
        "notifications, each of a batch, each change of one or of members and each taking back among them, valid or "
        "not, on each server; beyond it 429. None: as fast as it can"
    ),
    "api.keys[].publish_burst": (
        "as many at once; none: those of a second. A larger batch is taken where nothing was published for a while, "
        "and waited for afterwards"
    ),
    "api.publish_per_second": "the same for `api.key`",
    "api.publish_burst": "the same for `api.key`",
    "source.url": "or the `http(s)://` address of a feed, see [HTTP](http.md)",
    "source.token": "for the feed; never in the address",
    "source.token_file": "the same from a file",
    "source.ca_file": "whom to trust besides, for the feed",
    "store": (
        "the file of the log and the inboxes, relative to the folder of the process (four slashes: absolute); "
        "one process at a time. `postgresql://…` is a database, see [PostgreSQL](../how-to/postgresql.md). "
        "`memory://` is gone with the process"
    ),
    "store_password": "of `postgresql://`; it is never shown",
    "store_password_file": "the same from a file",
    "store_listen": (
        "of `postgresql://`: where `store` leads to a pooler that pools by transaction, an address around it"
    ),
    "store_durability": (
        "of `postgresql://`; `sync`: nothing is stored unless `synchronous_standby_names` is set in the database"
    ),
    "store_migrate": (
        "bring an older schema into the form of today at the start; `false`: only `synkrone-socket migrate` does"
    ),
    "replay": "what a client without a cursor starts with; `none`: with what comes next",
    "cors_origins": "origins whose pages may connect beside the server's own, see [Proxies](../how-to/proxies.md)",
    "trusted_proxies": (
        "addresses or networks whose `X-Forwarded-For` and `-Proto`, or `Forwarded`, count; `unix` for all "
        "who come over a Unix socket"
    ),
    "tls.cert": "a PEM file",
    "tls.key": "a PEM file",
    "internal.host": (
        "where the internal listener is, for the other nodes and for `/health/`: never an address that clients reach"
    ),
    "internal.port": (
        "0 picks a free one; none: no internal listener. Nodes that share a PostgreSQL need it, see "
        "[Cluster](../explanation/cluster.md). Of several `workers` each has its own: this one and as many behind it, "
        "one more while they are replaced; none: free ones, on this machine alone"
    ),
    "internal.tls.cert": "a PEM file; the other nodes trust it as they do any authority of their system",
    "internal.tls.key": "a PEM file",
    "internal.ops": (
        "serve a page for operators at `/ops`, see [The operator's page](../how-to/ops-page.md); it needs one of "
        "`api.keys` with the scope `admin`"
    ),
    "internal.ops_session": "a session there ends after this, whatever is done in it",
    "internal.ops_idle": "and after this if nobody does anything in it, whatever it draws by itself",
    "node.address": (
        "where the other nodes reach the internal listener, as `http://10.0.0.5:8001`; none: `internal.host` and "
        "the port. Needed where `internal.host` is every address. Of several `workers` each has its own port"
    ),
    "retention.log": "how long a cursor stays good, and an id is remembered",
    "retention.inbox": "how long an item stays in lists and counts; never shorter than `retention.log`",
    "retention.deliveries": (
        "how long it can be said what became of notifications, see [Why](../how-to/why.md); `0s`: nothing is kept of it"
    ),
    "retention.inbox_per_user": (
        "how many of a user's newest stay in lists and counts; those of `retention.log` stay in any case"
    ),
    "limits.message_bytes": "largest message of a client",
    "limits.queue_bytes": "a client for which more waits for 5 s is cut; at once at eight times that",
    "limits.connect_timeout": "from the handshake to CONNECT",
    "limits.connections": (
        "connections at a time. With too few descriptors (`ulimit -Hn`) a line at start says how many there is room for"
    ),
    "limits.unauthenticated": (
        "sessions that have not connected yet, beside the connections: of more than that the oldest go"
    ),
    "limits.topics_per_user": "topics that a user may be in; 409 for who would be in more",
    "limits.connections_per_user": "on all nodes together; the oldest is closed beyond it",
    "limits.schedule_ahead": "how far ahead a `deliver_at` may be, see [Send it later](../how-to/schedule.md)",
    "limits.scheduled": "that wait for their time; beyond it 507, see [Send it later](../how-to/schedule.md)",
    "limits.restrictions": "users who are blocked, or whose tokens were revoked, at a time; beyond it 507",
    "limits.events_per_second": "of one client",
    "limits.events_burst": "of one client, at once",
    "limits.requests_per_second": (
        "of one user on `/v1/inbox`, and of backends on the inbox and the export of one user, on each server; beyond "
        "it 429"
    ),
    "limits.requests_burst": "the same, at once",
    "limits.publish_bytes": "largest body of one notification",
    "limits.batch_bytes": "largest body of a batch, and of a change of members",
    "limits.notification_bytes": "type, title, body and data of one notification",
    "limits.request_timeout": "for the head and for the body of a request",
    "limits.keepalive_timeout": (
        "a connection on which no request comes is closed: longer than a proxy or balancer keeps it (60 s is usual)"
    ),
    "limits.ping_interval": "Engine.IO heartbeat; at least `100ms`",
    "limits.ping_timeout": "Engine.IO heartbeat; at least `100ms`",
    "limits.drain_time": "shutdown: clients are sent away over this time at most",
    "limits.drain_rate": "shutdown: clients are sent away at this rate a second",
    "limits.memory_entries": "of the log of `memory://`",
    "limits.memory_bytes": "of the log of `memory://`",
    "log.level": "`debug`, `info`, `warning` or `error`",
    "log.format": (
        "`auto`: readable on a terminal, else JSON (`text`, `json`); `otlp`: to a collector; never a token or a payload"
    ),
    "otel.endpoint": "an OpenTelemetry collector, by OTLP over HTTP, see [Trace](../how-to/trace.md)",
    "otel.token": "for the collector: `Authorization: Bearer`",
    "otel.token_file": "the same from a file",
    "otel.traces": "export a trace of each publish",
    "otel.sample": "0 to 1: the share of the traces that begin here",
}
CODES: Final[Mapping[str, str]] = {
    "already_connected": "leave the first connection as it is; a second needs a session of its own",
    "at_capacity": "come back later; operators: `limits.connections`",
    "already_sent": "take it back, and publish another under another id",
    "conflict": "give the other content an id of its own, or change what was published with `PATCH`",
    "blocked": "stay away: an operator has blocked the user",
    "cursor_refused": "come back; `session.ready` then says why, list anew",
    "disconnected_by_operator": "as `reconnect` says",
    "expired": "publish another: what has expired cannot be changed",
    "foreign_origin": "operators: put the page's origin in `cors_origins`",
    "deleted": "publish another: nobody has it any more",
    "forbidden": "use a credential with the scope that `WWW-Authenticate` names",
    "identity_mismatch": "connect anew with the other user's token",
    "internal_server_error": "report it; the log has more",
    "invalid_argument": "mend the argument that `detail` names",
    "invalid_json": "send JSON",
    "invalid_notification": "mend the fields that `errors` names",
    "invalid_settings": "mend the setting that `errors` names; what was before still holds",
    "invalid_token": "sign in anew; the log says what was wrong with the token",
    "keys_unavailable": "come back later; operators: the issuer's key server",
    "method_not_allowed": "use a method that `Allow` names",
    "not_found": "look at the id: it is none, or of what is kept no more",
    "rate_limited": "ask more slowly, after `Retry-After` where it is given; a connection that was closed comes back",
    "recalled": "nothing: it was taken back before",
    "shutting_down": "come back, after `retry_after_ms` where it is given",
    "slow_consumer": "come back; what was missed follows",
    "store_unavailable": "come back later; operators: the disk and the log",
    "superseded": "nothing: the newer connection of the same client goes on",
    "token_expired": "get a new token and connect again",
    "token_revoked": "sign in anew, and connect again with the new token",
    "too_large": "send less, or in parts; operators: `limits`",
    "too_many_connections": "close another of the user's connections first",
    "too_many_scheduled": "come back once some have become due, or operators: raise `limits.scheduled`",
    "too_many_topics": "remove whom `detail` names from others, or operators: raise `limits.topics_per_user`",
    "too_many_restrictions": "operators: raise `limits.restrictions`, or lower `auth.longest_life`",
    "unauthenticated": "send a credential that is known",
    "unavailable": "come back later",
    "unknown_erasure": "look at the id: it is none, or of one that was done longer ago than `retention.inbox`",
    "unknown_event": "check the event's name",
    "unknown_namespace": "connect to `/`",
    "unsupported_media_type": "send a media type that `title` speaks of, uncompressed",
}

OVER_HTTP: Final[Mapping[str, str]] = {
    "foreign_origin": "403",
    "internal_server_error": "500",
    "invalid_argument": "400; of inboxes, exports, members, revoking and blocking 422, but for what stands in the path",
}
"""Where a route has a status of its own."""


def settings_table() -> str:
    """One row a setting: its name, its default, whether another value holds at once, what it means."""
    rows = (f"| `{name}` | {default} | {_holds(name)} | {SETTINGS[name]} |" for name, default in settings(Settings))
    return "\n".join(("| setting | default | changes | meaning |", "|---|---|---|---|", *rows))


def _holds(name: str) -> str:
    return "at once" if name.partition("[")[0] in LIVE else "restart"


def settings(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """The names of a section's settings and of all below it, each with its default as Markdown."""
    for name, field in section.model_fields.items():
        if isinstance(inner := field.annotation, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{path}{name}.")
            continue
        yield f"{path}{name}", _default(field)
        for element in get_args(field.annotation):
            if isinstance(element, type) and issubclass(element, BaseModel):
                yield from settings(element, f"{path}{name}[].")


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value in ([], {}, ""):
        return _NONE
    if isinstance(value, timedelta):
        return f"`{written(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(value) if isinstance(value, list) else value}`"


def codes_table() -> str:
    """One row a code."""
    rows = ["| code | title | over HTTP | retryable | what to do |", "|---|---|---|---|---|"]
    for each in codes():
        status = OVER_HTTP.get(each.code, str(each.status or ""))
        retryable = "yes" if each.retryable else "no"
        rows.append(f"| `{each.code}` | {each.title} | {status} | {retryable} | {CODES[each.code]} |")
    return "\n".join(rows)


def command_names() -> list[str]:
    return re.findall(r"^    ([a-z-]+)(?: |$)", said_by("--help"), re.MULTILINE)


def commands_text() -> str:
    """What every command says of itself."""
    texts = {name: said_by(name, "--help").strip() for name in command_names()}
    return "\n\n".join(f"## {name}\n\n```text\n{text}\n```" for name, text in texts.items())


def said_by(*arguments: str) -> str:
    """What the command line prints and ends with, 100 columns wide."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            cli.main(arguments)
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return output.getvalue()


def metrics_table() -> str:
    """One row a metric: its name as queries have it, its type, its labels, what it says."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in metrics():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in family._labelnames)  # type: ignore[attr-defined]  # noqa: SLF001
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


def metrics() -> list[Metric]:
    """All that a server can say, whether or not it has anything to say of it yet."""
    settings = validate_settings({"auth": {"secret": "x" * 32}, "store": "memory://"})
    return list(build_container(settings).counted().collect())


PARTS: Final = {
    "settings.md": settings_table,
    "commands.md": commands_text,
    "codes.md": codes_table,
    "metrics.md": metrics_table,
}


def current(page: str, text: str) -> str:
    """The text of a page of the reference with its generated part as it is to be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for what is generated")
    return f"{before}{BEGIN}\n\n{PARTS[page]()}\n\n{END}{after}"


def main() -> None:
    for page in PARTS:
        path = REFERENCE / page
        path.write_text(current(page, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
