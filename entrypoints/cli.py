"""``synkrone-socket serve | demo | token | publish | listen | check-config | migrate | move | outbox | nodes``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from adapters.contract.json_text import InvalidJson, parse_object
from domain.errors import InvalidPublication, StoreUnavailable
from entrypoints import checking, client, nodes, outbox, workers
from entrypoints.demo import story, terminal
from entrypoints.move import NotMoved, move
from entrypoints.move_progress import display_for
from entrypoints.settings import MissingSetting, Settings, SettingsError, naming, read_settings
from entrypoints.settings_sources import Sources
from entrypoints.settings_types import MAX_WORKERS, duration
from entrypoints.tokens import mint
from entrypoints.version import installed_version

WRONG_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 1 for a failure, 2 for a wrong setting or argument."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except SettingsError as error:
        print(f"synkrone-socket: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, and must not be written to again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="synkrone-socket", description="A self-hosted notification server.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="run the server")
    _add_config(command)
    command.add_argument("--workers", type=_workers, help="processes that serve (default: that of the settings)")
    command.set_defaults(run=lambda options: workers.main(options.config, options.workers))

    command = commands.add_parser("demo", help="show everything on this machine, with keys made up for the run")
    command.add_argument("--terminal", action="store_true", help="tell it in the terminal, without a page")
    command.add_argument(
        "--once", action="store_true", help="one round in the terminal; exit code 1 if anything went wrong"
    )
    command.add_argument("--no-open", action="store_true", help="only print the link to the page")
    command.add_argument("--port", type=_port, default=0, help="of the page (default: a free one)")
    command.add_argument("--server-port", type=_port, default=0, help="of the server (default: a free one)")
    command.add_argument(
        "--socket-io-client", metavar="URL|FILE", help="the stock client (default: a pinned one, from its CDN)"
    )
    command.set_defaults(run=_demo)

    command = commands.add_parser("token", help="print a JWT signed with auth.secret")
    _add_config(command)
    command.add_argument("--user", required=True, help="the user's id")
    command.add_argument("--role", required=True, help="the user's role")
    command.add_argument("--ttl", type=_duration, default=timedelta(hours=1), help="for example 30s, 10m, 1h (default)")
    command.set_defaults(run=_token)

    command = commands.add_parser("publish", help="post a notification to a running server")
    _add_config(command)
    _add_url(command)
    command.add_argument("--to", type=_audience, required=True, help="user:ID, users:ID,ID, role:NAME or everyone")
    command.add_argument("--type", type=_text, required=True, help="for example mission.assigned")
    command.add_argument("--title", type=_text)
    command.add_argument("--body", type=_text)
    command.add_argument("--data", type=_json_object, help="a JSON object")
    command.add_argument("--id", type=_text, help="makes a retry safe")
    command.set_defaults(run=_publish)

    command = commands.add_parser("listen", help="print what arrives for a user, and resume after a cut")
    _add_config(command)
    _add_url(command)
    command.add_argument("--token", required=True, help="the user's JWT")
    command.set_defaults(run=_listen)

    command = commands.add_parser("check-config", help="read the settings and say whether serve would start")
    _add_config(command)
    command.set_defaults(run=_check_config)

    command = commands.add_parser("migrate", help="bring what the store holds into the form of this version")
    _add_config(command)
    command.set_defaults(run=_migrate)

    command = commands.add_parser("move", help="bring a store from a SQLite file into the database of the settings")
    _add_config(command)
    command.add_argument(
        "--from", dest="source", metavar="URL", required=True, help="for example sqlite:///synkrone.db"
    )
    command.add_argument("--json", action="store_true", help="say how far it has come in lines of JSON")
    command.set_defaults(run=_move)

    command = commands.add_parser(
        "outbox", help="what waits to be published from a PostgreSQL database, and what cannot be"
    )
    _add_config(command)
    outbox.add_arguments(command)
    command.set_defaults(run=partial(_outbox, command))

    command = commands.add_parser("nodes", help="list the servers that share the store, as each last said of itself")
    _add_config(command)
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=_nodes)
    return parser


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, help="a TOML file (default: synkrone.toml, where there is one)")


def _add_url(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="the server's address (default: that of the settings)")


@contextmanager
def _settings(options: argparse.Namespace) -> Iterator[tuple[Settings, Sources]]:
    """What is found wrong with them is said as ``naming`` says it."""
    settings, sources = read_settings(os.environ, options.config)
    with naming(sources):
        yield settings, sources


def _url(options: argparse.Namespace, settings: Settings) -> str:
    if options.url is not None:
        return str(options.url).rstrip("/")
    if settings.is_unix:
        raise SettingsError("--url: is needed, as the server of these settings listens on a Unix socket")
    scheme = "https" if settings.tls.cert is not None else "http"
    return f"{scheme}://{settings.address}"


def _demo(options: argparse.Namespace) -> int:
    if options.once or options.terminal:
        return terminal.main(once=options.once)
    return story.main(
        story.DemoOptions(
            opens_browser=not options.no_open,
            port=options.port,
            server_port=options.server_port,
            socket_io_client=options.socket_io_client,
        )
    )


def _token(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, _):
        print(mint(settings.auth, user=options.user, role=options.role, ttl=options.ttl))
    return 0


def _publish(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, _):
        if settings.api.key is None:
            raise MissingSetting("api.key: is required (SYNKRONE_API__KEY)")
        key = settings.api.key.get_secret_value()
    body: dict[str, Any] = {"to": options.to, "type": options.type}
    body |= {name: value for name in ("title", "body", "data", "id") if (value := getattr(options, name)) is not None}
    url = _url(options, settings)
    try:
        status, answer = asyncio.run(client.publish(url, key, body))
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"synkrone-socket: cannot reach {url}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(answer, file=sys.stdout if status < 400 else sys.stderr)
    return 0 if status < 400 else 1


def _listen(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, _):
        url = _url(options, settings)

    def show(name: str, arguments: tuple[Any, ...]) -> None:
        print(name, *(json.dumps(argument, ensure_ascii=False) for argument in arguments), flush=True)

    def notify(line: str) -> None:
        print(f"synkrone-socket: {line}", file=sys.stderr, flush=True)

    try:
        asyncio.run(client.listen(url, options.token, show, notify=notify))
    except client.Refused as refused:
        print(f"synkrone-socket: {refused}", file=sys.stderr)
    return 1


def _check_config(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, sources):
        passing = checking.check(settings)
        print(f"The settings are good: serve would listen on {settings.address}.")
        print(f"Settings file: {sources.where}")
        for line in checking.notices(settings, sources):
            print(f"Note: {line}")
        for line in passing:
            print(f"For the moment it could not: {sources.named(line)}")
        if untried := checking.untried(settings):
            print(f"Not tried: {', '.join(untried)}.")
    return 0


def _migrate(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, _):
        print(checking.migrate(settings))
    return 0


def _move(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, _):
        try:
            move(settings, options.source, display_for(as_json=options.json))
        except NotMoved as error:
            print(f"synkrone-socket: {error}", file=sys.stderr)
            return 1
    return 0


def _outbox(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if fault := outbox.fault(options):
        command.error(fault)
    with _settings(options) as (settings, _):
        said, is_done = outbox.run(settings, options)
    print(said)
    return 0 if is_done else 1


def _nodes(options: argparse.Namespace) -> int:
    with _settings(options) as (settings, _):
        try:
            members = asyncio.run(nodes.read_members(settings))
        except StoreUnavailable as error:
            print(f"synkrone-socket: {error}", file=sys.stderr)
            return 1
    print(nodes.as_json(members) if options.json else nodes.as_table(members))
    return 0


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a port, 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a number of processes, 1 to {MAX_WORKERS}")
    return int(text)


def _duration(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _audience(text: str) -> dict[str, object]:
    kind, _, names = _text(text).partition(":")
    if kind == "everyone" and not names:
        return {"everyone": True}
    if kind in ("user", "role") and names:
        return {kind: names}
    if kind == "users" and names:
        return {"users": names.split(",")}
    raise argparse.ArgumentTypeError("must be user:ID, users:ID,ID, role:NAME or everyone")


def _text(text: str) -> str:
    """An argument that can be sent: the bytes of one that is no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return text


def _json_object(text: str) -> msgspec.Raw:
    """Passed on as it was written: reading and writing it anew would change its numbers."""
    data = _text(text).encode()
    try:
        parse_object(data)
    except InvalidJson as error:
        raise argparse.ArgumentTypeError(f"must be JSON: {error.detail}") from None
    except InvalidPublication:
        raise argparse.ArgumentTypeError("must be a JSON object") from None
    return msgspec.Raw(data)


if __name__ == "__main__":
    sys.exit(main())
