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
from psycopg.errors import Diagnostic
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

_DOUBTFUL: Final = {"01000", "57P01"}
"""Of a commit whose wait for a standby was cut short the server says that it succeeded, and warns with one of these."""

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
# Whoever holds the log's lock as its machine is gone is noticed by the server too.
_OF_SESSIONS: Final = {
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
}
_MALFORMED = (
    "must be a URL such as postgresql://user@host:5432/name?sslmode=verify-full, with what is special in its parts "
    "written as %XX"
)


class Line(Connection[TupleRow]):
    """A connection on which no wait for the server is without an end.

    What does not end in time raises OperationalError and leaves the connection as one to be closed: it is never
    cancelled. So does a commit of which the server does not know whether it is as durable as it was asked to be.
    """

    answer_seconds = ANSWER_SECONDS
    doubt: str | None = None
    """What the server warned of: something may be committed that a standby lacks."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        answer = super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)
        if self.doubt is not None:
            raise psycopg.OperationalError(self.doubt)
        return answer

    def heed(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING" and notice.sqlstate in _DOUBTFUL:
            self.doubt = notice.message_primary or "a warning"


class Address:
    """Where a database is, and who connects to it. It is shown without what is secret."""

    def __init__(self, url: str, password: str | None = None, *, has_session: bool = True) -> None:
        """``url`` is one of libpq's, with its parameters. Without ``has_session`` one transaction may be carried out by
        another connection of the server's than the one before: nothing that is set outlasts it. Raises
        ConfigurationError."""
        self.has_session = has_session
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
            line.add_notice_handler(line.heed)
            if self.has_session:
                settings = _settings(line, statement_timeout=statement_timeout) | _OF_SESSIONS
                line.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()).encode())
            else:
                # What was prepared would be with another connection of the server's.
                line.prepare_threshold = None
        except BaseException:
            line.close()
            raise
        return line


def local_settings(line: Line) -> bytes:
    """A statement that sets for a transaction what is set for a session elsewhere."""
    each = (f"set_config('{name}', '{value}', true)" for name, value in _settings(line).items())
    return f"SELECT {', '.join(each)}".encode()


def _settings(line: Line, *, statement_timeout: bool = True) -> dict[str, str]:
    settings = {
        "lock_timeout": f"{LOCK_SECONDS}s",
        "statement_timeout": f"{STATEMENT_SECONDS if statement_timeout else 0}s",
        "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
        # Statements here are short: to compile them takes longer than to run them, and a plan that reads a whole table
        # was made when there was next to nothing in it.
        "jit": "off",
        "enable_seqscan": "off",
        "search_path": "",
    }
    if line.info.server_version >= _WITH_TRANSACTION_TIMEOUT and statement_timeout:
        settings["transaction_timeout"] = f"{3 * STATEMENT_SECONDS}s"
    return settings


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
    return line.doubt is not None or line.info.transaction_status in {
        TransactionStatus.ACTIVE,
        TransactionStatus.UNKNOWN,
    }


def one_line(error: psycopg.Error) -> str:
    """What went wrong, without what somebody stored or sent."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return "no server of this version has used the database yet: start one, or run synkrone-socket migrate"
    said = error.diag.message_primary or str(error)
    return " ".join(said.split()) or type(error).__name__
