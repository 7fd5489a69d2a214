"""A page in a real browser, on another origin than the server's, as a product's pages are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.e2e.browser import Pages
from tests.e2e.conftest import Browse, Serve
from tests.e2e.expectations import assert_notification
from tests.processes import ONE_SECRET, token

pytestmark = pytest.mark.check

SNIPPET = """
const socket = io(url, { auth: { token } });
socket.on("notification.new", (notification) => report(notification));
socket.on("session.ready", () => report("ready"));
"""

EVERY_TRANSPORT = """
for (const transports of [["polling", "websocket"], ["polling"], ["websocket"]]) {
  const socket = io(url, { auth: { token }, transports, reconnection: false });
  socket.onAny((name) => report(["event", name]));
  socket.on("connect", () => report(["connect", transports]));
  socket.on("connect_error", (error) => report(["connect_error", error.message, error.data ?? null]));
}
"""


EVERY_ROUTE = """
const more = { traceparent: "00-1-1-00", "ngrok-skip-browser-warning": "1" };
const headers = { ...more, Authorization: `Bearer ${token}` };
const ask = (path, options) =>
  fetch(url + path, { credentials: "include", ...options, headers: { ...headers, ...options.headers } });
(async () => {
  try {
    const socket = io(url, { auth: { token }, transports: ["polling"], withCredentials: true, extraHeaders: more });
    await new Promise((done, failed) => socket.on("connect", done).on("connect_error", failed));
    await ask("/v1/inbox/read_all", { method: "POST", body: "{}", headers: { "Content-Type": "application/json" } });
    const counts = await (await ask("/v1/inbox/count", {})).json();
    const stream = await ask("/v1/stream", { headers: { "Last-Event-ID": "x:1" } });
    const { value } = await stream.body.getReader().read();
    report([counts.ok, new TextDecoder().decode(value).includes("session.ready")]);
  } catch (error) {
    report(String(error));
  }
})();
"""


FILE = """
fetch(`${url}/v1/inbox`, { headers: { Authorization: `Bearer ${token}` } })
  .then(({ status }) => status, () => "not let in")
  .then((body) => fetch(`${reports}/report`, { method: "POST", mode: "no-cors", body: JSON.stringify(body) }));
"""


@pytest.fixture
def pages(node_modules: Path, io_loop: IOLoop) -> Iterator[list[Pages]]:
    library = node_modules / "socket.io-client" / "dist" / "socket.io.min.js"
    several = [Pages(library), Pages(library)]
    for one in several:
        io_loop.run_sync(one.open)
    yield several
    for one in several:
        io_loop.run_sync(one.close, timeout=20)


@pytest.mark.gen_test(timeout=120)
async def test_a_page_gets_its_users_notifications_and_a_foreign_page_gets_none(
    serve: Serve, pages: list[Pages], browse: Browse
) -> None:
    ours, foreign = pages
    server = serve(ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": json.dumps([ours.origin])})
    ours.show(SNIPPET, url=server.url, token=token("42"))
    foreign.show(EVERY_TRANSPORT, url=server.url, token=token("42", "stolen"))
    browse(foreign.origin)
    browse(ours.origin)
    assert await ours.report() == "ready"
    refusals = [await foreign.report() for _ in range(3)]
    # No answer of the server reaches the page, so not even a refusal's code.
    assert sorted(refusals) == [
        ["connect_error", "websocket error", None],
        ["connect_error", "xhr poll error", None],
        ["connect_error", "xhr poll error", None],
    ]

    for to, audience in (({"user": "43"}, None), ({"user": "42"}, "user"), ({"everyone": True}, "everyone")):
        members: dict[str, object] = {"title": "Mission \u2028 \U0001f69a", "data": {"id": 7}}
        published = await server.publish(to, **members)
        if audience is not None:
            arguments = [await ours.report(), published["cursor"]]
            assert_notification(arguments, published, audience=audience, type="mission.assigned", **members)
    assert ours.reported() == foreign.reported() == []
    assert [record["role"] for record in server.records("connected")] == ["freelance"]


@pytest.mark.gen_test(timeout=120)
async def test_a_page_may_send_headers_of_its_own_and_credentials_to_every_route(
    serve: Serve, pages: list[Pages], browse: Browse
) -> None:
    (ours, _) = pages
    server = serve(ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": json.dumps([ours.origin])})
    ours.show(EVERY_ROUTE, url=server.url, token=token("42"))
    browse(ours.origin)
    assert await ours.report() == [True, True]


@pytest.mark.gen_test(timeout=120)
async def test_a_page_that_is_a_file_is_let_in_where_null_is_named(
    serve: Serve, pages: list[Pages], browse: Browse, tmp_path: Path
) -> None:
    (reports, _) = pages
    for allowed in (["null"], ["https://app.example"]):
        server = serve(ONE_SECRET | {"SYNKRONE_CORS_ORIGINS": json.dumps(allowed)})
        page = tmp_path / f"{server.port}.html"
        constants = {"url": server.url, "token": token("42"), "reports": reports.origin}
        page.write_text(f"<script>const {{ url, token, reports }} = {json.dumps(constants)};{FILE}</script>")
        browse(page.as_uri())
        assert await reports.report() == (200 if allowed == ["null"] else "not let in")
