"""What pages load: the module of the inbox store and its types, by browsers and caches of every origin."""

from __future__ import annotations

import asyncio
import re
import tomllib
from importlib.resources import files

import aiohttp
import pytest

from adapters.client.modules import client_modules
from adapters.client.routes import client_routes
from entrypoints.version import installed_version
from tests.architecture.source import ROOT
from tests.serving import serving

MODULE = "synkrone-inbox.js"
TYPES = "synkrone-inbox.d.ts"
NAMES = pytest.mark.parametrize(
    ("name", "media_type"),
    [(MODULE, "text/javascript; charset=utf-8"), (TYPES, "application/typescript; charset=utf-8")],
)
OF_EVERY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
CACHED_SHORTLY = "public, max-age=300"
CACHED_FOR_EVER = "public, max-age=31536000, immutable"


def fields(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in OF_EVERY_ORIGIN if name in answer.headers}


@NAMES
@pytest.mark.gen_test
async def test_a_page_of_any_origin_loads_it_under_both_addresses(name: str, media_type: str) -> None:
    body = files("adapters.client").joinpath(name).read_bytes()
    async with serving() as server, aiohttp.ClientSession() as session:
        for path, cache_control in (
            (f"/client/{name}", CACHED_SHORTLY),
            (f"/client/{installed_version()}/{name}", CACHED_FOR_EVER),
        ):
            async with session.get(server.url + path, headers={"Origin": "https://any.example"}) as answer:
                assert (answer.status, await answer.read()) == (200, body)
                assert answer.headers["Content-Type"] == media_type
                assert answer.headers["Cache-Control"] == cache_control
                assert fields(answer) == OF_EVERY_ORIGIN
                assert "Set-Cookie" not in answer.headers
            async with session.head(server.url + path) as answer:
                assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(body)))
                assert await answer.read() == b""


@pytest.mark.gen_test
async def test_what_the_module_loads_later_is_beside_it_and_never_changes() -> None:
    text = client_modules()[MODULE].decode()
    names = {name for name in client_modules() if name != MODULE}
    assert names == set(re.findall(r'import\("\./([^"]+)"\)', text))
    assert names
    async with serving() as server, aiohttp.ClientSession() as session:
        for path in [f"/client/{folder}{name}" for name in names for folder in ("", f"{installed_version()}/")]:
            async with session.get(f"{server.url}{path}?again") as answer:
                assert (answer.status, await answer.read()) == (200, client_modules()[path.rpartition("/")[2]])
                assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
                assert answer.headers["Cache-Control"] == CACHED_FOR_EVER
                assert fields(answer) == OF_EVERY_ORIGIN


@NAMES
@pytest.mark.gen_test
async def test_a_cache_asks_whether_it_is_still_the_same(name: str, media_type: str) -> None:
    async with serving() as server, aiohttp.ClientSession() as session:
        address = f"{server.url}/client/{name}"
        async with session.get(address) as answer:
            etag = answer.headers["ETag"]
        assert etag.startswith('"')
        assert etag.endswith('"')
        for asked, status in (
            (etag, 304),
            (f"W/{etag}", 304),
            (f'"other", {etag}', 304),
            ("*", 304),
            ('"other"', 200),
            (etag.strip('"'), 200),
        ):
            async with session.get(address, headers={"If-None-Match": asked}) as answer:
                assert answer.status == status, asked
                assert answer.headers["ETag"] == etag
                assert answer.headers["Cache-Control"] == CACHED_SHORTLY
                assert fields(answer) == OF_EVERY_ORIGIN
                assert bool(await answer.read()) == (status == 200)


@pytest.mark.parametrize(
    "path",
    [
        f"/client/0.0.0/{MODULE}",
        f"/client//{MODULE}",
        "/client/",
        "/client",
        "/client/../client/routes.py",
        "/client/routes.py",
        "/client/__init__.py",
        f"/client/{MODULE}/",
    ],
)
@pytest.mark.gen_test
async def test_nothing_else_is_there(path: str) -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert b" 404 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.gen_test
async def test_it_can_only_be_read(method: str) -> None:
    async with serving() as server, aiohttp.ClientSession() as session:
        async with session.request(method, f"{server.url}/client/{MODULE}", data=b"x" * 1000) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
            assert (await answer.json(content_type="application/problem+json"))["code"] == "method_not_allowed"
        async with session.post(f"{server.url}/client/{MODULE}", data=b"x" * 1_000_000) as answer:
            assert answer.status in (405, 413)


def test_a_server_that_is_not_installed_has_no_version_to_serve() -> None:
    assert set(client_routes(None)) == {f"/client/{name}" for name in [*client_modules(), TYPES]}


def test_it_is_part_of_what_is_installed() -> None:
    """Of the package only what these are made of is left out."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert "adapters" in build["wheel"]["packages"]
    assert "only-include" not in build["wheel"]
    assert build["wheel"]["exclude"] == [f"/adapters/client/{name}" for name in ("src", "build.mjs", "package*.json")]
