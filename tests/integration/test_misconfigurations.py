"""Settings that are wrong: each is told in one line, with its source and its mend, and by every command alike."""

from __future__ import annotations

import json
import os
import socketserver
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.store.sqlite.schema import FileLock
from entrypoints.settings_access import SCOPES
from tests.e2e.certificates import make_certificate
from tests.forked import CLI, run_forked
from tests.processes import environment
from tests.tokens import key_for, pem, short_rsa_key

PATIENCE = 15.0
COMMANDS = ("check-config", "doctor", "serve")
"""The last may leave files, as it begins to do something."""
SECRET = "a secret of the tests, long enough for HS256"
GOOD = 'port = 0\nstore = "memory://"\n'
"""Two lines."""
WITH_AUTH = f'{GOOD}[auth]\nsecret = "{SECRET}"\n'
"""Four lines."""
FILE = "FOLDER/synkrone.toml"
PRIVATE = "pRiVaTe"


def nothing(_: Path) -> None:
    pass


@dataclass(frozen=True)
class Wrong:
    """``line`` is what is said, with FOLDER for where the command runs; ``file`` is synkrone.toml, None for none."""

    line: str
    file: str | None = WITH_AUTH
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], object] = nothing


def two_certificates(folder: Path) -> None:
    make_certificate(folder)
    (folder / "other").mkdir()
    make_certificate(folder / "other")


def database_of_another(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "x.db")) as db:
        db.execute("CREATE TABLE accounts (id INTEGER)")


def file(text: str | bytes, name: str = "x") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def good_key(folder: Path) -> None:
    (folder / "x").write_bytes(pem(key_for("RS256")))


def short_key(folder: Path) -> None:
    (folder / "x").write_bytes(pem(short_rsa_key()))


def issuers(*tables: str) -> str:
    """The first table begins at line 3."""
    return GOOD + "".join(f"[[auth.issuers]]\n{table}\n" for table in tables)


