"""The certificate of a listener is replaced while it serves, by new files or by a reload, and nobody is cut."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from entrypoints import tls
from entrypoints.settings import TlsSettings
from tests.e2e.certificates import Certificate, make_certificate
from tests.engine_io import WebSocketPeer, connected, event
from tests.reloading import BASE, Reloadable, reloadable
from tests.serving import eventually, publish, token

CHANGED = "the certificate has changed and cannot be used; the one before it stays: %s"


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Certificate, Certificate]:
    """The present one, and the next."""
    (tmp_path / "next").mkdir()
    return make_certificate(tmp_path), make_certificate(tmp_path / "next", days=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.02)


def text(certificate: Certificate, *sections: str) -> str:
    pair = f'cert = "{certificate.cert}"\nkey = "{certificate.key}"\n'
    return BASE + "".join(f"[{section}]\n{pair}" for section in sections or ("internal.tls", "tls"))


async def shown(url: str | None, *, trusts: Path) -> bytes:
    """The certificate that a new client sees, in DER. Raises ssl.SSLCertVerificationError."""
    assert url is not None
    address = urlsplit(url)
    context = ssl.create_default_context(cafile=trusts)
    _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    seen: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return seen


def der(certificate: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate.cert.read_text())


def end(certificate: Certificate) -> float:
    """In seconds since 1970, as OpenSSL reads it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate.cert)
    (seen,) = context.get_ca_certs()
    return float(ssl.cert_time_to_seconds(str(seen["notAfter"])))


@asynccontextmanager
async def client(reloading: Reloadable, *, trusts: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, WebSocketPeer]]:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=trusts))
    async with aiohttp.ClientSession(connector=connector) as session:
        socket = await session.ws_connect(f"{reloading.server.url}/socket.io/?EIO=4&transport=websocket")
        peer = WebSocketPeer(socket)
        assert (await peer.next()).startswith("0{")
        await connected(peer, token("42"))
        yield session, peer
        await socket.close()


async def hears(session: aiohttp.ClientSession, url: str, peer: WebSocketPeer, id_: str) -> None:
    """By the connections that there are."""
    assert (await publish(session, url, {"to": {"user": "42"}, "type": "t", "id": id_}))[0] == 201
    assert event(await peer.next())[1][0]["id"] == id_


async def presents(url: str | None, certificate: Certificate) -> None:
    """Before long, to whoever trusts it alone."""
    async with asyncio.timeout(5):
        while True:
            try:
                assert await shown(url, trusts=certificate.cert) == der(certificate)
            except ssl.SSLCertVerificationError:
                await asyncio.sleep(0.01)
            else:
                return


def refusals(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    return lambda: sum(record.msg == CHANGED for record in caplog.records)


@pytest.mark.gen_test
async def test_new_files_are_used_for_new_handshakes_and_cut_nobody(
    tmp_path: Path, certificates: tuple[Certificate, Certificate]
) -> None:
    now, following = certificates
    trusted_by_the_first = tmp_path / "trusted.pem"
    shutil.copy(now.cert, trusted_by_the_first)
    async with reloadable(tmp_path, text(now)) as reloading:
        url, internal_url = reloading.server.url, reloading.server.internal_url
        async with client(reloading, trusts=trusted_by_the_first) as (session, peer):
            await hears(session, url, peer, "before")
            shutil.copy(following.cert, now.cert)
            shutil.copy(following.key, now.key)
            await presents(url, following)
            await presents(internal_url, following)
            with pytest.raises(ssl.SSLCertVerificationError):
                await shown(url, trusts=trusted_by_the_first)
            await hears(session, url, peer, "behind")


@pytest.mark.gen_test
async def test_the_metrics_say_when_what_each_listener_shows_expires(
    tmp_path: Path, certificates: tuple[Certificate, Certificate]
) -> None:
    now, following = certificates

    async def expires(reloading: Reloadable) -> set[tuple[str, float]]:
        connector = aiohttp.TCPConnector(ssl=False)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{reloading.server.internal_url}/metrics") as answer,
        ):
            text = await answer.text()
        found = re.findall(
            r'^synkrone_certificate_expires_timestamp_seconds\{listener="(\w+)"\} (\S+)$', text, re.MULTILINE
        )
        return {(listener, float(seconds)) for listener, seconds in found}

    async with reloadable(tmp_path, text(now)) as reloading:
        ends = end(now)
        assert await expires(reloading) == {("public", ends), ("internal", ends)}
        shutil.copy(following.cert, now.cert)
        shutil.copy(following.key, now.key)
        await presents(reloading.server.url, following)
        await presents(reloading.server.internal_url, following)
        assert end(following) != ends
        assert await expires(reloading) == {("public", end(following)), ("internal", end(following))}
    async with reloadable(tmp_path, BASE) as reloading:
        plain = reloading.server.internal_url
        async with aiohttp.ClientSession() as session, session.get(f"{plain}/metrics") as answer:
            assert "synkrone_certificate_expires_timestamp_seconds{" not in await answer.text()


