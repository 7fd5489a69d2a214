"""What the kernel takes for a delivery: a bare loop of ``send()``, and somebody who reads on the other core.

``python -m tests.benchmarks.programs.limit CONNECTIONS SENDS INTERVAL SERVER_CORE LOAD_CORE``; a core of -1 is none in
particular. Prints the CPU of one ``send()`` in microseconds.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
import time

FRAME = b"x" * 380


def main(connections: int, sends: int, interval: float, server_core: int, load_core: int) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=connections) as listening:
        if os.fork() == 0:
            _pin(load_core)
            _read_all(listening.getsockname(), connections)
            os._exit(0)
        _pin(server_core)
        sockets = [listening.accept()[0] for _ in range(connections)]
        for sock in sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before, start = _cpu(), time.monotonic()
        for number in range(1, sends + 1):
            for sock in sockets:
                sock.send(FRAME)
            time.sleep(max(0.0, start + number * interval - time.monotonic()))
        print((_cpu() - before) / (sends * connections) * 1e6)
        for sock in sockets:
            sock.close()
    os.wait()


def _read_all(address: tuple[str, int], connections: int) -> None:
    poll = select.epoll()
    sockets = {}
    for _ in range(connections):
        sock = socket.create_connection(address)
        sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    while sockets:
        for descriptor, _ in poll.poll():
            if not sockets[descriptor].recv(65_536):
                poll.unregister(descriptor)
                sockets.pop(descriptor).close()


def _pin(core: int) -> None:
    if core >= 0:
        os.sched_setaffinity(0, {core})


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    connections, sends, interval, server_core, load_core = sys.argv[1:]
    main(int(connections), int(sends), float(interval), int(server_core), int(load_core))
