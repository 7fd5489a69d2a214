"""The settings are read again while the server serves: all of what can change does, or nothing."""

from __future__ import annotations

import gc
import json
import logging
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OctKey

from adapters.http.problems import InvalidSettings
from entrypoints.files import read_file
from entrypoints.reloading import LIVE, RESTART, flat
from entrypoints.settings import Settings
from tests.e2e.certificates import make_certificate
from tests.engine_io import HandshakeRefused, WebSocketPeer, connected, event, http_session, until_closed
from tests.reloading import ADMIN_KEY, BASE, Reloadable, reloadable
from tests.serving import API_KEY, SECRET, publish, token
from tests.tokens import KeyServer, base64url, jwks, key_for, mint, public_jwk

SECOND, THIRD = "the second secret, also of thirty-two bytes", "the third secret, as long as the others are"
BODY = {"to": {"user": "42"}, "type": "mission.assigned"}
ROUNDS = 4
RELOADS = 50
OBJECTS_MAX = 50


def test_of_every_setting_it_is_known_whether_it_holds_at_once() -> None:
    """A new one belongs in LIVE where ``_apply`` has whoever keeps it take another, and else in RESTART."""
    assert sorted([*LIVE, *RESTART]) == sorted(flat(Settings()))


async def lets_in(reloading: Reloadable, own: str, **headers: str) -> bool:
    """Whether whoever has this token may connect."""
    async with http_session() as session:
        try:
            peer = await WebSocketPeer.open(session, reloading.server.url, **headers)
        except HandshakeRefused:
            return False
        await peer.send(f"40{json.dumps({'token': own})}")
        return (await peer.next()).startswith("40")


async def status_of_publish(reloading: Reloadable, key: str = API_KEY, **members: object) -> int:
    async with http_session() as session:
        return (await publish(session, reloading.server.url, BODY | members, key=key))[0]


