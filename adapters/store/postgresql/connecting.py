"""Connections to a PostgreSQL database: where it is, and that nothing waits for it for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any, Final, TypeVar
from urllib.parse import quote

import psycopg
from psycopg import Connection, Notify
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from adapters.store.served import StoreUnusable
from adapters.system.configuration import ConfigurationError

T = TypeVar("T")

OLDEST_SERVER: Final = 15

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
STATEMENT_SECONDS = 10
ANSWER_SECONDS = 15.0
"""A server that has not answered by then does not: its own limits are shorter."""

_WITH_TRANSACTION_TIMEOUT: Final = 170_000

# Where nobody says otherwise. A line that is cut is noticed while something is sent on it, and while nothing is.
_PARAMETERS: Final = {
    "application_name": "synkrone-socket",
    "connect_timeout": CONNECT_SECONDS,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    # Of several hosts, as in postgresql://one,two/name, the one that is not a copy.
    "target_session_attrs": "read-write",
}
_MALFORMED = (
    "must be a URL such as postgresql://user@host:5432/name?sslmode=verify-full, with what is special in its parts "
    "written as %XX"
)


class Line(Connection[TupleRow]):
    """A connection on which no wait for the server is without an end.

    What does not end in time raises OperationalError and leaves the connection as one to be closed: it is never
    cancelled. Of a commit that waits for a standby the server says that it succeeded when it is cancelled.
    """

    answer_seconds = ANSWER_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)


class Address:
    """Where a database is, and who connects to it. It is shown without what is secret."""

    def __init__(self, url: str, password: str | None = None) -> None:
        """``url`` is one of libpq's, with its parameters. Raises ConfigurationError."""
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            # What libpq says quotes the URL, and a password may be in it.
            raise ConfigurationError("", _MALFORMED) from None
        # A password with such characters in it has ended early, and the rest of it is elsewhere.
        misplaced = any("@" in str(given.get(name, "")) for name in ("host", "port", "dbname"))
        if misplaced or not set(str(given.get("port", ""))) <= set("0123456789,") or "\0" in url:
            raise ConfigurationError("", _MALFORMED)
        if password is not None:
            if "password" in given:
                raise ConfigurationError("", "has a password in it, and another one is given beside it")
            given["password"] = password
        self._parameters: Mapping[str, Any] = _PARAMETERS | given | {"client_encoding": "UTF8"}

    @property
    def place(self) -> str:
        """As a URL, without a user, a password or parameters."""
        hosts, ports, name = (str(self._parameters.get(part) or "") for part in ("host", "port", "dbname"))
        where = ",".join(
            (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
            for host, port in zip_longest(hosts.split(","), ports.split(","), fillvalue="")
        )
        return f"postgresql://{where}/{quote(name)}"

    def connect(self, *, notified: Callable[[Notify], None] | None = None, statement_timeout: bool = True) -> Line:
        """Raises psycopg.Error."""
        line = Line.connect(**self._parameters, autocommit=True)
        try:
            if notified is not None:
                line.add_notify_handler(notified)
            seconds = {
                "lock_timeout": LOCK_SECONDS,
                "statement_timeout": STATEMENT_SECONDS if statement_timeout else 0,
                "idle_in_transaction_session_timeout": STATEMENT_SECONDS,
            }
            if line.info.server_version >= _WITH_TRANSACTION_TIMEOUT and statement_timeout:
                seconds["transaction_timeout"] = 3 * STATEMENT_SECONDS
            settings = [f"SET {name} = '{number}s'" for name, number in seconds.items()]
            # Statements here are short: to compile them takes longer than to run them, and a plan that reads a whole
            # table was made when there was next to nothing in it.
            settings += ["SET jit = off", "SET enable_seqscan = off", "SET search_path = ''"]
            settings += ["SET default_transaction_isolation = 'read committed'"]
            line.execute("; ".join(settings).encode())
        except BaseException:
            line.close()
            raise
        return line


def check_server(line: Line) -> None:
    """Raises StoreUnusable for a server that cannot hold a store."""
    version = line.info.server_version // 10_000
    if version < OLDEST_SERVER:
        raise StoreUnusable(f"the server is PostgreSQL {version}: {OLDEST_SERVER} or newer is needed")
    row = line.execute("SELECT version(), current_setting('server_encoding'), current_database()").fetchone()
    described, encoding, name = row if row is not None else ("", "", "")
    if not described.startswith("PostgreSQL"):
        raise StoreUnusable(f"the server is no PostgreSQL, but {described.split(' ', 1)[0]}")
    if encoding != "UTF8":
        raise StoreUnusable(f"the database {name} is in {encoding}: make one in UTF8")


def is_uncertain(line: Line) -> bool:
    """After an error: whether what was sent may have been committed, as nothing says that it was not."""
    return line.info.transaction_status in {TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN}


def one_line(error: psycopg.Error) -> str:
    """What went wrong, without what somebody stored or sent."""
    said = error.diag.message_primary or str(error)
    return " ".join(said.split()) or type(error).__name__
