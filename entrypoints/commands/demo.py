"""``synkrone-socket demo``."""

from __future__ import annotations

import argparse

from entrypoints.commands.options import Commands, a_port, add_command
from entrypoints.demo import story, terminal


def add_to(commands: Commands) -> None:
    about = "show everything on this machine, with keys made up for the run"
    command = add_command(commands, "demo", about, examples=("demo", "demo --no-open --port 8080", "demo --once"))
    command.add_argument("--terminal", action="store_true", help="tell it in the terminal, without a page")
    command.add_argument(
        "--once", action="store_true", help="one round in the terminal; exit code 1 if anything went wrong"
    )
    command.add_argument("--no-open", action="store_true", help="only print the link to the page")
    command.add_argument("--port", type=a_port, default=0, help="of the page (default: a free one)")
    command.add_argument("--server-port", type=a_port, default=0, help="of the server (default: a free one)")
    command.add_argument(
        "--socket-io-client", metavar="URL|FILE", help="the stock client (default: a pinned one, from its CDN)"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
