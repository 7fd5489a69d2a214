"""Settings from the environment and a file: what is good, and the one line for what is not."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from adapters.http.origins import Origin
from entrypoints.settings import Settings, SettingsError, validate_settings
from entrypoints.settings_reading import load_settings
from entrypoints.settings_types import duration, written

SECRET = "pRiVaTe-secret-of-the-tests-that-is-long-enough"
KEY = "pRiVaTe-key-of-the-tests-that-is-long-enough"
SHORT = "pRiVaTe"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(toml: str = "", **environment: str) -> Settings:
    """``environment`` without the prefix."""
    Path("synkrone.toml").write_text(toml, encoding="utf-8")
    return load_settings({f"SYNKRONE_{name}": value for name, value in environment.items()})


def wrong(toml: str = "", **environment: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(toml, **environment)
    message = str(error.value)
    assert SHORT not in message
    assert len(message.splitlines()) == 1
    return message


def test_the_path_of_a_store() -> None:
    def path(store: str) -> Path:
        return validate_settings({"auth": {"secret": SECRET}, "store": store}).store.path

    assert path("sqlite:///data/log.db") == Path("data/log.db")
    assert path("sqlite:////var/lib/synkrone/log.db") == Path("/var/lib/synkrone/log.db")


def test_an_inbox_never_forgets_before_the_log() -> None:
    values = {"auth": {"secret": SECRET}, "retention": {"log": "400d", "inbox": "10d"}}
    assert validate_settings(values).retention.inbox_age == timedelta(days=400)


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port, settings.store) == ("127.0.0.1", 8000, "sqlite:///synkrone.db")
    assert settings.auth.secret is None
    assert settings.auth.leeway == timedelta(seconds=30)
    assert settings.api.key is None
    assert settings.source.url.scheme == "memory"
    assert settings.cors_origins == []
    assert settings.trusted_proxies == []
    assert (settings.store.scheme, settings.store.path) == ("sqlite", Path("synkrone.db"))
    assert (settings.auth.verifier, settings.replay) == ("jwt", "undelivered")
    assert settings.retention.log == timedelta(days=30)
    assert (settings.retention.inbox_age, settings.retention.inbox_per_user) == (timedelta(days=365), 10_000)
    assert (settings.log.level, settings.log.format) == ("info", "auto")
    limits = settings.limits
    assert (limits.message_bytes, limits.queue_bytes, limits.notification_bytes) == (65_536, 1_048_576, 65_536)
    assert (limits.publish_bytes, limits.batch_bytes) == (1_048_576, 16_777_216)
    assert (limits.connections, limits.unauthenticated, limits.connections_per_user) == (10_000, 2_000, 20)
    assert (limits.events_per_second, limits.events_burst) == (20, 40)
    assert limits.connect_timeout == timedelta(seconds=10)
    assert (limits.ping_interval, limits.ping_timeout) == (timedelta(seconds=25), timedelta(seconds=20))


def test_the_environment_says_the_same_as_a_file() -> None:
    toml = """
    port = 9000
    cors_origins = ["https://app.example"]
    trusted_proxies = ["10.0.0.0/8", "::1"]
    [auth]
    shared_user_ids = true
    [[auth.issuers]]
    issuer = "https://auth.example"
    algorithms = ["RS256", "ES256"]
    services = { billing = ["publish"] }
    [[api.keys]]
    name = "billing"
    key = "pRiVaTe-key-of-the-tests-that-is-long-enough"
    scopes = ["publish", "connections:read"]
    [limits]
    request_timeout = 1.5
    events_per_second = 2.5
    """
    environment = {
        "PORT": "9000",
        "CORS_ORIGINS": '["https://app.example"]',
        "TRUSTED_PROXIES": '["10.0.0.0/8", "::1"]',
        "AUTH__SHARED_USER_IDS": "true",
        "AUTH__ISSUERS": json.dumps(tomllib.loads(toml)["auth"]["issuers"]),
        "API__KEYS": json.dumps(tomllib.loads(toml)["api"]["keys"]),
        "LIMITS__REQUEST_TIMEOUT": "1.5s",
        "LIMITS__EVENTS_PER_SECOND": "2.5",
    }
    settings = load(toml)
    assert settings == load(**environment)
    assert settings.trusted_proxies == [IPv4Network("10.0.0.0/8"), IPv6Network("::1/128")]
    assert settings.cors_origins == [Origin("https", "app.example")]
    assert settings.limits.request_timeout == timedelta(seconds=1.5)
    assert settings.auth.issuers[0].services == {"billing": ["publish"]}


def test_networks_of_ipv4_written_as_ipv6_are_ipv4_as_their_hosts_are_seen() -> None:
    settings = load(TRUSTED_PROXIES='["::ffff:10.0.0.0/104", "::ffff:192.0.2.1", "::/0"]')
    assert settings.trusted_proxies == [
        IPv4Network("10.0.0.0/8"),
        IPv4Network("192.0.2.1/32"),
        IPv6Network("::/0"),
    ]


def test_the_environment_comes_first_and_leaves_the_rest_of_the_file() -> None:
    toml = 'host = "::1"\nport = 1\n[limits]\nconnections = 1\nevents_burst = 7\n'
    settings = load(toml, PORT="2", LIMITS__CONNECTIONS="3")
    assert (settings.host, settings.port) == ("::1", 2)
    assert (settings.limits.connections, settings.limits.events_burst) == (3, 7)


@pytest.mark.parametrize(
    ("host", "is_unix", "address"),
    [
        ("127.0.0.1", False, "127.0.0.1:8000"),
        ("::1", False, "[::1]:8000"),
        ("localhost", False, "localhost:8000"),
        ("unix:/run/synkrone.sock", True, "unix:/run/synkrone.sock"),
    ],
)
def test_where_it_listens(host: str, is_unix: bool, address: str) -> None:  # noqa: FBT001 (a column of the table)
    settings = load(HOST=host)
    assert (settings.is_unix, settings.address) == (is_unix, address)


def test_who_comes_over_a_unix_socket_can_be_a_trusted_proxy() -> None:
    settings = load(TRUSTED_PROXIES='["10.0.0.0/8", "unix"]')
    assert settings.trusted_proxies == [IPv4Network("10.0.0.0/8"), "unix"]


def test_a_heartbeat_may_be_shorter_than_a_second() -> None:
    limits = load(LIMITS__PING_INTERVAL="100ms", LIMITS__PING_TIMEOUT="0.2").limits
    assert (limits.ping_interval, limits.ping_timeout) == (timedelta(seconds=0.1), timedelta(seconds=0.2))


def test_names_in_the_environment_know_no_case_and_others_are_not_ours() -> None:
    assert (
        load_settings({"SYNKRONE_Limits__CONNECTIONS": "3", "PORT": "x", "synkrone_port": "x"}).limits.connections == 3
    )


def test_the_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "synkrone.toml").write_text("port = 1")
    named = tmp_path / "other.toml"
    named.write_text("port = 2")
    assert load_settings({}, named).port == 2


@pytest.mark.parametrize(
    ("setting", "path"),
    [("auth.secret", "auth"), ("api.key", "api"), ("source.token", "source")],
)
def test_a_secret_can_come_from_a_file(tmp_path: Path, setting: str, path: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    name = setting.partition(".")[2]
    for settings in (
        load(f'[{path}]\n{name}_file = "{file}"'),
        load(**{f"{setting.replace('.', '__').upper()}_FILE": str(file)}),
    ):
        value = getattr(getattr(settings, path), name)
        assert [secret.get_secret_value() for secret in (value if isinstance(value, list) else [value])] == [SECRET]


def plain(secrets: list[SecretStr] | None) -> list[str] | None:
    return None if secrets is None else [secret.get_secret_value() for secret in secrets]


def test_several_secrets_in_every_way_of_giving_them(tmp_path: Path) -> None:
    both, file = [SECRET, KEY], tmp_path / "secrets"
    for lines in (f"{SECRET}\n{KEY}", f"{SECRET}\n{KEY}\n\n", f"{SECRET}\r\n\r\n{KEY}\r\n"):
        file.write_bytes(lines.encode())
        for settings in (load(f'[auth]\nsecret_file = "{file}"'), load(AUTH__SECRET_FILE=str(file))):
            assert plain(settings.auth.secret) == both
        assert plain(load(**issuer(secret_file=str(file))).auth.issuers[1].secret) == both
    for settings in (
        load(f"[auth]\nsecret = {json.dumps(both)}"),
        load(AUTH__SECRET=json.dumps(both)),
        load(AUTH__SECRET=f" {json.dumps(both, indent=1)} "),
        load(f'[auth]\nsecret = "other"\nsecret_file = "{file}x"', AUTH__SECRET=json.dumps(both)),
    ):
        assert plain(settings.auth.secret) == both
    for secret in (both, json.dumps(both)):
        assert plain(load(**issuer(secret=secret)).auth.issuers[1].secret) == both


@pytest.mark.parametrize(
    "secret", [SECRET, f"[{SECRET}", f"{SECRET}]", f" {SECRET} ", f'{SECRET}"', "{" + SECRET + "}", ""]
)
def test_one_secret_is_taken_as_it_is(secret: str) -> None:
    assert plain(load(AUTH__SECRET=secret).auth.secret) == [secret]


@pytest.mark.parametrize(
    "text", [f"[{SECRET},{KEY}]", f"['{SECRET}', '{KEY}']", f'["{SECRET}", "{KEY}"', f'["{SECRET}",]']
)
def test_what_was_meant_to_be_a_list_of_secrets_is_not_taken_for_one(tmp_path: Path, text: str) -> None:
    says = 'must be a secret, or JSON such as ["the new one", "the old one"]'
    assert wrong(AUTH__SECRET=text) == f"SYNKRONE_AUTH__SECRET: {says}"
    assert wrong(**issuer(secret=text)) == f"SYNKRONE_AUTH__ISSUERS[1].secret: {says}"
    file = tmp_path / "secrets"
    for content in (text, f'["{SECRET}", "{KEY}"]'):
        file.write_text(content)
        assert wrong(AUTH__SECRET_FILE=str(file)) == "SYNKRONE_AUTH__SECRET_FILE: must hold one a line, and no JSON"


STEPS = ["resource_access", "my.client", "roles"]


@pytest.mark.parametrize("name", ["user_claim", "role_claim"])
def test_a_claim_is_a_name_or_the_steps_to_it(name: str) -> None:
    variable = f"AUTH__{name.upper()}"
    for settings in (load(f"[auth]\n{name} = {json.dumps(STEPS)}"), load(**{variable: json.dumps(STEPS)})):
        assert getattr(settings.auth, name) == STEPS
    for value in (STEPS, json.dumps(STEPS)):
        assert getattr(load(**issuer(**{name: value})).auth.issuers[1], name) == STEPS
    assert getattr(load(**{variable: "https://example.com/claim"}).auth, name) == "https://example.com/claim"


@pytest.mark.parametrize("name", ["user_claim", "role_claim"])
def test_what_is_neither(name: str) -> None:
    for value in ([1], ["a", None], [["a"]], 1, {"a": 1}, None):
        line = f"SYNKRONE_AUTH__ISSUERS[1].{name}: must be a string, or a list of strings"
        assert wrong(**issuer(**{name: value})) == line
    for empty in ("", [], ["a", ""], "[]"):
        assert wrong(**issuer(**{name: empty})) == f"SYNKRONE_AUTH__ISSUERS[1].{name}: must not be empty"
    assert wrong(**{f"AUTH__{name.upper()}": '["a"'}) == f"SYNKRONE_AUTH__{name.upper()}: {JSON}"


@pytest.mark.parametrize("token_bytes", [1_024, 16_384, 65_536])
def test_a_token_fits_into_a_message_and_into_a_head(token_bytes: int) -> None:
    settings = load(AUTH__TOKEN_BYTES=str(token_bytes), LIMITS__MESSAGE_BYTES=str(token_bytes + 2_048))
    assert settings.head_bytes == token_bytes + 8_192
    least = f"SYNKRONE_LIMITS__MESSAGE_BYTES: must be at least {token_bytes + 2_048} for SYNKRONE_AUTH__TOKEN_BYTES"
    assert wrong(AUTH__TOKEN_BYTES=str(token_bytes), LIMITS__MESSAGE_BYTES=str(token_bytes + 2_047)) == least


def test_the_secrets_of_lists_can_come_from_files_too(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    settings = load(
        AUTH__ISSUERS=json.dumps(
            [{"issuer": "a", "secret_file": str(file)}, {"issuer": "b", "public_key_file": str(file)}]
        ),
        API__KEYS=json.dumps([{"name": "x", "key_file": str(file)}]),
    )
    secret, key = settings.auth.issuers[0].secret, settings.api.keys[0].key
    assert key is not None
    assert plain(secret) == [key.get_secret_value()] == [SECRET]
    assert settings.auth.issuers[1].public_key == SECRET


def test_the_environment_replaces_a_secret_of_the_file_in_either_way_of_giving_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    for toml, environment in (
        (f'[auth]\nsecret_file = "{file}x"', {"AUTH__SECRET": SECRET}),
        ('[auth]\nsecret = "other"', {"AUTH__SECRET_FILE": str(file)}),
    ):
        assert plain(load(toml, **environment).auth.secret) == [SECRET]


def test_a_file_of_secrets_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    for path, says in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "not text"),
    ):
        assert wrong(AUTH__SECRET_FILE=str(path)).startswith("SYNKRONE_AUTH__SECRET_FILE: cannot read ")
        assert says in wrong(AUTH__SECRET_FILE=str(path))
        assert wrong(API__KEY_FILE=str(path)).startswith("SYNKRONE_API__KEY_FILE: cannot read ")
        assert wrong(SOURCE__TOKEN_FILE=str(path)).startswith("SYNKRONE_SOURCE__TOKEN_FILE: cannot read ")
        issuers = json.dumps([{"issuer": "a", "secret": SECRET}, {"issuer": "b", "secret_file": str(path)}])
        assert wrong(AUTH__ISSUERS=issuers).startswith("SYNKRONE_AUTH__ISSUERS[1].secret_file: cannot read ")
        keys = json.dumps([{"name": "x", "key_file": str(path)}])
        assert wrong(API__KEYS=keys).startswith("SYNKRONE_API__KEYS[0].key_file: cannot read ")


def issuer(**members: Any) -> dict[str, str]:
    return {"AUTH__ISSUERS": json.dumps([{"issuer": "a"}, {"issuer": "b", **members}])}


def key(**members: Any) -> dict[str, str]:
    return {"API__KEYS": json.dumps([{"name": "x", "key": KEY, **members}])}


SCOPES = (
    "admin, connections:read, connections:write, deliveries:read, inbox:read, inbox:write, notifications:read, "
    "notifications:write, publish, topics:write, users:erase, users:export, users:write"
)
DURATION = "must be a duration such as 30s, 10m, 1h or 30d"
JSON = 'must be a list or table such as ["one", "two"]; in the environment, as JSON'
NETWORK = "must be an IP address, a network such as 10.0.0.0/8, or unix"
ORIGIN = "must be an origin such as https://app.example, with no path"
NO_UNIX_SOCKET = "must be an address: other machines reach no Unix socket"
NODE_ADDRESS = "must be the address of the internal listener, such as http://10.0.0.5:8001"
NODE_ADDRESS_NEEDED = "is needed: others cannot connect to the address of SYNKRONE_INTERNAL__HOST"
NOT_SET = "not set in FOLDER/synkrone.toml"
EVERY_ORIGIN = "'*' would let every page in: name them, as in https://app.example or https://*.example.com"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"PORT": "http"}, "SYNKRONE_PORT: must be a whole number"),
        ({"PORT": "1.5"}, "SYNKRONE_PORT: must be a whole number"),
        ({"PORT": ""}, "SYNKRONE_PORT: must be a whole number"),
        ({"PORT": "-1"}, "SYNKRONE_PORT: must be at least 0"),
        ({"PORT": "65536"}, "SYNKRONE_PORT: must be at most 65535"),
        ({"HOST": ""}, "SYNKRONE_HOST: must not be empty"),
        ({"HOST": "unix:"}, "SYNKRONE_HOST: must be an address, or unix: and the path of a socket"),
        ({"HOST": "unix:/a\0b"}, "SYNKRONE_HOST: must be an address, or unix: and the path of a socket"),
        ({"HOSTNAME": "x"}, "SYNKRONE_HOSTNAME: is not a known setting: remove it"),
        ({"LIMITS__DURATION": "1s"}, "SYNKRONE_LIMITS__DURATION: is not a known setting: remove it"),
        ({"CONNECTIONS": "9"}, "SYNKRONE_CONNECTIONS: is not a known setting: did you mean limits.connections?"),
        ({"AUTH_SECRET": SECRET}, "SYNKRONE_AUTH_SECRET: is not a known setting: did you mean auth.secret?"),
        ({"": "x"}, "SYNKRONE_: is not a known setting: remove it"),
        ({"AUTH": SECRET}, "SYNKRONE_AUTH: must be a section of settings"),
        ({"AUTH__SECERT": SECRET}, "SYNKRONE_AUTH__SECERT: is not a known setting: did you mean auth.secret?"),
        ({"AUTH__SECRET__X": SECRET}, "SYNKRONE_AUTH__SECRET__X: auth.secret must be a string, or a list of strings"),
        ({"AUTH__SECRET": "[1]"}, "SYNKRONE_AUTH__SECRET[0]: must be a string"),
        ({"AUTH__TOKEN_BYTES": "1023"}, "SYNKRONE_AUTH__TOKEN_BYTES: must be at least 1024"),
        ({"AUTH__TOKEN_BYTES": "65537"}, "SYNKRONE_AUTH__TOKEN_BYTES: must be at most 65536"),
        ({"AUTH__TOKEN_BYTES": "16k"}, "SYNKRONE_AUTH__TOKEN_BYTES: must be a whole number"),
        ({"AUTH__SECRET": SECRET, "AUTH__SECRET__X": SECRET}, "SYNKRONE_AUTH__SECRET__X: secret is not a section"),
        (
            {"AUTH__SECRET": SECRET, **issuer()},
            "SYNKRONE_AUTH__SECRET: is given beside SYNKRONE_AUTH__ISSUERS: remove one of them",
        ),
        (
            {"AUTH__SECRET": SECRET, "AUTH__SECRET_FILE": "x"},
            "SYNKRONE_AUTH__SECRET_FILE: is given beside secret: remove one of them",
        ),
        ({"AUTH__ROLES": "freelance"}, f"SYNKRONE_AUTH__ROLES: {JSON}"),
        ({"AUTH__ROLES": '{"a": 1}'}, "SYNKRONE_AUTH__ROLES: must be a list"),
        ({"AUTH__ROLES": "[1]"}, "SYNKRONE_AUTH__ROLES[0]: must be a string"),
        ({"AUTH__ROLES": "[" * 100_000}, f"SYNKRONE_AUTH__ROLES: {JSON}"),
        ({"AUTH__LEEWAY": "6m"}, "SYNKRONE_AUTH__LEEWAY: must be 0 to 5m"),
        ({"AUTH__SHARED_USER_IDS": "perhaps"}, "SYNKRONE_AUTH__SHARED_USER_IDS: must be true or false"),
        (
            {"AUTH__AUDIENCE": "x", **issuer()},
            "SYNKRONE_AUTH__AUDIENCE: belongs to auth.secret; with SYNKRONE_AUTH__ISSUERS each issuer has its own",
        ),
        ({"AUTH__ISSUERS": SECRET}, f"SYNKRONE_AUTH__ISSUERS: {JSON}"),
        ({"AUTH__ISSUERS": f'["{SECRET}"]'}, "SYNKRONE_AUTH__ISSUERS[0]: must be a section of settings"),
        ({"AUTH__ISSUERS": "[{}]"}, "SYNKRONE_AUTH__ISSUERS[0].issuer: is required"),
        ({"AUTH__ISSUERS__0__ISSUER": "x"}, "SYNKRONE_AUTH__ISSUERS__0__ISSUER: auth.issuers must be a list"),
        (issuer(secret=SECRET, jwks="x"), "SYNKRONE_AUTH__ISSUERS[1].secret: is given beside jwks: remove one of them"),
        (
            issuer(secret=SECRET, public_key="x"),
            "SYNKRONE_AUTH__ISSUERS[1].public_key: is given beside secret: remove one of them",
        ),
        (issuer(audience=""), "SYNKRONE_AUTH__ISSUERS[1].audience: must not be empty"),
        (
            issuer(algorithm="RS256"),
            "SYNKRONE_AUTH__ISSUERS[1].algorithm: is not a known setting: did you mean auth.issuers.algorithms?",
        ),
        (issuer(algorithms="RS256"), f"SYNKRONE_AUTH__ISSUERS[1].algorithms: {JSON}"),
        (
            issuer(services={"billing": ["publsh"]}),
            f"SYNKRONE_AUTH__ISSUERS[1].services.billing: 'publsh' is not one of {SCOPES}",
        ),
        (issuer(services={"billing": 1}), "SYNKRONE_AUTH__ISSUERS[1].services.billing: must be a list"),
        (issuer(services=[1]), "SYNKRONE_AUTH__ISSUERS[1].services: must be a table"),
        (issuer(**{"a\nb": 1}), "SYNKRONE_AUTH__ISSUERS[1].'a\\nb': is not a known setting: remove it"),
        ({"API__KEY": SHORT}, "SYNKRONE_API__KEY: must have at least 32 characters"),
        (
            {"API__KEYS": '[{"name": "x"}]'},
            "SYNKRONE_API__KEYS[0].key: exactly one of key, key_file and hash is needed",
        ),
        (key(hash="sha256:x"), "SYNKRONE_API__KEYS[0].key: exactly one of key, key_file and hash is needed"),
        (key(key=SHORT), "SYNKRONE_API__KEYS[0].key: must have at least 32 characters"),
        (key(name="a b"), "SYNKRONE_API__KEYS[0].name: must be 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'"),
        (key(scopes=["everything"]), f"SYNKRONE_API__KEYS[0].scopes: 'everything' is not one of {SCOPES}"),
        ({"SOURCE__URL": ""}, "SYNKRONE_SOURCE__URL: must not be empty"),
        ({"REPLAY": "all"}, "SYNKRONE_REPLAY: must be 'undelivered' or 'none'"),
        ({"RETENTION__INBOX_PER_USER": "0"}, "SYNKRONE_RETENTION__INBOX_PER_USER: must be at least 1"),
        ({"CORS_ORIGINS": '["https://x/"]'}, f"SYNKRONE_CORS_ORIGINS[0]: {ORIGIN}"),
        (
            {"CORS_ORIGINS": '["https://x", "*"]'},
            f"SYNKRONE_CORS_ORIGINS[1]: {EVERY_ORIGIN}",
        ),
        (
            {"CORS_ORIGINS": '["null", "http://x:0"]'},
            "SYNKRONE_CORS_ORIGINS[1]: must have a port from 1 to 65535, or none",
        ),
        ({"CORS_ORIGINS": "[1]"}, "SYNKRONE_CORS_ORIGINS[0]: must be a string"),
        ({"CORS_ORIGINS": "null"}, "SYNKRONE_CORS_ORIGINS: must be a list"),
        ({"TRUSTED_PROXIES": '["10.0.0.1/8"]'}, f"SYNKRONE_TRUSTED_PROXIES[0]: {NETWORK}"),
        ({"TRUSTED_PROXIES": '["::1", "proxy.example"]'}, f"SYNKRONE_TRUSTED_PROXIES[1]: {NETWORK}"),
        ({"TRUSTED_PROXIES": "10.0.0.1"}, f"SYNKRONE_TRUSTED_PROXIES: {JSON}"),
        ({"TLS__CERT": "x"}, f"tls.key: is needed too ({NOT_SET})"),
        ({"TLS__KEY": "x"}, f"tls.cert: is needed too ({NOT_SET})"),
        ({"RETENTION__LOG": "forever"}, f"SYNKRONE_RETENTION__LOG: {DURATION}"),
        ({"RETENTION__LOG": "0"}, "SYNKRONE_RETENTION__LOG: must be more than 0"),
        ({"LIMITS__REQUEST_TIMEOUT": "-1"}, f"SYNKRONE_LIMITS__REQUEST_TIMEOUT: {DURATION}"),
        ({"LIMITS__REQUEST_TIMEOUT": "0s"}, "SYNKRONE_LIMITS__REQUEST_TIMEOUT: must be more than 0"),
        ({"LIMITS__REQUEST_TIMEOUT": "9" * 400 + "d"}, "SYNKRONE_LIMITS__REQUEST_TIMEOUT: is too long a duration"),
        ({"RETENTION__DELIVERIES": "36501d"}, "SYNKRONE_RETENTION__DELIVERIES: is too long a duration"),
        ({"RETENTION__INBOX": "1000000d"}, "SYNKRONE_RETENTION__INBOX: is too long a duration"),
        ({"AUTH__LONGEST_LIFE": "1000000d"}, "SYNKRONE_AUTH__LONGEST_LIFE: is too long a duration"),
        ({"INTERNAL__HOST": "unix:/run/x.sock"}, f"SYNKRONE_INTERNAL__HOST: {NO_UNIX_SOCKET}"),
        ({"INTERNAL__TLS__CERT": "x.pem"}, f"internal.tls.key: is needed too ({NOT_SET})"),
        ({"NODE__ADDRESS": "http://10.0.0.5:8001"}, "internal.port: is needed for SYNKRONE_NODE__ADDRESS"),
        ({"INTERNAL__PORT": "0", "INTERNAL__HOST": "::"}, f"node.address: {NODE_ADDRESS_NEEDED}"),
        ({"NODE__ADDRESS": "10.0.0.5:8001"}, f"SYNKRONE_NODE__ADDRESS: {NODE_ADDRESS}"),
        ({"NODE__ADDRESS": "http://10.0.0.5"}, f"SYNKRONE_NODE__ADDRESS: {NODE_ADDRESS}"),
        ({"NODE__ADDRESS": "http://10.0.0.5:99999"}, f"SYNKRONE_NODE__ADDRESS: {NODE_ADDRESS}"),
        ({"NODE__ADDRESS": "http://10.0.0.5:8001/x"}, f"SYNKRONE_NODE__ADDRESS: {NODE_ADDRESS}"),
        ({"NODE__ADDRESS": "http://a@10.0.0.5:8001"}, f"SYNKRONE_NODE__ADDRESS: {NODE_ADDRESS}"),
        ({"LIMITS__PING_INTERVAL": "99ms"}, "SYNKRONE_LIMITS__PING_INTERVAL: must be at least 100ms"),
        ({"LIMITS__PING_TIMEOUT": "0"}, "SYNKRONE_LIMITS__PING_TIMEOUT: must be at least 100ms"),
        ({"LIMITS__DRAIN_TIME": "26s"}, "SYNKRONE_LIMITS__DRAIN_TIME: must be at most 25s"),
        ({"LIMITS__CONNECTIONS": "0"}, "SYNKRONE_LIMITS__CONNECTIONS: must be at least 1"),
        ({"LIMITS__EVENTS_PER_SECOND": "0"}, "SYNKRONE_LIMITS__EVENTS_PER_SECOND: must be more than 0"),
        ({"LIMITS__EVENTS_PER_SECOND": "inf"}, "SYNKRONE_LIMITS__EVENTS_PER_SECOND: must be a number"),
        ({"LIMITS__EVENTS_PER_SECOND": "many"}, "SYNKRONE_LIMITS__EVENTS_PER_SECOND: must be a number"),
        ({"LOG__LEVEL": "verbose"}, "SYNKRONE_LOG__LEVEL: must be 'debug', 'info', 'warning' or 'error'"),
        ({"LOG__FORMAT": "xml"}, "SYNKRONE_LOG__FORMAT: must be 'auto', 'json', 'text' or 'otlp'"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_setting_is_named_in_one_line(environment: Mapping[str, str], line: str) -> None:
    assert wrong(**environment) == line.replace("FOLDER", str(Path.cwd()))


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("port = true", "port: must be a whole number"),
        ("port = [1]", "port: must be a whole number"),
        ("prot = 1", "prot: is not a known setting: did you mean port?"),
        ('"a\\nb" = 1', "'a\\nb': is not a known setting: remove it"),
        ('auth = "pRiVaTe"', "auth: must be a section of settings"),
        ("[auth]\nsecret = 1", "auth.secret: must be a string, or a list of strings"),
        ("[[auth]]\nsecret = 'pRiVaTe'", "auth: must be a section of settings"),
        ("[limits]\nconnections = 1.5", "limits.connections: must be a whole number"),
        ("[limits]\nrequest_timeout = true", f"limits.request_timeout: {DURATION}"),
        ("[limits]\nevents_per_second = nan", "limits.events_per_second: must be a number"),
        ("trusted_proxies = [1]", f"trusted_proxies[0]: {NETWORK}"),
    ],
)
def test_a_wrong_setting_of_the_file(toml: str, line: str) -> None:
    # What is wrong stands in the last line; a section that is none, in the first.
    number = 1 if line.startswith("auth: ") else toml.count("\n") + 1
    assert wrong(toml) == f"{line} ({Path.cwd()}/synkrone.toml, line {number})"


def test_a_section_of_the_environment_that_is_none_in_the_file() -> None:
    assert wrong('auth = "x"', AUTH__SECRET=SECRET) == (
        f"SYNKRONE_AUTH__SECRET: auth is not a section in the settings file ({Path.cwd()}/synkrone.toml, line 1)"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"port = 1\nsecret = pRiVaTe", "Invalid value (at line 2, column 10)"),
        (b"port = 1\n\n# \xff", "is not UTF-8 (at line 3)"),
        (b'port = 1\nhost = "x', "Unterminated string (at end of document)"),
        (b"port = " + b"[" * 5000, "is nested too deeply"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_that_is_no_toml_is_named_with_the_line(empty_directory: Path, content: bytes, says: str) -> None:
    (empty_directory / "synkrone.toml").write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load_settings({})
    assert str(error.value) == f"{empty_directory}/synkrone.toml: {says}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError,
        match=r"^--config: cannot read .*none.toml: No such file or directory: make it, or name another file$",
    ):
        load_settings({}, tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"^--config: cannot read .*: Is a directory: name a file in it$"):
        load_settings({}, tmp_path)


def test_no_secret_is_shown_when_settings_are() -> None:
    issuers = json.dumps([{"issuer": "a", "secret": SECRET, "user_prefix": "x"}])
    for settings in (
        load(AUTH__SECRET=SECRET, API__KEY=KEY, SOURCE__TOKEN=SECRET),
        load(AUTH__ISSUERS=issuers, API__KEYS=json.dumps([{"name": "x", "key": KEY}])),
    ):
        for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
            assert "pRiVaTe" not in shown


def test_settings_do_not_change() -> None:
    settings = load_settings({})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        (90, 90),
        (1.5, 1.5),
        ("500ms", 0.5),
        ("30s", 30),
        ("1.5h", 5400),
        ("10 m", 600),
        (" 10m ", 600),
        ("1d", 86_400),
        ("1 day", 86_400),
        ("30days", 2_592_000),
        ("0", 0),
        (timedelta(minutes=1), 60),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=400), "400d"),
        (timedelta(days=1, hours=1), "25h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=1.5), "1500ms"),
    ],
)
def test_durations_are_written_as_they_are_read(value: timedelta, text: str) -> None:
    assert written(value) == text
    assert duration(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1M", "1h30m", "1e3s", "٣s", "nan", True, None, [], "9" * 400])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


NAMES = """auth api key keys secret secret_file issuers issuer tls cert limits port url source roles services name hash
scopes trusted_proxies cors_origins drain_time"""
names = st.sampled_from([*NAMES.split(), "x\n"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(names, json_values, max_size=4))
def test_whatever_is_set_it_is_good_or_refused_in_one_line(values: dict[str, Any]) -> None:
    try:
        settings = validate_settings(values)
    except SettingsError as error:
        line = str(error)
        assert line.isprintable()
        assert line.partition(":")[0]
    else:
        assert isinstance(settings, Settings)


def test_a_queue_has_to_hold_what_may_be_published() -> None:
    good = {"limits": {"notification_bytes": 1_000_000, "queue_bytes": 800_000}}
    assert validate_settings(good).limits.queue_bytes == 800_000
    with pytest.raises(SettingsError, match=r"^limits\.queue_bytes: must be at least 782768 for limits\.notif"):
        validate_settings({"limits": {"notification_bytes": 1_000_000, "queue_bytes": 700_000}})


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("a", "a"),
        ("user", "user.role"),
        ("user.id", "user"),
        (["a"], "a"),
        ("user.id", ["user"]),
        (["user"], ["user", "role"]),
        (["user", "id"], "user"),
        ("user.id", ["user", "id"]),
        ("user.id", ["user.id", "role"]),
        (["https://x.example/user", "id"], "https://x.example/user"),
    ],
)
def test_one_claim_cannot_be_inside_the_other(user: str | list[str], role: str | list[str]) -> None:
    claims = {"user_claim": user, "role_claim": role}
    for auth, path in (
        ({"secret": "s" * 40, **claims}, "auth"),
        ({"issuers": [{"issuer": "https://a.example", **claims}]}, "auth.issuers[0]"),
    ):
        line = f"{path}.role_claim: must not be the user claim, nor inside it, nor around it"
        with pytest.raises(SettingsError, match=f"^{re.escape(line)}$"):
            validate_settings({"auth": auth})


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("sub", ["realm_access", "roles"]),
        ("user.id", "user.role"),
        (["user", "id"], ["user", "role"]),
        ("user.id", ["user", "role"]),
        (["user.id"], ["user", "id"]),
        (["my.user"], ["my", "role"]),
    ],
)
def test_claims_beside_each_other(user: str | list[str], role: str | list[str]) -> None:
    auth = validate_settings({"auth": {"secret": "s" * 40, "user_claim": user, "role_claim": role}}).auth
    assert (auth.user_claim, auth.role_claim) == (user, role)
