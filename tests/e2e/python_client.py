"""The stock Python client of threads, in a process of its own, as tests/e2e/js/client.mjs is the one in JavaScript.

argv: {"url", "auth", "options", "transports", "busy"}; of ``auth``, a list, the nth connection gets the nth, and the
last one from then on; its handler of ``disconnect`` is ``busy`` for so many seconds. stdin, one a line:
{"send": [event, ...args]}, {"disconnect": true}; its end ends the client.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import chain, repeat
from threading import Lock
from typing import Any

import socketio

saying = Lock()


def say(what: str, **details: Any) -> None:
    """Every event comes in a thread of its own."""
    with saying:
        print(json.dumps({"what": what, **details}), flush=True)


def main() -> None:
    told: dict[str, Any] = json.loads(sys.argv[1])
    auths = chain(told["auth"], repeat(told["auth"][-1]))
    client = socketio.Client(**told["options"])
    client.on("connect", lambda: say("connect"))

    def disconnected(reason: str) -> None:
        say("disconnect", reason=reason)
        time.sleep(told["busy"])

    client.on("disconnect", disconnected)
    client.on("*", lambda name, *arguments: say("event", name=name, args=arguments))
    client.connect(told["url"], auth=lambda: next(auths), transports=told["transports"], wait_timeout=15)
    say("transport", name=client.transport())
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        if "send" in command:
            name, *arguments = command["send"]
            try:
                client.emit(name, tuple(arguments))
            except socketio.exceptions.BadNamespaceError:
                # It has been closed meanwhile.
                continue
        elif "disconnect" in command:
            client.disconnect()
    # Its threads would go on until what they wait for has come.
    os._exit(0)


if __name__ == "__main__":
    main()
