"""Applications that publish in their own transactions, as the page says, and operators who see what cannot be."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from entrypoints.supervisor import until
from tests.documents import block
from tests.e2e.clients import NODE
from tests.e2e.conftest import Serve
from tests.e2e.npm import installed
from tests.e2e.test_recipes import module
from tests.forked import CLI, run_forked
from tests.in_time import in_time
from tests.postgresql import PostgresqlServer, Servers
from tests.processes import ONE_SECRET, ServerProcess, environment, token
from tests.requirements import require

pytestmark = [pytest.mark.check, pytest.mark.gen_test(timeout=180)]

PAGE = "docs/how-to/publish-in-sql.md"
PRISMA = Path(__file__).parent / "prisma"
WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Shop:
    """An application with a role that may publish, in the database of a server that runs."""

    database_server: PostgresqlServer
    database: str
    server: ServerProcess

    @property
    def url(self) -> str:
        return self.database_server.url(self.database, "app")

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url, autocommit=True)

    async def listed(self, count: int) -> list[str]:
        """The titles of user 42's, the oldest first, once there are so many."""
        items: list[dict[str, Any]] = []

        async def are_there() -> bool:
            items[:] = (await self.server.inbox(token("42")))["items"]
            return len(items) >= count

        await in_time(until(are_there), WITHIN)
        return [item["title"] for item in reversed(items)]


@pytest.fixture
def shop(postgresql: Servers, serve: Serve) -> Iterator[Shop]:
    database_server = postgresql.of(18)
    database = database_server.new_store()
    database_server.execute("CREATE ROLE app LOGIN")
    database_server.execute("CREATE TABLE orders (id text PRIMARY KEY, customer text NOT NULL)", database)
    database_server.execute("GRANT SELECT, INSERT ON orders TO app", database)
    for statement in block(PAGE, "sql", "GRANT").split(";\n"):
        database_server.execute(statement, database)
    server = serve(
        ONE_SECRET | {"SYNKRONE_STORE": database_server.url(database), "SYNKRONE_LIMITS__NOTIFICATION_BYTES": "1000"}
    )
    yield Shop(database_server, database, server)
    server.stop()
    database_server.drop_databases([database])
    database_server.execute("DROP ROLE app")


async def test_plain_sql(shop: Shop) -> None:
    script = block(PAGE, "sql", "BEGIN")
    with closing(shop.connect()) as connection:
        connection.execute(script.encode())
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(script.encode())
        connection.execute(b"ROLLBACK")
        connection.execute(script.replace("4711", "4712").encode())
    assert await shop.listed(2) == ["Order 4711 is placed", "Order 4712 is placed"]


async def test_psycopg(shop: Shop) -> None:
    recipe = module(block(PAGE, "python", "import psycopg"), "shop")
    with closing(shop.connect()) as connection:
        recipe.place_order(connection, "1", "42")
        with pytest.raises(psycopg.errors.UniqueViolation):
            recipe.place_order(connection, "1", "42")
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="user: must be 1 to 128 characters"):
            recipe.place_order(connection, "2", "")
        recipe.place_order(connection, "2", "42")
    assert await shop.listed(2) == ["Order 1 is placed", "Order 2 is placed"]


async def test_sqlalchemy(shop: Shop) -> None:
    require(importlib.util.find_spec("sqlalchemy"), "no SQLAlchemy is installed: pip install -e '.[test]'")
    sqlalchemy, orm = importlib.import_module("sqlalchemy"), importlib.import_module("sqlalchemy.orm")
    recipe = module(block(PAGE, "python", "sqlalchemy"), "shop")
    engine = sqlalchemy.create_engine(shop.url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with orm.Session(engine) as session:
            recipe.place_order(session, "1", "42")
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                recipe.place_order(session, "1", "42")
            recipe.place_order(session, "2", "42")
    finally:
        engine.dispose()
    assert await shop.listed(2) == ["Order 1 is placed", "Order 2 is placed"]


async def test_prisma(shop: Shop, tmp_path: Path) -> None:
    modules = installed(PRISMA)
    (tmp_path / "node_modules").symlink_to(modules)
    for name in ("package.json", "schema.prisma", "prisma.config.mjs"):
        shutil.copy(PRISMA / name, tmp_path)
    (tmp_path / "shop.mjs").write_text(
        block(PAGE, "js", "PrismaClient") + 'await placeOrder("1", "42");\n'
        'const refused = await placeOrder("1", "42").catch((error) => error.code);\n'
        'await placeOrder("2", "42");\nawait prisma.$disconnect();\nconsole.log(refused);\n'
    )
    # Generating does not need the one engine that is a program, and is not in the registry; it would be downloaded.
    settings = {"DATABASE_URL": shop.url, "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true"}
    for command in (("node_modules/prisma/build/index.js", "generate"), ("shop.mjs",)):
        done = await asyncio.to_thread(
            subprocess.run,
            [NODE, *command],
            cwd=tmp_path,
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "P2002\n"
    assert await shop.listed(2) == ["Order 1 is placed", "Order 2 is placed"]


def typed(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of an operator's, with the settings of the server."""
    settings = ONE_SECRET | {"SYNKRONE_STORE": shop.database_server.url(shop.database)}
    with TemporaryDirectory() as folder:
        return run_forked(
            CLI,
            "outbox",
            *arguments,
            directory=Path(folder),
            environment=environment(settings),
            outputs=Path(folder),
            timeout=30,
        )


async def test_an_operator_sees_what_is_parked_puts_it_back_and_discards_it(shop: Shop) -> None:
    with closing(shop.connect()) as connection:
        for body in ("x" * 2_000, "y" * 2_000, "short"):
            connection.execute(
                "SELECT synkrone.synkrone_publish(%s, 'order.placed', %s, %s)", ('{"user": "42"}', body[:1], body)
            )
    assert await shop.listed(1) == ["s"]
    listed = typed(shop)
    reason = "type, title, body and data together have 2013 bytes; 1000 are allowed"
    assert listed.returncode == 0
    assert "waiting: 0\nparked: 2\n" in listed.stdout
    assert listed.stdout.count(f"order.placed: {reason}") == 2
    assert "xxx" not in listed.stdout + shop.server.log
    assert shop.server.log.count(reason) == 2
    state = json.loads(typed(shop, "--json").stdout)
    assert (state["waiting"], state["oldest"], state["parked_total"]) == (0, None, 2)
    first, second = (one["number"] for one in state["parked"])
    discarded = typed(shop, "discard", str(first))
    assert (discarded.returncode, discarded.stdout) == (0, "1 discarded\n")
    again = typed(shop, "retry", str(first), str(second))
    assert (again.returncode, again.stdout) == (1, "1 put back; not parked: 1\n")
    assert typed(shop, "retry", "--all").returncode == 0
    assert typed(shop, "discard").returncode == 2
