"""``synkrone-socket outbox``: what applications published in their transactions and is not in the log."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from functools import partial
from typing import Final

from adapters.contract.json_text import timestamp
from adapters.store.served import OutboxState, ServedOutbox, StoreWithOutbox
from domain.errors import SynkroneError
from entrypoints.commands.options import DONE, FAILED, Commands, add_command, add_config, settings_of
from entrypoints.container import build_store
from entrypoints.settings import Settings, SettingsError

RETRY, DISCARD = "retry", "discard"
_DONE: Final = {RETRY: "put back", DISCARD: "discarded"}


def add_to(commands: Commands) -> None:
    about = "what waits to be published from a PostgreSQL database, and what cannot be"
    examples = ("outbox", "outbox --json", "outbox retry 7 8", "outbox retry --all", "outbox discard 9")
    command = add_command(commands, "outbox", about, examples=examples)
    add_config(command)
    command.add_argument("action", nargs="?", choices=[RETRY, DISCARD], help="of what is parked (default: list it)")
    command.add_argument("numbers", nargs="*", type=_number, metavar="NUMBER", help="as listed")
    command.add_argument("--all", action="store_true", help="retry all that is parked")
    command.add_argument("--json", action="store_true", help="list as JSON")
    command.set_defaults(run=partial(run, command))


def run(command: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if fault := _fault(options):
        command.error(fault)
    with settings_of(options) as (settings, _):
        said, is_done = _carry_out(settings, options)
    print(said)
    return DONE if is_done else FAILED


def _fault(options: argparse.Namespace) -> str | None:
    """What is wrong with the arguments together."""
    if options.json and options.action is not None:
        return "--json: only what is listed is written as JSON"
    if options.all and (options.action != RETRY or options.numbers):
        return "--all: stands for the numbers of retry"
    if options.action is not None and not options.numbers and not options.all:
        return f"{options.action} needs a NUMBER" + (" or --all" if options.action == RETRY else "")
    return None


def _carry_out(settings: Settings, options: argparse.Namespace) -> tuple[str, bool]:
    """What is to be printed, and whether all that was asked for is done. Raises SettingsError."""
    outbox = _outbox(settings)
    try:
        if options.action is None:
            state = outbox.state()
            return (_as_json(state) if options.json else _as_text(state)), True
        done = outbox.retry(None if options.all else options.numbers) if options.action == RETRY else 0
        if options.action == DISCARD:
            done = outbox.discard(options.numbers)
    except SynkroneError as error:
        raise SettingsError(f"store: {error}") from None
    asked = done if options.all else len(set(options.numbers))
    others = f"; not parked: {asked - done}" if done < asked else ""
    return f"{done} {_DONE[options.action]}{others}", done == asked


def _outbox(settings: Settings) -> ServedOutbox:
    store = build_store(settings)
    if not isinstance(store, StoreWithOutbox):
        raise SettingsError(f"store: {store.place} has no outbox, a postgresql:// has one")
    return store.outbox


def _as_json(state: OutboxState) -> str:
    parked = [
        {
            "number": one.number,
            "type": one.type,
            "id": one.id,
            "published_at": timestamp(one.published_at),
            "parked_at": timestamp(one.parked_at),
            "reason": one.reason,
        }
        for one in state.parked
    ]
    return json.dumps(
        {
            "waiting": state.waiting,
            "oldest": timestamp(state.oldest) if state.oldest is not None else None,
            "parked_total": state.parked_total,
            "parked": parked,
        },
        ensure_ascii=False,
        indent=2,
    )


def _as_text(state: OutboxState) -> str:
    since = f", the first since {_time(state.oldest)}" if state.oldest is not None else ""
    lines = [f"waiting: {state.waiting}{since}", f"parked: {state.parked_total}"]
    for one in state.parked:
        named = f"{one.type}, {one.id}" if one.id is not None else one.type
        lines.append(f"  {one.number}  called {_time(one.published_at)}  {named}: {one.reason}")
    if state.parked_total > len(state.parked):
        lines.append(f"  and {state.parked_total - len(state.parked)} more")
    return "\n".join(lines)


def _time(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00") + " UTC"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError("must be a number as listed")
    return int(text)
