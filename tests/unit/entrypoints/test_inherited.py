"""Which sockets a process takes of those that it was started with."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from entrypoints import inherited
from entrypoints.inherited import Inherited, inherited_sockets
from entrypoints.settings import SettingsError

ME = 4_711
NONE = Inherited()
FIRST = 200
"""Where the tests put what would be at 3, which is pytest's."""


@pytest.fixture(autouse=True)
def descriptors(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(inherited, "FIRST_DESCRIPTOR", FIRST)
    with ExitStack() as opened:
        yield opened


def put(descriptors: ExitStack, sock: socket.socket, at: int) -> None:
    with sock:
        os.dup2(sock.fileno(), at)
    descriptors.callback(close, at)


def close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        # Whoever took it has closed it.
        pass


def given(**variables: str) -> dict[str, str]:
    return {"LISTEN_PID": str(ME), "LISTEN_FDS": "1", "PATH": "/bin"} | variables


def test_those_for_this_process_are_taken_once_and_no_further(descriptors: ExitStack) -> None:
    put(descriptors, socket.create_server(("127.0.0.1", 0)), FIRST)
    put(descriptors, socket.create_server(("127.0.0.1", 0)), FIRST + 1)
    environ = given(LISTEN_FDS="2", LISTEN_FDNAMES="http:http")
    taken = inherited_sockets(environ, ME)
    assert [sock.fileno() for sock in taken.public] == [FIRST, FIRST + 1]
    assert [sock.get_inheritable() for sock in taken.public] == [False, False]
    assert taken.internal == []
    assert environ == {"PATH": "/bin"}
    assert inherited_sockets(environ, ME) == NONE
    for sock in taken.public:
        sock.close()


@pytest.mark.parametrize(
    ("names", "public", "internal"),
    [
        ("", [FIRST, FIRST + 1], []),
        ("synkrone-socket.socket:unknown", [FIRST, FIRST + 1], []),
        ("internal:public", [FIRST + 1], [FIRST]),
        ("internal:internal", [], [FIRST, FIRST + 1]),
    ],
)
def test_the_name_of_a_socket_says_whom_it_is_for(
    descriptors: ExitStack, names: str, public: list[int], internal: list[int]
) -> None:
    put(descriptors, socket.create_server(("127.0.0.1", 0)), FIRST)
    put(descriptors, socket.create_server(("127.0.0.1", 0)), FIRST + 1)
    taken = inherited_sockets(given(LISTEN_FDS="2", LISTEN_FDNAMES=names), ME)
    assert [sock.fileno() for sock in taken.public] == public
    assert [sock.fileno() for sock in taken.internal] == internal
    for sock in (*taken.public, *taken.internal):
        sock.close()


def test_as_many_names_as_sockets(descriptors: ExitStack) -> None:
    put(descriptors, socket.create_server(("127.0.0.1", 0)), FIRST)
    with pytest.raises(SettingsError, match=r"^LISTEN_FDNAMES: names 2 sockets, and there are 1$"):
        inherited_sockets(given(LISTEN_FDNAMES="public:internal"), ME)


@pytest.mark.parametrize("variables", [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": "0"}])
def test_those_for_another_process_are_left_alone(descriptors: ExitStack, variables: dict[str, str]) -> None:
    put(descriptors, socket.create_server(("127.0.0.1", 0)), FIRST)
    assert inherited_sockets(given(**variables), ME) in (NONE, Inherited([], []))
    os.fstat(FIRST)


def test_what_does_not_listen_is_refused(descriptors: ExitStack) -> None:
    with pytest.raises(SettingsError, match=r"^LISTEN_FDS: descriptor 200 is no socket: Bad file descriptor$"):
        inherited_sockets(given(), ME)
    put(descriptors, socket.socket(), FIRST)
    with pytest.raises(SettingsError, match=r"^LISTEN_FDS: descriptor 200 does not listen for connections$"):
        inherited_sockets(given(), ME)
    put(descriptors, socket.socket(type=socket.SOCK_DGRAM), FIRST)
    with pytest.raises(SettingsError, match=r"^LISTEN_FDS: descriptor 200 does not listen for connections$"):
        inherited_sockets(given(), ME)


@pytest.mark.parametrize("number", ["-1", "two", ""])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(SettingsError, match=rf"^LISTEN_FDS: must be a number, not '{number}'$"):
        inherited_sockets(given(LISTEN_FDS=number), ME)


@pytest.mark.parametrize("number", ["99999999999", "9" * 5_000])
def test_more_sockets_than_there_can_be(number: str) -> None:
    environ = {"LISTEN_PID": str(ME), "LISTEN_FDS": number}
    with pytest.raises(SettingsError, match=r"^LISTEN_FDS: is more than a process can have open$"):
        inherited_sockets(environ, ME)