UNKNOWN_TO = "or name another file in the setting store"
READER = f"let the user of this process ({os.geteuid()}) read it"
CASES: Mapping[str, Wrong] = {
    "no TOML": Wrong(
        f"{FILE}: Expected '=' after a key in a key/value pair (at line 2, column 6)", "port = 1\nhost \n"
    ),
    "no UTF-8": Wrong(
        f"{FILE}: is not UTF-8 (at line 5)", prepare=file(WITH_AUTH.encode() + b'host = "\xff"', "synkrone.toml")
    ),
    "unknown in the file": Wrong(
        f"limits.connection: is not a known setting: did you mean limits.connections? ({FILE}, line 6)",
        f"{WITH_AUTH}[limits]\nconnection = 1\n",
    ),
    "unknown in the environment": Wrong(
        "SYNKRONE_AUTH__SECERT: is not a known setting: did you mean auth.secret?",
        variables={"SYNKRONE_AUTH__SECERT": PRIVATE},
    ),
    "in another section": Wrong(
        f"auth.trusted_proxies: is not a known setting: did you mean trusted_proxies? ({FILE}, line 5)",
        f"{WITH_AUTH}trusted_proxies = []\n",
    ),
    "no number": Wrong(f"port: must be a whole number ({FILE}, line 1)", 'port = "http"\n'),
    "no such port": Wrong("SYNKRONE_PORT: must be at most 65535", variables={"SYNKRONE_PORT": "80000"}),
    "no duration": Wrong(
        f"retention.log: must be a duration such as 30s, 10m, 1h or 30d ({FILE}, line 7)",
        f'{WITH_AUTH}[retention]\n# a month\nlog = "1 month"\n',
    ),
    "no JSON in a variable": Wrong(
        'SYNKRONE_CORS_ORIGINS: must be a list or table such as ["one", "two"]; in the environment, as JSON',
        variables={"SYNKRONE_CORS_ORIGINS": "https://app.example"},
    ),
    "no origin": Wrong(
        f"cors_origins[1]: must be an origin such as https://app.example, with no path ({FILE}, line 5)",
        f'{GOOD}cors_origins = [\n  "https://a.example",\n  "https://b.example/",\n]\n',
    ),
    "no network": Wrong(
        "SYNKRONE_TRUSTED_PROXIES[0]: must be an IP address, a network such as 10.0.0.0/8, or unix",
        variables={"SYNKRONE_TRUSTED_PROXIES": '["10.0.0.1/8"]'},
    ),
    "no level": Wrong(
        f"log.level: must be 'debug', 'info', 'warning' or 'error' ({FILE}, line 6)",
        f'{WITH_AUTH}[log]\nlevel = "verbose"\n',
    ),
    "limits that do not fit together": Wrong(
        f"limits.queue_bytes: must be at least 97253 for limits.notification_bytes ({FILE}, line 6)",
        f"{WITH_AUTH}[limits]\nqueue_bytes = 65536\nnotification_bytes = 85981\n",
    ),
    "no secret": Wrong(f"auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers (not set in {FILE})", GOOD),
    "no secret, and no file": Wrong(
        f"auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers (not set; there is no file {FILE})", None
    ),
    "weak secret": Wrong(
        "SYNKRONE_AUTH__SECRET: has 7 bytes; at least 32 are needed", variables={"SYNKRONE_AUTH__SECRET": PRIVATE}
    ),
    "no file of secrets": Wrong(
        f"auth.secret_file: cannot read /run/none: No such file or directory: make it, or name another file "
        f"({FILE}, line 4)",
        f'{GOOD}[auth]\nsecret_file = "/run/none"\n',
    ),
    "weak secret in a file": Wrong(
        f"auth.secret_file: has 7 bytes; at least 32 are needed ({FILE}, line 4)",
        f'{GOOD}[auth]\nsecret_file = "x"\n',
        prepare=file(PRIVATE),
    ),
    "secret beside issuers": Wrong(
        f"auth.secret: is given beside auth.issuers: remove one of them ({FILE}, line 4)",
        f'{WITH_AUTH}[[auth.issuers]]\nissuer = "https://a.example"\n',
    ),
    "no file of keys": Wrong(
        "auth.issuers[0].jwks: cannot read keys.json: No such file or directory: make it, or name another file "
        f"({FILE}, line 5)",
        issuers('issuer = "https://a.example"\njwks = "keys.json"'),
    ),
    "no keys in it": Wrong(
        f"auth.issuers[0].jwks: is not JSON in UTF-8: save the JWK Set of the issuer there ({FILE}, line 5)",
        issuers('issuer = "https://a.example"\njwks = "x"'),
        prepare=file("-----BEGIN PUBLIC KEY-----"),
    ),
    "plain http": Wrong(
        "SYNKRONE_AUTH__ISSUERS[0].jwks: must be a file, or an https URL (http only on this machine)",
        GOOD,
        {"SYNKRONE_AUTH__ISSUERS": json.dumps([{"issuer": "a", "jwks": "http://a.example/keys"}])},
    ),
    "weak key": Wrong(
        f"auth.issuers[0].public_key_file: is an RSA key of 1024 bits; 2048 to 8192 are allowed ({FILE}, line 5)",
        issuers('issuer = "https://a.example"\npublic_key_file = "x"'),
        prepare=short_key,
    ),
    "algorithms of both kinds": Wrong(
        f"auth.issuers[0].algorithms: HMAC and public-key algorithms must not be mixed ({FILE}, line 6)",
        issuers('issuer = "https://a.example"\npublic_key_file = "x"\nalgorithms = ["RS256", "HS256"]'),
        prepare=good_key,
    ),
    "no signatures": Wrong(
        f"auth.issuers[0].algorithms: 'none' would accept tokens without a signature ({FILE}, line 5)",
        issuers(f'issuer = "a"\nalgorithms = ["none"]\nsecret = "{SECRET}"'),
    ),
    "two issuers without prefixes": Wrong(
        "auth.issuers[1].user_prefix: 'a-b-' and 'a-' of 'https://a.example' let one issuer speak for the other's "
        f"users: give each its own, none the beginning of another, or set shared_user_ids ({FILE}, line 9)",
        issuers(
            f'issuer = "https://a.example"\nuser_prefix = "a-"\nsecret = "{SECRET}"',
            f'issuer = "https://b.example"\nuser_prefix = "a-b-"\nsecret = "{SECRET}"',
        ),
    ),
    "weak API key": Wrong(
        "SYNKRONE_API__KEY: must have at least 32 characters", variables={"SYNKRONE_API__KEY": PRIVATE}
    ),
    "no hash": Wrong(
        f"api.keys[1].hash: must be 'sha256:' and 64 hexadecimal digits ({FILE}, line 10)",
        f'{WITH_AUTH}[[api.keys]]\nname = "a"\nhash = "sha256:{"0" * 64}"\n'
        f'[[api.keys]]\nname = "b"\nhash = "{PRIVATE}"\n',
    ),
    "unknown scope": Wrong(
        f"SYNKRONE_API__KEYS[0].scopes: 'write' is not one of {', '.join(sorted(SCOPES))}",
        variables={"SYNKRONE_API__KEYS": json.dumps([{"name": "a", "key": "k" * 32, "scopes": ["write"]}])},
    ),
    "unknown store": Wrong(
        "SYNKRONE_STORE: must begin with memory, sqlite or postgresql",
        variables={"SYNKRONE_STORE": "mysql://db.example/x"},
    ),
    "no folder for the store": Wrong(
        f"store: FOLDER/none/x.db cannot be opened: the folder FOLDER/none does not exist: make it first, {UNKNOWN_TO} "
        f"({FILE}, line 2)",
        f'port = 0\nstore = "sqlite:///none/x.db"\n[auth]\nsecret = "{SECRET}"\n',
    ),
    "a folder that cannot be written": Wrong(
        "SYNKRONE_STORE: /proc/x.db cannot be opened: No such file or directory: name a file elsewhere in the setting "
        "store",
        variables={"SYNKRONE_STORE": "sqlite:////proc/x.db"},
    ),
    "a store that is none": Wrong(
        f"SYNKRONE_STORE: FOLDER/x is not a database of SQLite: move it away, {UNKNOWN_TO}",
        variables={"SYNKRONE_STORE": "sqlite:///x"},
        prepare=file("no database at all, and long enough to be taken for one by its header"),
    ),
    "a store of another program": Wrong(
        "SYNKRONE_STORE: FOLDER/x.db is a database of another application: name another file in the setting store",
        variables={"SYNKRONE_STORE": "sqlite:///x.db"},
        prepare=database_of_another,
    ),
    "a setting of another store": Wrong(
        "SYNKRONE_STORE_DURABILITY: is for a store of postgresql://, and the store is memory",
        variables={"SYNKRONE_STORE_DURABILITY": "sync"},
    ),
    "a database that is away": Wrong(
        'SYNKRONE_STORE: connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused Is '
        "the server running on that host and accepting TCP/IP connections?",
        variables={"SYNKRONE_STORE": "postgresql://x@127.0.0.1:1/x"},
    ),
    "workers on a store for one": Wrong(
        "SYNKRONE_WORKERS: 4 of them need a store that they can share: postgresql://",
        variables={"SYNKRONE_WORKERS": "4"},
    ),
    "no certificate": Wrong(
        f"tls.cert: cannot read cert.pem: No such file or directory: make it, or name another file ({FILE}, line 6)",
        f'{WITH_AUTH}[tls]\ncert = "cert.pem"\nkey = "key.pem"\n',
    ),
    "a certificate with another key": Wrong(
        "tls.cert: cert.pem and other/key.pem are no certificate with its key: name a chain and its key in PEM "
        f"({FILE}, line 6)",
        f'{WITH_AUTH}[tls]\ncert = "cert.pem"\nkey = "other/key.pem"\n',
        prepare=two_certificates,
    ),
    "half a certificate": Wrong(
        f"tls.key: is needed too (not set in {FILE})", variables={"SYNKRONE_TLS__CERT": "cert.pem"}
    ),
    "no address of others": Wrong(
        f"node.address: is needed: others cannot connect to the address of internal.host ({FILE}, line 6)",
        f'{WITH_AUTH}[internal]\nhost = "0.0.0.0"\nport = 8001\n',
    ),
    "an address of another machine": Wrong(
        "SYNKRONE_HOST: 192.0.2.1 is not an address of this machine: name one that it has, or 0.0.0.0 for all of them",
        variables={"SYNKRONE_HOST": "192.0.2.1"},
    ),
    "an internal address of another machine": Wrong(
        "internal.host: 192.0.2.1 is not an address of this machine: name one that it has, or 0.0.0.0 for all of them "
        f"({FILE}, line 6)",
        f'{WITH_AUTH}[internal]\nhost = "192.0.2.1"\nport = 0\n',
    ),
    "no folder for the socket": Wrong(
        "SYNKRONE_HOST: cannot listen on unix:none/x.sock: No such file or directory: make its folder first, or name "
        "another path",
        variables={"SYNKRONE_HOST": "unix:none/x.sock"},
    ),
    "no feed": Wrong(
        f"source.url: must begin with memory, http or https ({FILE}, line 6)",
        f'{WITH_AUTH}[source]\nurl = "kafka://x"\n',
    ),
    "no authorities": Wrong(
        f"source.ca_file: x holds no certificate in PEM: name a file of some ({FILE}, line 7)",
        f'{WITH_AUTH}[source]\nurl = "https://feed.example/"\nca_file = "x"\n',
        prepare=file(PRIVATE),
    ),
}


