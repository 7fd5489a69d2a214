"""The whole on a PostgreSQL database: with a stock client, over faults, and with no more rights than it needs."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import psycopg
import pytest

from adapters.store.postgresql.schema import MIGRATIONS
from tests.documents import block
from tests.e2e.certificates import Certificate
from tests.e2e.clients import Clients
from tests.e2e.conftest import Serve
from tests.e2e.followers import JsFollower
from tests.postgresql import PostgresqlServer, running_server
from tests.processes import ONE_SECRET, ServerProcess, environment, port_to_keep, token

pytestmark = pytest.mark.check

PAGE = "docs/how-to/postgresql.md"
PASSWORD = "pass:word/with@signs%"
ROUNDS = 4


@pytest.fixture
def database_server(certificate: Certificate) -> Iterator[PostgresqlServer]:
    """On a port, by TLS alone, with a password, and for one role with a client certificate."""
    certificate.key.chmod(0o600)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port_to_keep()),
        "ssl": "on",
        "ssl_cert_file": certificate.cert.name,
        "ssl_key_file": certificate.key.name,
        "ssl_ca_file": certificate.cert.name,
    }
    # The packaged 18 has no TLS.
    with running_server(15, certificate.cert, certificate.key, **settings) as server:
        server.let_in(
            "local all all trust",
            "hostssl all synkrone_owner 127.0.0.1/32 trust",
            "hostssl all loopback 127.0.0.1/32 cert",
            "hostssl all all 127.0.0.1/32 scram-sha-256",
        )
        yield server


def at(server: PostgresqlServer, url: str, certificate: Certificate) -> str:
    """A URL of the page, as it is here."""
    return url.replace("db.example", f"127.0.0.1:{server.port}").replace("/etc/synkrone/ca.pem", str(certificate.cert))


def run(folder: Path, command: str, store: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "entrypoints.cli", command],
        env=environment(ONE_SECRET | {"SYNKRONE_STORE": store, "SYNKRONE_PORT": "0"}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def publish(server: ServerProcess, id_: str) -> None:
    """As a backend that does not give up: what has an id is stored once, however often it is sent."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                status, _ = await server.post(session, {"to": {"user": "42"}, "type": "test", "id": id_})
            except (aiohttp.ClientError, TimeoutError):
                status = 0
            if status == 201:
                return
            assert status in {0, 503}
            await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=120)
