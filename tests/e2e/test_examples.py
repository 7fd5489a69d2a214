"""The adapters of ``docs/examples`` in servers of their own, as their readers start them, with the stock clients."""

from __future__ import annotations

import hashlib
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.clients import Client, Clients
from tests.e2e.conftest import Serve
from tests.e2e.expectations import assert_ready
from tests.e2e.newcomer import newcomer
from tests.processes import API_KEY, ONE_SECRET, REPOSITORY, SECRET, port_to_keep, token

TOKENS = "docs.examples.opaque_tokens"
LINES = "docs.examples.json_lines"


def entry(opaque: str, user: str, role: str, expires_at: int) -> str:
    """The line of a token."""
    digest = hashlib.sha256(opaque.encode()).hexdigest()
    expires = datetime.fromtimestamp(expires_at, UTC).isoformat()
    return json.dumps({"sha256": digest, "user": user, "role": role, "expires_at": expires}) + "\n"


@pytest.mark.gen_test(timeout=60)
async def test_users_with_opaque_tokens_get_what_is_theirs(serve: Serve, clients: Clients, tmp_path: Path) -> None:
    file, soon = tmp_path / "tokens.jsonl", int(time.time()) + 3600
    both = entry("token-of-42", "42", "freelance", soon), entry("token-of-43", "43", "company", soon)
    file.write_text("".join(both))
    settings = {"SYNKRONE_AUTH__VERIFIER": f"tokens:///{file}", "SYNKRONE_API__KEY": API_KEY}
    server = serve(settings, module=TOKENS)
    freelance = await clients.js(server.url, {"token": "token-of-42"})
    company = await clients.python(server.url, {"token": "token-of-43"})
    assert_ready(await freelance.ready(), user="42", role="freelance", expires_at=soon)
    assert_ready(await company.ready(), user="43", role="company", expires_at=soon)
    published = [await server.publish({"user": "42"}), await server.publish({"role": "company"})]
    for client, answer in zip((freelance, company), published, strict=True):
        assert (await client.event("notification.new"))[0]["id"] == answer["id"]

    aside = file.with_suffix(".new")
    aside.write_text(both[0])
    aside.rename(file)
    for refused in ("token-of-43", token("43", "company")):
        client = await clients.js(server.url, {"token": refused})
        assert (await client.expect("connect_error"))["data"]["code"] == "invalid_token"
    assert [freelance.unseen(), company.unseen()] == [[], []]


@pytest.mark.gen_test(timeout=90)
async def test_lines_that_a_backend_appends_arrive_once_and_in_order(
    serve: Serve, clients: Clients, tmp_path: Path
) -> None:
    file = tmp_path / "notifications.jsonl"

    def append(*titles: str, end: str = "\n") -> None:
        lines = [json.dumps({"to": {"user": "42"}, "type": "test", "title": title}) for title in titles]
        with file.open("a") as opened:
            opened.write("\n".join(lines) + end)

    async def hears(client: Client, title: str) -> None:
        """It is the next notification, whatever else happens to the connection."""
        while (happening := await client.next()).get("name") != "notification.new":
            pass
        assert happening["args"][0]["title"] == title

    settings = {"SYNKRONE_SOURCE__URL": f"jsonl:///{file}", "SYNKRONE_PORT": str(port_to_keep())}
    append("before the server")
    server = serve(ONE_SECRET | settings, module=LINES)
    client = await clients.js(server.url, {"token": token("42")}, {"reconnectionDelayMax": 200})
    await client.ready()
    await hears(client, "before the server")
    with file.open("a") as opened:
        opened.write("no publish body\n")
    append("one", "two", end="")
    await hears(client, "one")
    append(end="\n")
    await hears(client, "two")
    (skipped,) = server.records("item skipped")
    assert skipped["source"] == "jsonl"
    assert skipped["reason"].startswith("line: is not JSON: ")

    server.kill()
    append("while it was away")
    server.start_again()
    await server.ready()
    await hears(client, "while it was away")

    file.write_text("")
    append("after the truncation")
    await hears(client, "after the truncation")
    assert "read from its start" in server.log
    assert (await server.inbox(token("42"), "/count"))["counts"]["total"] == 5
    assert client.unseen() == []


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("module", [TOKENS, LINES])
async def test_what_their_readme_says_to_type_starts_them(module: str, tmp_path: Path) -> None:
    readme = (REPOSITORY / "docs" / "examples" / "README.md").read_text()
    (commands,) = re.findall(rf"^```bash\n([^`]*{module} serve\n)```$", readme, re.MULTILINE)
    (tmp_path / "synkrone.toml").write_text(f'[auth]\nsecret = "{SECRET}"\n')
    async with newcomer(tmp_path) as reader:
        server = await reader.types(commands)
        await server.until(lambda text: "is listening on" in text)