@contextmanager
def serving(stranger: socketserver.BaseServer) -> Iterator[None]:
    """Another program, which lets go of whoever connects."""
    with stranger:
        thread = threading.Thread(target=stranger.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            stranger.shutdown()
            thread.join()


@contextmanager
def other_port(_: Path) -> Iterator[str]:
    stranger = socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)
    with serving(stranger):
        yield str(stranger.server_address[1])


@contextmanager
def other_socket(folder: Path) -> Iterator[str]:
    with serving(socketserver.UnixStreamServer(str(folder / "x.sock"), socketserver.BaseRequestHandler)):
        yield "x.sock"


@contextmanager
def used_store(folder: Path) -> Iterator[str]:
    """The file of one that another process has open."""
    lock = FileLock(folder / "x.db")
    try:
        yield "x.db"
    finally:
        lock.release()


@dataclass(frozen=True)
class Taken:
    """``line`` is what is said while somebody ``has`` what the variables name; both have NAME for it."""

    has: Callable[[Path], AbstractContextManager[str]]
    variables: Mapping[str, str]
    line: str


IN_USE = "Address already in use: stop what listens there, or"
TAKEN: Mapping[str, Taken] = {
    "a port of another program": Taken(
        other_port,
        {"SYNKRONE_PORT": "NAME"},
        f"SYNKRONE_PORT: cannot listen on 127.0.0.1:NAME: {IN_USE} choose another port",
    ),
    "an internal port of another program": Taken(
        other_port,
        {"SYNKRONE_INTERNAL__PORT": "NAME"},
        f"SYNKRONE_INTERNAL__PORT: cannot listen on 127.0.0.1:NAME: {IN_USE} choose another port",
    ),
    "a Unix socket of another program": Taken(
        other_socket,
        {"SYNKRONE_HOST": "unix:NAME"},
        f"SYNKRONE_HOST: cannot listen on unix:NAME: {IN_USE} name another path",
    ),
    "a store of another process": Taken(
        used_store,
        {"SYNKRONE_STORE": "sqlite:///NAME"},
        f"SYNKRONE_STORE: FOLDER/NAME is in use by another process: stop that one first, {UNKNOWN_TO}",
    ),
}