@pytest.mark.gen_test
async def test_a_secret_that_is_replaced_twice_signs_nobody_out(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as reloading, http_session() as session:
        peer = await WebSocketPeer.open(session, reloading.server.url)
        await connected(peer, token("42"))
        secrets = [SECRET, SECOND, THIRD]
        for old, new in pairwise(secrets):
            before, both, after = f'"{old}"', f'["{new}", "{old}"]', f'"{new}"'
            assert not await lets_in(reloading, token("42", secret=new))
            assert (await reloading.change((f"secret = {before}", f"secret = {both}"))).changed == ["auth.secret"]
            assert await lets_in(reloading, token("42", secret=old))
            assert await lets_in(reloading, token("42", secret=new))
            await reloading.change((f"secret = {both}", f"secret = {after}"))
            assert not await lets_in(reloading, token("42", secret=old))
            assert await lets_in(reloading, token("42", secret=new))
        assert await status_of_publish(reloading, id="after") == 201
        assert event(await peer.next())[1][0]["id"] == "after"


@pytest.mark.gen_test
async def test_a_key_of_a_backend_comes_and_goes(tmp_path: Path) -> None:
    other = "another key of a backend, long enough as well"
    async with reloadable(tmp_path) as reloading:
        assert await status_of_publish(reloading, other) == 401
        assert (await reloading.change((API_KEY, other))).changed == ["api.keys"]
        assert await status_of_publish(reloading, other) == 201
        assert await status_of_publish(reloading) == 401
        await reloading.change(('scopes = ["publish", "connections:read"]', 'scopes = ["connections:read"]'))
        assert await status_of_publish(reloading, other) == 403
        await reloading.change(text=BASE.partition("[api]")[0])
        assert await status_of_publish(reloading, other) == 403
        await reloading.change(text=BASE)
        assert await status_of_publish(reloading) == 201


@pytest.mark.gen_test
async def test_an_origin_and_a_proxy_come_and_go(tmp_path: Path) -> None:
    own, page = token("42"), "https://app.example"
    proxied = {"Origin": "https://127.0.0.1", "X-Forwarded-Proto": "https", "Host": "127.0.0.1"}
    async with reloadable(tmp_path) as reloading:
        assert not await lets_in(reloading, own, Origin=page)
        assert not await lets_in(reloading, own, **proxied)
        wanted = f'port = 0\ncors_origins = ["{page}"]\ntrusted_proxies = ["127.0.0.1"]\nstore'
        changed = await reloading.change(("port = 0\nstore", wanted))
        assert changed.changed == ["cors_origins", "trusted_proxies"]
        assert await lets_in(reloading, own, Origin=page)
        assert await lets_in(reloading, own, **proxied)
        await reloading.change(text=BASE)
        assert not await lets_in(reloading, own, Origin=page)
        assert not await lets_in(reloading, own, **proxied)


@pytest.mark.gen_test
async def test_limits_hold_for_who_comes_and_cut_nobody_who_is_there(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as reloading, http_session() as session:
        peer = await WebSocketPeer.open(session, reloading.server.url)
        await connected(peer, token("42"))
        limits = "connections = 1\npublish_bytes = 1024\nevents_per_second = 0.001\nevents_burst = 2\ndrain_rate = 7"
        changed = await reloading.change(text=f"{BASE}[limits]\n{limits}\n")
        assert changed.changed == [
            f"limits.{name}"
            for name in ("connections", "events_per_second", "events_burst", "publish_bytes", "drain_rate")
        ]
        assert not await lets_in(reloading, token("43"))
        assert await status_of_publish(reloading, body="x" * 2_000) == 413
        assert await status_of_publish(reloading, id="fits") == 201
        assert event(await peer.next())[1][0]["id"] == "fits"
        await reloading.change(text=f"{BASE}[limits]\nevents_per_second = 0.001\nevents_burst = 2\n")
        assert await status_of_publish(reloading, body="x" * 2_000) == 201
        flooding = await WebSocketPeer.open(session, reloading.server.url)
        await connected(flooding, token("43"))
        for _ in range(3):
            await flooding.send('421["inbox.count",{}]')
        assert any('"rate_limited"' in packet for packet in await until_closed(flooding))


@pytest.mark.gen_test
async def test_rates_hold_from_the_next_request_on(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as reloading, http_session() as session:

        async def status_of_inbox() -> int:
            headers = {"Authorization": f"Bearer {token('42')}"}
            async with session.get(f"{reloading.server.url}/v1/inbox/count", headers=headers) as answer:
                return answer.status

        assert [await status_of_inbox() for _ in range(3)] == [200, 200, 200]
        assert [await status_of_publish(reloading) for _ in range(3)] == [201, 201, 201]
        slow = ('name = "backend"', 'name = "backend", publish_per_second = 0.001, publish_burst = 1')
        limits = "[limits]\nrequests_per_second = 0.001\nrequests_burst = 1\n"
        reloaded = await reloading.change(slow, text=BASE + limits)
        assert reloaded.changed == ["api.keys", "limits.requests_per_second", "limits.requests_burst"]
        assert [await status_of_inbox() for _ in range(2)] == [200, 429]
        assert [await status_of_publish(reloading) for _ in range(2)] == [201, 429]


@pytest.mark.gen_test
async def test_what_needs_a_restart_is_named_every_time_and_left(tmp_path: Path) -> None:
    text = BASE.replace("port = 0\nstore", 'port = 4\nhost = "::1"\nstore') + "[limits]\nmessage_bytes = 70000\n"
    async with reloadable(tmp_path) as reloading:
        for _ in range(2):
            reloaded = await reloading.change((SECRET, SECOND), text=text)
            assert reloaded.needs_restart == ["host", "port", "limits.message_bytes"]
        settings = reloading.server.settings
        assert (settings.host, settings.port, settings.limits.message_bytes) == ("127.0.0.1", 0, 65_536)
        assert await lets_in(reloading, token("42", secret=SECOND))
        assert (await reloading.change(text=BASE)).needs_restart == []


@pytest.mark.gen_test
async def test_a_verifier_of_another_kind_keeps_its_settings_and_callers_change_all_the_same(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as reloading:
        reloading.server.container.verifier.override(object())
        reloaded = await reloading.change((SECRET, SECOND), (ADMIN_KEY, f"{ADMIN_KEY}-and-more"))
        assert (reloaded.changed, reloaded.needs_restart) == (["api.keys"], ["auth.secret"])
        reloading.server.container.verifier.reset_override()


@pytest.mark.gen_test
async def test_the_level_of_the_log_changes(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        async with reloadable(tmp_path) as reloading:
            assert (await reloading.change(text=f'{BASE}[log]\nlevel = "debug"\n')).changed == ["log.level"]
            assert root.level == logging.DEBUG
            assert logging.getLogger("engineio").level == logging.ERROR
    finally:
        root.setLevel(before)


def with_tls(folder: Path, cert: str = "cert.pem", key: str = "key.pem") -> str:
    return f'{BASE}[tls]\ncert = "{folder / cert}"\nkey = "{folder / key}"\n'


def with_issuer(line: str) -> str:
    issuer = f'[[auth.issuers]]\nissuer = "https://auth.example"\n{line}\n'
    return BASE.replace(f'secret = "{SECRET}"\n', issuer)


BAD_FILES: dict[str, tuple[str, str]] = {
    "syntax": ("port = ", "{file}: Invalid value (at end of document)"),
    "unknown setting": (f"{BASE}[limitss]\nx = 1\n", "limitss: is not a known setting"),
    "weak secret": (BASE.replace(SECRET, "short"), "auth.secret: has 5 bytes; at least 32 are needed"),
    "weak key": (BASE.replace(ADMIN_KEY, "short"), "api.keys[1].key: must have at least 32 characters"),
    "two keys of one name": (BASE.replace("operator", "backend"), "api.keys: two have the same name"),
    "missing key file": (
        BASE.replace(f'secret = "{SECRET}"', 'secret_file = "/nowhere"'),
        "auth.secret_file: cannot read /nowhere: No such file or directory",
    ),
    "missing key set": (
        with_issuer('jwks = "/nowhere"'),
        "auth.issuers[0].jwks: cannot read /nowhere: No such file or directory",
    ),
    "insecure key server": (
        with_issuer('jwks = "http://auth.example/jwks"'),
        "auth.issuers[0].jwks: must be a file, or an https URL (http only on this machine)",
    ),
    "no certificate": (
        "{tls}",
        "tls.cert: {folder}/broken.pem and {folder}/key.pem are no certificate with its key",
    ),
    "another's key": (
        "{other}",
        "tls.cert: {folder}/cert.pem and {folder}/other/key.pem are no certificate with its key",
    ),
    "a key set at no path": (
        with_issuer('jwks = "a\\u0000b"'),
        r"auth.issuers[0].jwks: cannot read 'a\x00b': is no path",
    ),
    "a key set at no URL": (
        with_issuer('jwks = "https://[::1"'),
        "auth.issuers[0].jwks: must be a file, or an https URL (http only on this machine)",
    ),
    "a key set without end": (
        with_issuer('jwks = "/dev/zero"'),
        "auth.issuers[0].jwks: cannot read /dev/zero: File too large",
    ),
    "a secret at no path": (
        BASE.replace(f'secret = "{SECRET}"', 'secret_file = "a\\u0000b"'),
        r"auth.secret_file: cannot read 'a\x00b': is no path",
    ),
    "a secret without end": (
        BASE.replace(f'secret = "{SECRET}"', 'secret_file = "/dev/zero"'),
        "auth.secret_file: cannot read /dev/zero: File too large",
    ),
    "a certificate at no path": (
        f'{BASE}[tls]\ncert = "a\\u0000b"\nkey = "x"\n',
        r"tls.cert: cannot read 'a\x00b': is no path",
    ),
    "a time longer than the calendar": (
        f'{BASE}[retention]\nlog = "1000000d"\n',
        "retention.log: is too long a duration",
    ),
    "wrong value": (f"{BASE}[limits]\nconnections = 0\n", "limits.connections: must be at least 1"),
    "workers without a store for them": (
        BASE.replace("port = 0\nstore", "workers = 2\nport = 0\nstore"),
        "workers: 2 of them need a store that they can share: postgresql://",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.gen_test
async def test_a_bad_file_changes_nothing_and_says_so_in_one_line(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path)
    make_certificate(tmp_path / "other")
    (tmp_path / "broken.pem").write_bytes((tmp_path / "cert.pem").read_bytes()[:-200])
    text, says = BAD_FILES[name]
    text = {"{tls}": with_tls(tmp_path, "broken.pem"), "{other}": with_tls(tmp_path, key="other/key.pem")}.get(
        text, text
    )
    async with reloadable(tmp_path, with_tls(tmp_path) if text.startswith(BASE + "[tls]") else BASE) as reloading:
        before, shown = reloading.server.settings, reloading.server.certificate.context
        # Beside what is wrong, something that is not: it must not hold either.
        good = 'port = 0\ncors_origins = ["https://new.example"]\nstore'
        with pytest.raises(InvalidSettings) as error:
            await reloading.change(text=text.replace("port = 0\nstore", good))
        line = says.format(folder=tmp_path, file=reloading.file)
        # Behind it are its mend and its source.
        assert (error.value.detail or "").startswith(line)
        (record,) = [record for record in caplog.records if record.msg == "not reloaded"]
        assert f"{vars(record)['setting']}: {vars(record)['reason']}" == error.value.detail
        assert reloading.server.settings is before
        assert reloading.server.certificate.context is shown
        if before.tls.cert is None:
            assert await lets_in(reloading, token("42"))
            assert not await lets_in(reloading, token("42"), Origin="https://new.example")
            assert await status_of_publish(reloading) == 201


@pytest.mark.parametrize("setting", ["auth.secret_file", "auth.issuers[0].jwks", "tls.cert", "file"])
@pytest.mark.gen_test(timeout=30)
async def test_a_pipe_that_nobody_writes_into_changes_nothing_and_holds_up_nothing(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_file, "__kwdefaults__", {"pipe_seconds": 1.0})
    make_certificate(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = {
        "auth.secret_file": BASE.replace(f'secret = "{SECRET}"', f'secret_file = "{pipe}"'),
        "auth.issuers[0].jwks": with_issuer(f'jwks = "{pipe}"'),
        "tls.cert": with_tls(tmp_path, "pipe"),
        "file": None,
    }[setting]
    async with reloadable(tmp_path, with_tls(tmp_path) if setting == "tls.cert" else BASE) as reloading:
        good = reloading.file.read_text()
        if text is None:
            reloading.file.unlink()
            os.mkfifo(reloading.file)
        else:
            reloading.file.write_text(text)
        with pytest.raises(InvalidSettings) as error:
            await reloading.reloading.reload("test")
        assert "nobody writes into it" in (error.value.detail or "")
        # The next one is read, and does not wait for the one before it.
        reloading.file.unlink()
        assert (await reloading.change(text=good)).changed == []


@pytest.mark.gen_test
async def test_a_file_that_is_gone_or_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as reloading:
        reloading.file.unlink()
        with pytest.raises(InvalidSettings, match=r"cannot read .*: No such file or directory"):
            await reloading.reloading.reload("test")
        reloading.file.mkdir()
        with pytest.raises(InvalidSettings, match=r"cannot read .*: Is a directory"):
            await reloading.reloading.reload("test")
        assert await lets_in(reloading, token("42"))


@pytest.mark.gen_test
async def test_the_environment_still_comes_first_and_its_files_are_read_again(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{SECOND}\n")
    environ = {"SYNKRONE_AUTH__SECRET_FILE": str(secrets)}
    async with reloadable(tmp_path, environ=environ) as reloading:
        assert await lets_in(reloading, token("42", secret=SECOND))
        secrets.write_text(f"{THIRD}\n{SECOND}\n")
        assert (await reloading.change()).changed == ["auth.secret"]
        assert await lets_in(reloading, token("42", secret=THIRD))
        secrets.write_text("short\n")
        with pytest.raises(InvalidSettings) as error:
            await reloading.change()
        assert error.value.detail == "SYNKRONE_AUTH__SECRET_FILE: has 5 bytes; at least 32 are needed"
        assert await lets_in(reloading, token("42", secret=THIRD))


@pytest.mark.gen_test
async def test_the_secrets_of_a_key_set_are_replaced(tmp_path: Path) -> None:
    def write(**secrets: str) -> None:
        members = [{"kty": "oct", "kid": kid, "k": base64url(value.encode())} for kid, value in secrets.items()]
        file.write_bytes(jwks(*members))

    def own(kid: str, secret: str) -> str:
        return mint(of_now(1, iss="https://auth.example"), "HS256", OctKey.import_key(secret), kid=kid)

    file = tmp_path / "secrets.json"
    write(one=SECRET)
    async with reloadable(tmp_path, with_issuer(f'jwks = "{file}"')) as reloading:
        write(one=SECRET, two=SECOND)
        assert not await lets_in(reloading, own("two", SECOND))
        assert (await reloading.change()).changed == ["auth.issuers[0].jwks"]
        assert await lets_in(reloading, own("one", SECRET))
        assert await lets_in(reloading, own("two", SECOND))
        assert not await lets_in(reloading, own("two", SECRET))
        write(two=SECOND)
        await reloading.change()
        assert not await lets_in(reloading, own("one", SECRET))
        assert await lets_in(reloading, own("two", SECOND))
        file.write_bytes(jwks({"kty": "oct", "k": base64url(b"short")}))
        with pytest.raises(InvalidSettings) as error:
            await reloading.change()
        says = "auth.issuers[0].jwks: keys[0] has 5 bytes; at least 32 are needed"
        assert (error.value.detail or "").startswith(says)
        assert await lets_in(reloading, own("two", SECOND))


def of_now(number: int, **changes: str) -> dict[str, Any]:
    """Claims of a token of today."""
    now = int(time.time())
    return {"iss": f"https://{number}.example", "sub": "42", "role": "admin", "iat": now, "exp": now + 600, **changes}


def of_issuer(number: int, server: KeyServer) -> str:
    return (
        f'[[auth.issuers]]\nissuer = "https://{number}.example"\nuser_prefix = "{number}-"\n'
        f'jwks = "{server.url(f"/{number}.json")}"\n'
    )


@pytest.mark.gen_test
async def test_what_was_fetched_of_an_issuer_is_kept_and_of_one_that_is_gone_forgotten(tmp_path: Path) -> None:
    def own(number: int) -> str:
        return mint(of_now(number), "RS256", key_for("RS256", f"issuer {number}"))

    async with KeyServer() as server:
        for number in (1, 2):
            server.documents[f"/{number}.json"] = jwks(public_jwk(key_for("RS256", f"issuer {number}")))
        both = of_issuer(1, server) + of_issuer(2, server)
        text = BASE.replace(f'[auth]\nsecret = "{SECRET}"\n', both)
        async with reloadable(tmp_path, text) as reloading:
            assert await lets_in(reloading, own(1))
            assert await lets_in(reloading, own(2))
            for number in range(20):
                await reloading.change(text=text.replace('user_prefix = "1-"', f'user_prefix = "1-{number}-"'))
                assert await lets_in(reloading, own(1))
            assert server.asked("/1.json") == server.asked("/2.json") == 1
            key_servers = reloading.server.container.key_servers()
            assert len(key_servers) == 2
            await reloading.change(text=text.replace(of_issuer(2, server), ""))
            assert not await lets_in(reloading, own(2))
            assert await lets_in(reloading, own(1))
            assert len(key_servers) == 1
            with pytest.raises(InvalidSettings):
                await reloading.change(text=text.replace(API_KEY, "short"))
            assert len(key_servers) == 1
            await reloading.change(text=text)
            assert await lets_in(reloading, own(2))
            assert (server.asked("/1.json"), server.asked("/2.json")) == (1, 2)


@pytest.mark.gen_test
async def test_it_is_asked_for_over_http_with_a_key_for_it(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as reloading:
        assert (await reloading.ask(None))[0] == 401
        assert (await reloading.ask(API_KEY))[0] == 403
        reloading.file.write_text(BASE.replace(SECRET, SECOND).replace("port = 0\nstore", "port = 1\nstore"))
        status, problem = await reloading.ask(query="?dry_run=true")
        assert (status, problem["detail"]) == (400, "dry_run: is not known")
        assert await reloading.ask() == (200, {"changed": ["auth.secret"], "needs_restart": ["port"]})
        assert await reloading.ask() == (200, {"changed": [], "needs_restart": ["port"]})
        reloading.file.write_text(BASE.replace(SECRET, "short"))
        status, problem = await reloading.ask()
        assert status == 422
        assert problem["code"] == "invalid_settings"
        said = "auth.secret: has 5 bytes; at least 32 are needed"
        assert problem["detail"] == f"{said} ({reloading.file}, line 6)"
        message = said.removeprefix("auth.secret: ")
        assert problem["errors"] == [{"path": "auth.secret", "message": f"{message} ({reloading.file}, line 6)"}]
        assert await lets_in(reloading, token("42", secret=SECOND))
        async with http_session() as session, session.post(f"{reloading.server.url}/admin/reload") as answer:
            assert answer.status == 404


@pytest.mark.gen_test
async def test_who_asked_for_what_is_in_the_log_and_no_secret_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with reloadable(tmp_path) as reloading:
        reloading.file.write_text(BASE.replace(SECRET, SECOND).replace("port = 0\nstore", "port = 1\nstore"))
        await reloading.ask()
        reloading.file.write_text(BASE.replace(SECRET, "weak-but-secret"))
        await reloading.ask()
    (done,) = [vars(record) for record in caplog.records if record.name == "synkrone.audit"]
    assert (done["msg"], done["caller"]) == ("reloaded", "operator")
    assert done["detail"] == "changed: auth.secret; needs a restart: port"
    (failed,) = [vars(record) for record in caplog.records if record.msg == "not reloaded"]
    assert (failed["by"], failed["setting"]) == ("operator", "auth.secret")
    logged = "".join(map(str, map(vars, caplog.records)))
    assert not any(secret in logged for secret in (SECOND, ADMIN_KEY, "weak-but-secret"))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def objects() -> int:
    """But for what the log has said, which the tests keep."""
    return sum(not isinstance(each, logging.LogRecord) for each in gc.get_objects())


@pytest.mark.gen_test(timeout=60)
async def test_reloads_leave_nothing_behind_that_a_search_for_garbage_has_to_find(tmp_path: Path) -> None:
    """With many connections there is none: what is in a cycle stays. The least of some rounds counts: what reloads
    leave is left by each of them, and what other libraries in this process make for themselves is made once."""
    certificate = make_certificate(tmp_path)
    secrets = tmp_path / "secrets.json"
    secrets.write_bytes(jwks({"kty": "oct", "k": base64url(SECRET.encode())}))
    tls = f'[tls]\ncert = "{certificate.cert}"\nkey = "{certificate.key}"\n'
    text = with_issuer(f'jwks = "{secrets}"') + tls

    async def reload(times: int) -> None:
        for number in range(times):
            reloading.file.write_text(text.replace(API_KEY, f"{API_KEY}{number % 2}"))
            await reloading.reloading.reload("test")
            reloading.file.write_text(text.replace(ADMIN_KEY, "short"))
            with pytest.raises(InvalidSettings):
                await reloading.reloading.reload("test")

    async with reloadable(tmp_path, text) as reloading:
        await reload(5)
        gc.collect()
        gc.disable()
        try:
            descriptors, left = open_descriptors(), [objects()]
            for _ in range(ROUNDS):
                await reload(RELOADS)
                left.append(objects())
            assert min(after - before for before, after in pairwise(left)) < OBJECTS_MAX
            assert open_descriptors() <= descriptors
        finally:
            gc.enable()
