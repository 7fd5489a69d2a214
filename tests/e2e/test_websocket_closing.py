"""The code that a WebSocket client sees when it broke the protocol, however much it goes on to send."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.certificates import Certificate
from tests.e2e.clients import NODE
from tests.e2e.conftest import JAVASCRIPT, Serve
from tests.in_time import in_time
from tests.processes import ONE_SECRET

pytestmark = pytest.mark.check

TIMES = 8
FAR_TOO_LARGE = 20_000_000
WITHIN = 60.0


async def codes_of(url: str, messages: list[dict[str, Any]], ca: Path | None = None) -> list[int]:
    """The codes of ``TIMES`` sockets of ``ws``, which all send these messages."""
    scheme, _, rest = url.partition("://")
    address = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/socket.io/?EIO=4&transport=websocket"
    process = await asyncio.create_subprocess_exec(
        NODE,
        JAVASCRIPT / "closing.mjs",
        json.dumps({"url": address, "times": TIMES, "messages": messages}),
        env=os.environ | ({"NODE_EXTRA_CA_CERTS": str(ca)} if ca is not None else {}),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await in_time(process.communicate(), WITHIN)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    codes: list[int] = json.loads(output)
    return codes


SENT: dict[str, tuple[list[dict[str, Any]], int]] = {
    "one that is far too large": ([{"letters": FAR_TOO_LARGE}], 1009),
    "one that is far too large, with more behind it": ([{"letters": FAR_TOO_LARGE}, *[{"text": "4x"}] * 1000], 1009),
    "many that are too large": ([{"letters": 100_000}] * 100, 1009),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("sent", SENT)
@pytest.mark.usefixtures("node_modules")
@pytest.mark.gen_test(timeout=90)
async def test_the_client_sees_why_it_was_closed(
    serve: Serve, certificate: Certificate, sent: str, *, tls: bool
) -> None:
    own_tls = {"SYNKRONE_TLS__CERT": str(certificate.cert), "SYNKRONE_TLS__KEY": str(certificate.key)}
    server = serve(ONE_SECRET | own_tls, ca=certificate.cert) if tls else serve()
    messages, code = SENT[sent]
    assert await codes_of(server.url, messages, certificate.cert if tls else None) == [code] * TIMES