@pytest.mark.parametrize("half", ["the key is another's", "cut off", "gone", "empty"])
@pytest.mark.gen_test
async def test_half_a_pair_leaves_the_one_before_it_and_says_so_once(
    tmp_path: Path, certificates: tuple[Certificate, Certificate], caplog: pytest.LogCaptureFixture, half: str
) -> None:
    now, following = certificates
    before = Certificate(tmp_path / "old.pem", tmp_path / "old-key.pem")
    shutil.copy(now.cert, before.cert)
    shutil.copy(now.key, before.key)
    refused = refusals(caplog)
    async with reloadable(tmp_path, text(now, "tls")) as reloading:
        url = reloading.server.url
        if half == "the key is another's":
            shutil.copy(following.cert, now.cert)
        elif half == "gone":
            now.key.unlink()
        else:
            now.cert.write_bytes(b"" if half == "empty" else now.cert.read_bytes()[:-100])
        await eventually(lambda: refused() == 1, within=5)
        for _ in range(10):
            assert await shown(url, trusts=before.cert) == der(before)
            await asyncio.sleep(0.01)
        assert refused() == 1
        shutil.copy(following.cert, now.cert)
        shutil.copy(following.key, now.key)
        await presents(url, following)


@pytest.mark.gen_test
async def test_a_change_that_is_not_at_an_end_is_not_looked_at(
    tmp_path: Path, certificates: tuple[Certificate, Certificate], caplog: pytest.LogCaptureFixture
) -> None:
    now, following = certificates
    certificate = tls.Certificate(TlsSettings(cert=now.cert, key=now.key), "tls")
    refused, first = refusals(caplog), certificate.context
    shutil.copy(following.cert, now.cert)
    await certificate.look()
    shutil.copy(following.key, now.key)
    await certificate.look()
    assert certificate.context is first
    await certificate.look()
    assert certificate.context is not first
    assert refused() == 0


@pytest.mark.gen_test
async def test_a_reload_uses_other_files_and_names_them(
    tmp_path: Path, certificates: tuple[Certificate, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 60)
    now, following = certificates
    async with reloadable(tmp_path, text(now)) as reloading:
        url = reloading.server.url
        async with client(reloading, trusts=now.cert) as (session, peer):
            await hears(session, url, peer, "before")
            reloaded = await reloading.change(text=text(following))
            assert reloaded.changed == ["tls.cert", "tls.key", "internal.tls.cert", "internal.tls.key"]
            await presents(url, following)
            await presents(reloading.server.internal_url, following)
            await hears(session, url, peer, "behind")
            shutil.copy(now.cert, following.cert)
            shutil.copy(now.key, following.key)
            assert (await reloading.change()).changed == reloaded.changed
            await presents(url, now)
        away = await reloading.change(text=BASE)
        assert (away.changed, away.needs_restart) == ([], reloaded.changed)
        await presents(url, now)
