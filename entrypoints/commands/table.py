"""The commands, in the order in which ``--help`` has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from entrypoints.commands import (
    backup,
    bench,
    check_config,
    demo,
    doctor,
    export,
    import_,
    key,
    listen,
    migrate,
    move,
    nodes,
    outbox,
    publish,
    restore,
    serve,
    token,
    why,
)
from entrypoints.commands.options import Commands

COMMANDS: Final[Sequence[Callable[[Commands], None]]] = (
    serve.add_to,
    demo.add_to,
    token.add_to,
    key.add_to,
    publish.add_to,
    listen.add_to,
    why.add_to,
    check_config.add_to,
    doctor.add_to,
    migrate.add_to,
    backup.add_to,
    restore.add_to,
    export.add_to,
    import_.add_to,
    move.add_to,
    outbox.add_to,
    nodes.add_to,
    bench.add_to,
)