def said(command: str, folder: Path, variables: Mapping[str, str]) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as outputs:
        ended = run_forked(
            CLI,
            command,
            directory=folder,
            environment=environment(variables),
            outputs=Path(outputs),
            timeout=PATIENCE,
        )
    return ended.returncode, ended.stdout, ended.stderr.replace(str(folder), "FOLDER")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_wrong_is_said_in_a_line_by_every_command(case: Wrong, tmp_path: Path) -> None:
    if case.file is not None:
        (tmp_path / "synkrone.toml").write_text(case.file, encoding="utf-8")
    case.prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for command in COMMANDS:
        code, output, errors = said(command, tmp_path, case.variables)
        assert (code, output, errors) == (2, "", f"synkrone-socket: {case.line}\n"), command
        assert PRIVATE not in errors
        if command != "serve":
            assert sorted(tmp_path.rglob("*")) == before, command


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN)
def test_what_somebody_else_has_is_said_in_a_line_by_every_command(case: Taken, tmp_path: Path) -> None:
    (tmp_path / "synkrone.toml").write_text(WITH_AUTH, encoding="utf-8")
    with case.has(tmp_path) as name:
        variables = {setting: value.replace("NAME", name) for setting, value in case.variables.items()}
        for command in COMMANDS:
            code, output, errors = said(command, tmp_path, variables)
            line = case.line.replace("NAME", name)
            assert (code, output, errors) == (2, "", f"synkrone-socket: {line}\n"), command


def test_there_are_thirty() -> None:
    assert len(CASES) >= 30
    assert len({case.line for case in CASES.values()}) == len(CASES)