async def test_a_role_that_may_only_read_and_write_rows_serves(
    serve: Serve, clients: Clients, database_server: PostgresqlServer, certificate: Certificate, tmp_path: Path
) -> None:
    for statement in block(PAGE, "sql", "CREATE ROLE").split(";\n"):
        database_server.execute(statement)
    database_server.execute(f"ALTER ROLE synkrone PASSWORD '{PASSWORD}'")
    command = re.fullmatch(r'SYNKRONE_STORE="([^"]+)" synkrone-socket (\w+)\n', block(PAGE, "bash", "migrate"))
    assert command is not None
    newest = MIGRATIONS[-1].version
    for said in (f"is of version {newest}, and was of 0", f"is of version {newest}"):
        migrated = run(tmp_path, command[2], at(database_server, command[1], certificate))
        assert (migrated.returncode, migrated.stdout.endswith(f"{said}\n")) == (0, True), migrated.stderr
    for statement in block(PAGE, "sql", "GRANT").split(";\n"):
        database_server.execute(statement, "synkrone", "synkrone_owner")
    password = tmp_path / "store-password"
    password.write_text(f"{PASSWORD}\n")
    settings = tomllib.loads(block(PAGE, "toml", "store_password_file"))
    store = at(database_server, settings["store"], certificate)
    server = serve(
        ONE_SECRET
        | {
            "SYNKRONE_STORE": store,
            "SYNKRONE_STORE_PASSWORD_FILE": str(password),
            "SYNKRONE_STORE_MIGRATE": str(settings["store_migrate"]),
            "SYNKRONE_LOG__LEVEL": "debug",
        }
    )
    client = await clients.js(server.url, {"token": token("42")})
    await client.ready()
    published = await server.publish({"user": "42"}, title="hello")
    arguments = await client.event("notification.new")
    assert (arguments[0]["id"], arguments[1]) == (published["id"], published["cursor"])
    own = token("42")
    assert (await server.inbox(own, "/read", {"ids": [published["id"]]}))["changed"] == 1
    assert (await client.event("notification.updated"))[0]["ids"] == [published["id"]]
    await client.close()
    assert server.stop() == 0
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in server.log + server.output
    with psycopg.connect(store, password=PASSWORD, autocommit=True) as connection:
        for forbidden in (
            "CREATE TABLE synkrone.more ()",
            "CREATE TABLE public.more ()",
            "CREATE SCHEMA more",
            "ALTER TABLE synkrone.entries ADD COLUMN more text",
            "DROP FUNCTION synkrone.revise",
            "TRUNCATE synkrone.entries",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


@pytest.mark.gen_test(timeout=60)
async def test_a_client_certificate_opens_the_database(
    serve: Serve, database_server: PostgresqlServer, certificate: Certificate
) -> None:
    database_server.execute("CREATE ROLE loopback LOGIN CREATEDB")
    database_server.execute("CREATE DATABASE of_certificates OWNER loopback")
    tls = f"sslmode=verify-full&sslrootcert={certificate.cert}"
    url = f"postgresql://loopback@localhost:{database_server.port}/of_certificates?hostaddr=127.0.0.1&{tls}"
    server = serve(ONE_SECRET | {"SYNKRONE_STORE": f"{url}&sslcert={certificate.cert}&sslkey={certificate.key}"})
    await server.publish({"user": "42"})
    assert (await server.inbox(token("42"), "/count"))["counts"]["total"] == 1
    serving = server.records("serving")[0]
    assert serving["store"] == f"postgresql://localhost:{database_server.port}/of_certificates"


@pytest.mark.gen_test(timeout=120)
async def test_kills_of_the_server_and_of_the_database_lose_nothing_and_double_nothing(
    serve: Serve, clients: Clients
) -> None:
    with running_server(18) as database:
        settings = {"SYNKRONE_STORE": database.url(database.new_database()), "SYNKRONE_PORT": str(port_to_keep())}
        server = serve(ONE_SECRET | settings)
        client = JsFollower(server.url, token("42"), clients, {"reconnectionDelay": 50, "reconnectionDelayMax": 200})
        await client.start()
        ids: list[str] = []
        stored: list[str] = []

        async def give() -> None:
            while True:
                ids.append(f"n-{len(ids)}")
                await publish(server, ids[-1])
                stored.append(ids[-1])

        giving = asyncio.create_task(give())
        try:
            for number in range(ROUNDS):
                # At a random moment, but of one that is busy.
                before = len(stored)
                while len(stored) < before + 20:
                    assert not giving.done()
                    await asyncio.sleep(0.01)
                await asyncio.sleep(random.uniform(0, 0.1))
                if number % 2:
                    server.kill()
                    server.start_again()
                    await server.ready()
                else:
                    database.stop(how=signal.SIGQUIT)
                    await asyncio.to_thread(database.start)
                assert server.is_running()
            before = len(stored)
            while len(stored) < before + 20:
                assert not giving.done()
                await asyncio.sleep(0.01)
        finally:
            giving.cancel()
            await asyncio.wait((giving,))
        await client.has(stored[-1])
        await client.stop()
        got = [logged.id for logged in client.diary.logged if logged.id in stored]
        assert got == stored
        assert len({logged.id for logged in client.diary.logged}) == len(client.diary.logged)
        assert all(client.diary.recovered)
        assert server.stop() == 0


@pytest.mark.gen_test(timeout=60)
async def test_where_the_database_lost_something_clients_come_back_and_are_told(serve: Serve, clients: Clients) -> None:
    with running_server(18) as database:
        name = database.new_database()
        server = serve(ONE_SECRET | {"SYNKRONE_STORE": database.url(name)})
        client = await clients.js(
            server.url, {"token": token("42")}, {"reconnectionDelay": 50, "reconnectionDelayMax": 200}
        )
        await client.ready()
        for title in ("kept", "lost"):
            await server.publish({"user": "42"}, title=title)
            assert (await client.event("notification.new"))[0]["title"] == title
        database.execute(
            """
            DELETE FROM synkrone.entries WHERE log_offset > 1;
            DELETE FROM synkrone.contents WHERE log_offset > 1;
            DELETE FROM synkrone.placed WHERE log_offset > 1;
            DELETE FROM synkrone.ids WHERE log_offset > 1""",
            name,
        )
        assert (await client.event("session.closing"))[0]["reconnect"]
        await client.expect("disconnect")
        welcome, _ = await client.back(recovered=False)
        assert welcome["reason"] == "invalid"
        assert "it has lost entries" in server.log
        await server.publish({"user": "42"}, title="after")
        titles = [(await client.event("notification.new"))[0]["title"] for _ in range(2)]
        assert titles == ["kept", "after"]
        assert server.stop() == 0


def test_what_is_wrong_is_said_in_a_line_without_the_password(
    database_server: PostgresqlServer, tmp_path: Path
) -> None:
    secret = "secret-of-the-database"
    database_server.execute("CREATE ROLE app LOGIN PASSWORD 'another'")
    port = database_server.port
    for command, url, code, said in (
        ("serve", f"postgresql://app:{secret}@127.0.0.1:{port}/postgres", 2, "password authentication failed"),
        ("serve", f"postgresql://app:{secret}/x@127.0.0.1:{port}/postgres", 2, "must be a URL such as"),
        ("check-config", f"postgresql://app:{secret}@127.0.0.1:{port}/postgres", 2, "password authentication failed"),
        ("check-config", f"postgresql://app:{secret}@127.0.0.1:1/postgres", 2, "Connection refused"),
        ("serve", f"postgresql://app:{secret}@127.0.0.1:1/postgres", 2, "Connection refused"),
        ("migrate", f"postgresql://app@127.0.0.1:{port}/postgres?sslmode=disable", 2, "no pg_hba.conf entry"),
    ):
        ended = run(tmp_path, command, url)
        output = ended.stdout + ended.stderr
        assert (ended.returncode, secret in output, "Traceback" in output) == (code, False, False), output
        assert said in output
