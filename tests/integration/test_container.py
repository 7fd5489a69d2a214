"""The wiring under every setting: everything builds, what is one stays one, and wrong settings are named in full."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from adapters.api.handlers import ApiHandler, BackendHandler
from adapters.api.inbox import UserHandler
from adapters.source.http_feed import HttpFeed
from adapters.source.memory import MemorySource
from adapters.store.memory import MemoryStore
from adapters.store.postgresql.store import PostgresqlStore
from adapters.store.sqlite.store import SqliteStore
from domain.errors import InvalidToken
from entrypoints.checking import untried
from entrypoints.container import SELECTED_BY, Container, build_container, build_store
from entrypoints.settings import Settings, SettingsError, validate_settings
from entrypoints.settings_reading import Naming, read_settings
from entrypoints.tls import check_tls
from tests.contract.test_caller_verifiers import KEY, OTHER_KEY
from tests.documents import block
from tests.doubles import ManualClock
from tests.e2e.certificates import make_certificate
from tests.serving import API_KEY, SECRET, token
from tests.tokens import jwks, key_for, pem, public_jwk, short_rsa_key

ISSUER: dict[str, Any] = {"issuer": "https://auth.example", "algorithms": ["RS256"]}
RSA_PEM = pem(key_for("RS256")).decode()
ONE_SECRET = {"auth": {"secret": SECRET}}

WEAK = "x" * 31
MEND = "name a chain and its key in PEM"
NOWHERE = "cannot read /nowhere: No such file or directory: make it, or name another file"
FACTORY: Any = type(Container.routes)
"""The provider that makes a new object each time it is asked."""


def issuers(*members: dict[str, Any], **auth: Any) -> dict[str, Any]:
    """Settings with issuers, each of another name."""
    names = [{"issuer": f"https://auth-{index}.example"} for index in range(len(members))]
    return {
        "auth": {"issuers": [{**ISSUER, **name, **more} for name, more in zip(names, members, strict=True)], **auth}
    }


@pytest.fixture
def jwks_file(tmp_path: Path) -> str:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(public_jwk(key_for("RS256")), public_jwk(key_for("ES256"), "k2")))
    return str(path)


GOOD: dict[str, dict[str, Any]] = {
    "one secret": ONE_SECRET,
    "PostgreSQL": ONE_SECRET | {"store": "postgresql://app@db.example/inbox", "store_password": "a secret"},
    "one secret, refined": {
        "auth": {
            "secret": SECRET,
            "audience": "a",
            "roles": ["x"],
            "user_claim": "u.id",
            "role_claim": "r",
            "leeway": 0,
        }
    },
    "public key": issuers({"public_key": RSA_PEM}),
    "elliptic curve": issuers({"public_key": pem(key_for("ES384")).decode(), "algorithms": ["ES384"]}),
    "Ed25519": issuers({"public_key": pem(key_for("Ed25519")).decode(), "algorithms": ["Ed25519", "EdDSA"]}),
    "issuer's secret": issuers({"secret": SECRET, "algorithms": []}),
    "key set by URL": issuers({"jwks": "https://auth.example/jwks"}),
    "key set of this machine": issuers({"jwks": "http://127.0.0.1:1/jwks"}),
    "discovery": issuers({}),
    "two issuers": issuers({"user_prefix": "a-"}, {"user_prefix": "b-", "secret": SECRET, "algorithms": ["HS256"]}),
    "shared users": issuers({}, {}, shared_user_ids=True),
    "services": issuers({"audience": "x", "services": {"billing": ["publish"]}}),
    "one API key": {**ONE_SECRET, "api": {"key": API_KEY}},
    "API keys": {
        **ONE_SECRET,
        "api": {"key": API_KEY, "keys": [{"name": "a", "key": KEY}, {"name": "b", "hash": f"sha256:{'0' * 64}"}]},
    },
    "feed": {**ONE_SECRET, "source": {"url": "https://backend.example/feed", "token": "t"}},
    "memory store": {**ONE_SECRET, "store": "memory://", "replay": "none"},
    "proxies and origins": {**ONE_SECRET, "trusted_proxies": ["10.0.0.0/8"], "cors_origins": ["https://app.example"]},
}


@pytest.fixture(params=GOOD)
def settings(request: pytest.FixtureRequest) -> Settings:
    return validate_settings(GOOD[request.param])


def singletons(container: Container) -> Iterator[tuple[str, Any]]:
    """Every provider but those that are made to give a new object each time."""
    for name, provider in container.providers.items():
        if name not in {"settings", "routes", "console"}:
            yield name, provider


def parts() -> int:
    return len(list(singletons(build_container(validate_settings(ONE_SECRET)))))


def test_every_setting_builds_every_part_and_each_only_once(settings: Settings) -> None:
    container = build_container(settings)
    seen = {name: provider() for name, provider in singletons(container)}
    assert len(seen) == parts() > 13
    for name, provider in singletons(container):
        assert provider() is seen[name], name
    assert container.transports() == (container.socketio(), container.sse())


def test_a_part_that_is_two_would_be_noticed() -> None:
    container = build_container(validate_settings(ONE_SECRET))
    container.clock.override(FACTORY(ManualClock))
    assert any(provider() is not provider() for _, provider in singletons(container))


def test_all_who_share_a_part_share_the_same_one(settings: Settings) -> None:
    container = build_container(settings)
    application, store = container.application(), container.store()
    connections, publishing, hub = application.connecting, application.publishing, application.hub
    users: tuple[object, ...] = (application.recovery._log, publishing._log, publishing._checkpoints, hub._log)
    assert all(used is store for used in users)
    assert connections._hub is publishing._hub is hub
    assert container.socketio()._connections.events is container.sse()._events is connections
    assert connections._verifier is container.verifier()
    assert container.backend().publisher is container.publishing() is publishing
    assert container.backend().directory is application.directory
    assert container.backend().callers is container.callers()


def test_two_containers_share_nothing(settings: Settings) -> None:
    one, other = build_container(settings), build_container(settings)
    for (name, first), (_, second) in zip(singletons(one), singletons(other), strict=True):
        assert first() is not second() or first() is None, name


@pytest.mark.parametrize(
    ("source", "kind"), [({}, MemorySource), ({"url": "http://127.0.0.1:1/feed"}, HttpFeed)], ids=["memory", "http"]
)
def test_the_source_is_the_one_of_the_settings(source: dict[str, str], kind: type) -> None:
    container = build_container(validate_settings({**ONE_SECRET, "source": source}))
    assert isinstance(container.source(), kind)


SELECTORS: dict[str, Any] = {
    name: provider for name, provider in Container.providers.items() if isinstance(provider, type(Container.source))
}


@pytest.mark.parametrize(
    ("port", "kinds"),
    [("verifier", {"jwt"}), ("source", {"memory", "http", "https"}), ("store", {"memory", "sqlite"})],
)
def test_every_kind_of_verifier_source_and_store_has_its_line(port: str, kinds: set[str]) -> None:
    assert set(SELECTORS[port].providers) >= kinds
    for kind, provider in SELECTORS[port].providers.items():
        assert type(provider) is type(Container.backend), kind


def test_what_can_be_selected_has_a_setting_that_selects_it() -> None:
    assert set(SELECTED_BY) == set(SELECTORS)


def what_is_wrong(folder: Path, environment: dict[str, str]) -> str:
    """The line with which a server ends that has a good secret beside these settings."""
    variables = {f"SYNKRONE_{name}": value for name, value in {"AUTH__SECRET": SECRET, **environment}.items()}
    (folder / "synkrone.toml").touch()
    settings, sources = read_settings(variables, folder / "synkrone.toml")
    with pytest.raises(SettingsError) as error, Naming(sources):
        build_container(settings)
    assert WEAK not in str(error.value)
    return str(error.value)


def test_what_an_address_names_on_another_machine_is_not_tried() -> None:
    values = {"auth": {"verifier": "introspection://auth.example/"}, "source": {"url": "queue://backend.example/"}}
    assert untried(validate_settings(values)) == ["what auth.verifier names", "the feed of source.url"]
    here = {"auth": {"verifier": "tokens:///file"}, "source": {"url": "jsonl:///file"}}
    assert untried(validate_settings(here)) == []


FEED = "must be the http(s):// address of a feed"
FILE = "must be sqlite:/// and the path of a file"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"SOURCE__URL": "http://"}, f"SYNKRONE_SOURCE__URL: {FEED}"),
        ({"SOURCE__URL": "http://[::1"}, f"SYNKRONE_SOURCE__URL: {FEED}"),
        ({"SOURCE__URL": "http://x:99999/"}, f"SYNKRONE_SOURCE__URL: {FEED}"),
        ({"SOURCE__URL": "memory://x"}, "SYNKRONE_SOURCE__URL: must have nothing behind memory"),
        (
            {"SOURCE__URL": f"https://u:{WEAK}@x/"},
            "SYNKRONE_SOURCE__URL: must hold no credentials: they belong in source.token",
        ),
        ({"STORE": "sqlite:///"}, f"SYNKRONE_STORE: {FILE}"),
        ({"STORE": "sqlite://x"}, f"SYNKRONE_STORE: {FILE}"),
        ({"STORE": "sqlite:///a\0b"}, f"SYNKRONE_STORE: {FILE}"),
        ({"STORE": "memory://x"}, "SYNKRONE_STORE: must have nothing behind memory"),
        ({"AUTH__VERIFIER": "jwt://x"}, "SYNKRONE_AUTH__VERIFIER: must have nothing behind jwt"),
    ],
)
def test_what_an_address_holds_is_checked_by_what_it_selects(
    environment: dict[str, str], line: str, tmp_path: Path
) -> None:
    assert what_is_wrong(tmp_path, environment) == line


def test_a_store_whose_driver_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adapters.store.postgresql.store", None)
    settings = validate_settings(ONE_SECRET | {"store": "postgresql://db.example/inbox"})
    with pytest.raises(SettingsError, match=r"^store: needs psycopg: pip install 'synkrone-socket\[postgresql\]'$"):
        build_container(settings)


@pytest.mark.parametrize(
    ("port", "variable", "address"),
    [
        ("verifier", "AUTH__VERIFIER", "saml:x"),
        ("source", "SOURCE__URL", "kafka://x"),
        ("store", "STORE", "postgres://x"),
    ],
)
def test_an_address_that_selects_nothing_is_told_what_there_is(
    port: str, variable: str, address: str, tmp_path: Path
) -> None:
    told = what_is_wrong(tmp_path, {variable: address})
    assert told.startswith(f"SYNKRONE_{variable}: must begin with ")
    assert re.split(", | or ", told.partition(" with ")[2]) == list(SELECTORS[port].providers)


def test_the_store_is_the_one_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    sqlite = build_container(validate_settings({**ONE_SECRET, "store": f"sqlite:///{path}"})).store()
    assert isinstance(sqlite, SqliteStore)
    assert isinstance(build_container(validate_settings({**ONE_SECRET, "store": "memory://"})).store(), MemoryStore)
    assert list(tmp_path.iterdir()) == [], "building opens nothing"


def test_the_settings_of_the_page_on_postgresql_reach_the_store() -> None:
    page = "docs/how-to/postgresql.md"
    pooled = tomllib.loads(block(page, "toml", "store_listen"))
    synchronous = tomllib.loads(block(page, "toml", "store_durability"))
    store = build_store(validate_settings({**ONE_SECRET, **pooled, **synchronous}))
    assert isinstance(store, PostgresqlStore)
    assert (store._address.has_session, store._listen_address.place) == (False, "postgresql://db.example/synkrone")
    assert store._appending.keywords == {"sync": True, "scheduled_most": 1_000_000}
    plain = build_store(validate_settings({**ONE_SECRET, "store": pooled["store"]}))
    assert isinstance(plain, PostgresqlStore)
    assert (plain._address.has_session, plain._listen_address) == (True, plain._address)
    assert plain._appending.keywords == {"sync": False, "scheduled_most": 1_000_000}


def test_without_keys_and_services_there_are_no_callers() -> None:
    for name, value in GOOD.items():
        closed = build_container(validate_settings(value)).callers() is None
        assert closed == (name not in {"services", "one API key", "API keys"}), name


@pytest.mark.gen_test
async def test_the_scopes_of_keys() -> None:
    callers = build_container(validate_settings(GOOD["API keys"])).callers()
    assert callers is not None
    assert (await callers.authenticate(API_KEY)).scopes == {
        "publish",
        "connections:read",
        "connections:write",
        "users:write",
        "users:erase",
        "users:export",
        "deliveries:read",
        "notifications:read",
        "notifications:write",
        "inbox:read",
        "inbox:write",
        "topics:write",
    }
    assert (await callers.authenticate(KEY)).scopes == {"publish"}
    assert (await callers.authenticate(KEY)).name == "a"


@pytest.mark.gen_test
async def test_settings_reach_those_whom_they_are_for() -> None:
    container = build_container(
        validate_settings(
            {
                "auth": {"secret": SECRET, "roles": ["freelance"], "leeway": "7s", "token_bytes": 1515},
                "trusted_proxies": ["10.0.0.0/8"],
                "store": "memory://",
                "replay": "none",
                "retention": {"log": "1h", "inbox_per_user": 28},
                "limits": {
                    "connections": 11,
                    "connections_per_user": 12,
                    "notification_bytes": 1313,
                    "drain_time": "14s",
                    "drain_rate": 15,
                    "message_bytes": 3616,
                    "queue_bytes": 171_717,
                    "connect_timeout": "18s",
                    "unauthenticated": 19,
                    "events_per_second": 20,
                    "events_burst": 21,
                    "ping_interval": "22s",
                    "ping_timeout": "23s",
                    "memory_entries": 2424,
                    "memory_bytes": 52_525_252,
                    "publish_bytes": 2626,
                    "batch_bytes": 2727,
                },
            }
        )
    )
    policy, limits, inbox = container.policy(), container.socketio()._limits, container.store()
    stream = container.sse()._limits
    assert (policy.leeway, policy.connections, policy.connections_per_user) == (timedelta(seconds=7), 11, 12)
    assert policy.token_bytes == 1515
    assert (policy.notification_bytes, policy.drain, policy.drain_rate) == (1313, timedelta(seconds=14), 15)
    assert (limits.message_bytes, limits.queue_bytes) == (3616, 171_717)
    assert limits.connect_timeout == 18
    assert (limits.connections, limits.unauthenticated) == (11, 19)
    assert (limits.events_per_second, limits.events_burst) == (20, 21)
    assert (limits.ping_interval, limits.ping_timeout) == (22, 23)
    assert (inbox._max_entries, inbox._max_bytes, inbox._retention) == (2424, 52_525_252, 3600)
    assert (inbox._inbox_per_user, policy.replays_undelivered) == (28, False)
    assert (stream.connections, stream.connecting, stream.queue_bytes) == (11, 19, 171_717)
    assert container.peers()._trusted == (ip_network("10.0.0.0/8"),)
    sizes = [arguments["max_body"] for _, _, arguments in container.routes(readiness=None) if "max_body" in arguments]
    assert sizes == [3616] * len(sizes)
    assert sizes
    assert [route.max_body for route in container.publish_routes().values()] == [2626, 2727]
    assert (await container.verifier().verify(token("42"))).user == "42"
    assert (await container.verifier().verify(token("42", ttl=-5))).user == "42"
    for bad in (token("42", "company"), token("42", ttl=-8), token("42", padding="x" * 1400)):
        with pytest.raises(InvalidToken):
            await container.verifier().verify(bad)


def test_routes_of_backends_need_a_caller_and_no_other_route_is_theirs() -> None:
    container = build_container(validate_settings(ONE_SECRET))
    for path, handler, _ in container.routes(readiness=None):
        assert issubclass(handler, ApiHandler)
        assert issubclass(handler, UserHandler) == path.startswith("/v1/inbox"), path
        assert issubclass(handler, BackendHandler) == path.startswith(
            ("/v1/users", "/v1/notifications", "/v1/topics", "/v1/erasures")
        ), path


def test_only_settings_are_settings() -> None:
    with pytest.raises(Exception, match="is not an instance of"):
        Container(settings={"auth": {"secret": SECRET}}).policy()
    with pytest.raises(Exception, match="is not defined"):
        Container().policy()


def test_an_override_reaches_everybody() -> None:
    container = Container(settings=validate_settings(ONE_SECRET))
    clock = ManualClock()
    container.clock.override(clock)
    application = container.application()
    assert application.connecting._clock is application.hub._clock is container.publishing()._clock is clock


def test_a_broken_override_is_noticed_when_the_server_is_built() -> None:
    container = Container(settings=validate_settings(ONE_SECRET))
    container.policy.override(FACTORY(ManualClock, no_such_argument=1))
    with pytest.raises(TypeError, match="no_such_argument"):
        container.application()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "auth.secret: is required (SYNKRONE_AUTH__SECRET), or auth.issuers"),
    ({"auth": {"secret": ""}}, "auth.secret: has 0 bytes; at least 32 are needed"),
    ({"auth": {"secret": WEAK}}, "auth.secret: has 31 bytes; at least 32 are needed"),
    ({"auth": {"secret": [SECRET, WEAK]}}, "auth.secret[1]: has 31 bytes; at least 32 are needed"),
    ({"auth": {"secret": [SECRET, SECRET]}}, "auth.secret: two of them are the same"),
    ({"auth": {"secret": []}}, "auth.secret: must be 1 to 8 secrets"),
    ({"auth": {"secret": [f"{number}{SECRET}" for number in range(9)]}}, "auth.secret: must be 1 to 8 secrets"),
    ({"auth": {"secret": [RSA_PEM]}}, "auth.secret: is a key of a key pair: a public key belongs in public_key"),
    (
        issuers({}, {"secret": ["x" * 64, SECRET], "algorithms": ["HS512"]}),
        "auth.issuers[1].secret[1]: has 44 bytes; HS512 needs at least 64, the size of its hash",
    ),
    (
        {"auth": {"secret": SECRET, "role_claim": ["a"] * 17}},
        "auth.role_claim: must have at most 16 steps",
    ),
    ({**ONE_SECRET, "api": {"key": "x" * 8193}}, "api.key: must have at most 8192 characters"),
    ({"auth": {"secret": RSA_PEM}}, "auth.secret: is a key of a key pair: a public key belongs in public_key"),
    (
        {"auth": {"secret": SECRET, "roles": []}},
        "auth.roles: must name roles of 1 to 128 printable characters",
    ),
    (
        issuers({}, {"user_prefix": "b-"}),
        (
            "auth.issuers[1].user_prefix: 'b-' and '' of 'https://auth-0.example' let one issuer speak for the other's "
            "users: give each its own, none the beginning of another, or set shared_user_ids"
        ),
    ),
    (
        {"auth": {"issuers": [ISSUER, ISSUER], "shared_user_ids": True}},
        "auth.issuers[1].issuer: 'https://auth.example' is there twice",
    ),
    (
        issuers({}, {"algorithms": ["none"]}),
        "auth.issuers[1].algorithms: 'none' would accept tokens without a signature",
    ),
    (
        issuers({}, {"algorithms": ["RS256", "HS256"]}),
        "auth.issuers[1].algorithms: HMAC and public-key algorithms must not be mixed",
    ),
    (
        issuers({}, {"secret": SECRET}),
        "auth.issuers[1].algorithms: RS256 cannot be verified with secret",
    ),
    (
        issuers({}, {"secret": SECRET, "algorithms": ["HS512"]}),
        "auth.issuers[1].secret: has 44 bytes; HS512 needs at least 64, the size of its hash",
    ),
    (issuers({}, {"public_key": "x"}), "auth.issuers[1].public_key: is not a public key in PEM"),
    (
        issuers({}, {"public_key": pem(short_rsa_key()).decode()}),
        "auth.issuers[1].public_key: is an RSA key of 1024 bits; 2048 to 8192 are allowed",
    ),
    (issuers({}, {"jwks": "/nowhere"}), f"auth.issuers[1].jwks: {NOWHERE}"),
    (
        issuers({}, {"jwks": "http://auth.example/jwks"}),
        "auth.issuers[1].jwks: must be a file, or an https URL (http only on this machine)",
    ),
    (
        {"auth": {"issuers": [{"issuer": "auth.example"}]}},
        "auth.issuers[0].issuer: must be an https URL (http only on this machine), as its keys are looked up there",
    ),
    (issuers({}, {"services": {"billing": []}}), "auth.issuers[1].services: needs audience"),
    (
        {**ONE_SECRET, "api": {"keys": [{"name": "a", "key": KEY}, {"name": "b", "hash": "md5:x"}]}},
        "api.keys[1].hash: must be 'sha256:' and 64 hexadecimal digits",
    ),
    (
        {**ONE_SECRET, "api": {"keys": [{"name": "a", "key": KEY}, {"name": "a", "key": OTHER_KEY}]}},
        "api.keys: two have the same name",
    ),
    ({**ONE_SECRET, "api": {"key": KEY, "keys": [{"name": "a", "key": KEY}]}}, "api.keys: two have the same hash"),
    (
        {**ONE_SECRET, "source": {"url": "https://x/", "ca_file": "/nowhere"}},
        f"source.ca_file: {NOWHERE}",
    ),
    (
        {**ONE_SECRET, "store_durability": "sync"},
        "store_durability: is for a store of postgresql://, and the store is sqlite",
    ),
    (
        {**ONE_SECRET, "store": "memory://", "store_listen": "postgresql://x/y"},
        "store_listen: is for a store of postgresql://, and the store is memory",
    ),
    (
        {**ONE_SECRET, "store": "postgresql://x/y", "store_listen": "postgresql://a:b@x/y", "store_password": "c"},
        "store_listen: has a password in it, and another one is given beside it",
    ),
]


@pytest.mark.parametrize(("values", "line"), WRONG, ids=[line[:50] for _, line in WRONG])
def test_what_an_adapter_refuses_is_a_setting_with_its_full_name(values: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as error:
        build_container(validate_settings(values))
    assert str(error.value) == line
    assert WEAK not in line


def test_one_weak_secret_of_several_is_named_with_the_variable_that_holds_it_or_its_file(tmp_path: Path) -> None:
    lines, toml = tmp_path / "secrets", tmp_path / "synkrone.toml"
    lines.write_text(f"{SECRET}\n\n{WEAK}\n")
    toml.touch()
    both = json.dumps([SECRET, WEAK])
    issuer = {"issuer": "https://auth.example", "algorithms": ["HS256"]}
    for variable, value, place in (
        ("SYNKRONE_AUTH__SECRET", both, "[1]"),
        ("SYNKRONE_Auth__Secret", json.dumps([WEAK, SECRET]), "[0]"),
        ("SYNKRONE_AUTH__SECRET_FILE", str(lines), "[1]"),
        ("SYNKRONE_AUTH__ISSUERS", json.dumps([{**issuer, "secret": [SECRET, WEAK]}]), "[0].secret[1]"),
        ("SYNKRONE_AUTH__ISSUERS", json.dumps([{**issuer, "secret_file": str(lines)}]), "[0].secret[1]"),
    ):
        settings, sources = read_settings({variable: value}, toml)
        with pytest.raises(SettingsError) as error, Naming(sources):
            build_container(settings)
        assert str(error.value) == f"{variable}{place}: has 31 bytes; at least 32 are needed"


def test_keys_from_a_file(jwks_file: str) -> None:
    build_container(validate_settings(issuers({"jwks": jwks_file, "algorithms": ["RS256", "ES256"]})))
    with pytest.raises(SettingsError, match=r"^auth.issuers\[0\].algorithms: ES384 cannot be verified with jwks$"):
        build_container(validate_settings(issuers({"jwks": jwks_file, "algorithms": ["ES384"]})))
    for document, says in ((b"x", "is not JSON"), (json.dumps({"keys": []}).encode(), "holds no key")):
        Path(jwks_file).write_bytes(document)
        with pytest.raises(SettingsError, match=rf"^auth.issuers\[0\].jwks: {says}"):
            build_container(validate_settings(issuers({"jwks": jwks_file})))


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    values = {**ONE_SECRET, "source": {"url": "https://x/", "ca_file": str(tmp_path / "ca.pem")}}
    with pytest.raises(SettingsError, match=r"^source.ca_file: .*ca.pem holds no certificate in PEM: "):
        build_container(validate_settings(values))


def test_tls(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, other = make_certificate(tmp_path), make_certificate(tmp_path / "other")
    assert check_tls(validate_settings(ONE_SECRET).tls, "tls") is None
    tls = {"cert": str(certificate.cert), "key": str(certificate.key)}
    assert check_tls(validate_settings({**ONE_SECRET, "tls": tls}).tls, "tls") is not None
    for wrong, line in (
        (
            {**tls, "key": str(other.key)},
            f"tls.cert: {certificate.cert} and {other.key} are no certificate with its key: {MEND}",
        ),
        ({**tls, "key": "/nowhere"}, f"tls.key: {NOWHERE}"),
    ):
        with pytest.raises(SettingsError) as error:
            check_tls(validate_settings({**ONE_SECRET, "tls": wrong}).tls, "tls")
        assert str(error.value) == line
