"""Which variables are settings, and how what is wrong with one is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from entrypoints.settings import Settings, SettingsError
from entrypoints.settings_reading import Naming, load_settings, read_settings
from entrypoints.settings_sources import Sources, is_about_a_service


def of_kubernetes(service: str, address: str = "10.0.0.1", *, ports: bool = True) -> dict[str, str]:
    """What a container gets for a Service with the ports http, 8000, and metrics, 9000 over UDP."""
    name = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    variables = {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": "8000",
        f"{name}_PORT": f"tcp://{host}:8000",
    }
    if ports:
        variables |= {f"{name}_SERVICE_PORT_HTTP": "8000", f"{name}_SERVICE_PORT_WEB_METRICS": "9000"}
    for number, protocol in (("8000", "tcp"), ("9000", "udp")):
        prefix = f"{name}_PORT_{number}_{protocol.upper()}"
        variables |= {
            prefix: f"{protocol}://{host}:{number}",
            f"{prefix}_PROTO": protocol,
            f"{prefix}_PORT": number,
            f"{prefix}_ADDR": address,
        }
    return variables


LINKED = {
    "SYNKRONE_NAME": "/web/synkrone",
    "SYNKRONE_PORT": "tcp://172.17.0.2:8000",
    "SYNKRONE_PORT_8000_TCP": "tcp://172.17.0.2:8000",
    "SYNKRONE_PORT_8000_TCP_ADDR": "172.17.0.2",
    "SYNKRONE_ENV_PATH": "/usr/bin:/bin",
    "SYNKRONE_ENV_SYNKRONE_AUTH__SECRET": "of another container",
    "SYNKRONE_DB_1_NAME": "/web/synkrone_db_1",
    "SYNKRONE_DB_1_ENV_POSTGRES_PASSWORD": "x",
}
"""What Docker puts beside ``docker run --link``."""

INJECTED = [
    *(of_kubernetes(name) for name in ("synkrone", "synkrone-socket", "synkrone-redis", "synkrone-limits")),
    of_kubernetes("synkrone--x", ports=False),
    of_kubernetes("synkrone-port"),
    of_kubernetes("synkrone", "fd00::1"),
    LINKED,
]


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("injected", INJECTED, ids=min)
def test_what_an_orchestrator_sets_is_no_setting(injected: dict[str, str]) -> None:
    settings, sources = read_settings(injected | {"SYNKRONE_LOG__LEVEL": "debug"})
    assert settings == load_settings({"SYNKRONE_LOG__LEVEL": "debug"})
    assert sources.ignored == sorted(injected)
    assert sources.variables == {"log.level": "SYNKRONE_LOG__LEVEL"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SYNKRONE_PORT", "tcp:8000"),
        ("SYNKRONE_PORT", "http://10.0.0.1:8000"),
        ("SYNKRONE_SERVICE_HOST", "socket.example"),
        ("SYNKRONE_SERVICE_PORT", "http"),
        ("SYNKRONE_SERVICE_PORTS", "8000"),
        ("SYNKRONE_SERVICEHOST", "10.0.0.1"),
        ("SYNKRONE_SOCKET_PORT", "8000"),
        ("SYNKRONE_PORT_HTTP_TCP", "tcp://10.0.0.1:8000"),
        ("SYNKRONE_PORT_8000_TCP_PROTO", "http"),
        ("SYNKRONE_PORT_8000_TCP_PORT", "99999"),
        ("SYNKRONE_service_host", "10.0.0.1"),
        ("SYNKRONE_NAME", "web"),
        ("SYNKRONE_ENV_PATH", "/usr/bin"),
        ("SYNKRONE_PROT", "tcp://10.0.0.1:8000"),
    ],
)
def test_everything_else_still_stops_the_server(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        load_settings({variable: value})


def test_the_port_stays_a_setting() -> None:
    assert load_settings({"SYNKRONE_PORT": "9000"}).port == 9000
    # As in the pod that says what it wants beside the Service of its own name.
    assert load_settings(of_kubernetes("synkrone") | {"SYNKRONE_PORT": "9000"}).port == 9000


def names(section: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, member in section.model_fields.items():
        yield f"{path}{name}"
        for kind in (member.annotation, *get_args(member.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from names(kind, f"{path}{name}.")


def test_no_setting_can_be_mistaken_but_the_port_by_its_value() -> None:
    values = {value for injected in INJECTED for value in injected.values()}
    mistaken = {
        (name, value)
        for name in names(Settings)
        for value in values
        if is_about_a_service(variable := f"SYNKRONE_{name.upper().replace('.', '__')}", {variable: value})
    }
    assert mistaken
    assert {name for name, _ in mistaken} == {"port"}
    assert all("://" in value for _, value in mistaken)


def sources(**variables: str) -> Sources:
    return Sources(Path("/etc/synkrone.toml"), has_file=True, variables=variables, lines=LINES)


LINES = {"auth": 3, "auth.roles": 4, "api.keys": 9, "api.keys[0]": 9, "api.keys[0].key_file": 10, "log.level": 12}
AT = "(/etc/synkrone.toml, line"
NOT_SET = "(not set in /etc/synkrone.toml)"


@pytest.mark.parametrize(
    ("message", "named"),
    [
        # As of the settings themselves, so of what is found wrong with them later.
        ("auth.secret: must have at least 32 bytes", "SYNKRONE_AUTH__SECRET_FILE: must have at least 32 bytes"),
        ("auth.issuers[1].jwks: cannot read x", "SYNKRONE_Auth__Issuers[1].jwks: cannot read x"),
        ("limits.a: must be as limits.queue_bytes", "limits.a: must be as SYNKRONE_LIMITS__QUEUE_BYTES"),
        ("store: /srv/limits.queue_bytes is not", f"store: /srv/limits.queue_bytes is not {NOT_SET}"),
        ("store: 'limits.queue_bytes' is not", f"store: 'limits.queue_bytes' is not {NOT_SET}"),
        ("limits.queue: is unknown", f"limits.queue: is unknown {NOT_SET}"),
        ("auth: must be a section", f"SYNKRONE_AUTH__SECRET_FILE: auth must be a section {AT} 3)"),
        ("auth.roles[1]: is empty", f"auth.roles[1]: is empty {AT} 4)"),
        ("auth.leeway: is too long", f"auth.leeway: is too long {NOT_SET}"),
        ("api.keys[0].key: is short", f"api.keys[0].key_file: is short {AT} 10)"),
        ("api.keys[0].scopes: is empty", f"api.keys[0].scopes: is empty {AT} 9)"),
        ("api.keys: two are the same", f"api.keys: two are the same {AT} 9)"),
        ("limits.a: does not fit log.level", f"limits.a: does not fit log.level {AT} 12)"),
        ("--url: is needed", "--url: is needed"),
        ("no setting at all", "no setting at all"),
    ],
)
def test_variables_are_named_as_they_are_written(message: str, named: str) -> None:
    given = {
        "auth.secret_file": "SYNKRONE_AUTH__SECRET_FILE",
        "auth.issuers": "SYNKRONE_Auth__Issuers",
        "limits.queue_bytes": "SYNKRONE_LIMITS__QUEUE_BYTES",
    }
    assert sources(**given).named(message) == named


def test_what_lies_in_a_file_of_its_own_is_named_by_what_names_that_file(empty_directory: Path) -> None:
    file = empty_directory / "synkrone.toml"
    file.write_text(
        '[auth]\nsecret_file = "secrets"\n[[api.keys]]\nname = "a"\nkey = "x"\n[[api.keys]]\nkey_file = "b.key"\n'
    )
    found = Sources.found(file, {}, file.read_text())
    for said, named in (
        ("auth.secret: has 5 bytes", f"auth.secret_file: has 5 bytes ({file}, line 2)"),
        ("auth.secret[1]: has 5 bytes", f"auth.secret_file[1]: has 5 bytes ({file}, line 2)"),
        ("auth.secret_file: cannot be read", f"auth.secret_file: cannot be read ({file}, line 2)"),
        ("api.keys[0].key: is short", f"api.keys[0].key: is short ({file}, line 5)"),
        ("api.keys[1].key: is short", f"api.keys[1].key_file: is short ({file}, line 7)"),
    ):
        assert found.named(said) == named


def test_a_setting_of_the_file_is_named_as_in_the_file(empty_directory: Path) -> None:
    (empty_directory / "synkrone.toml").write_text("[limits]\nqueue_bytes = 70000\n")
    with pytest.raises(SettingsError, match=r"^limits\.queue_bytes: must be at least \d+ for SYNKRONE_limits__NOTIFI"):
        load_settings({"SYNKRONE_limits__NOTIFICATION_BYTES": "1000000", "SYNKRONE_PORT": "1"})
    with pytest.raises(SettingsError, match=r"^SYNKRONE_LIMITS__QUEUE_BYTES: must be at least \d+ for limits\.notifi"):
        load_settings({"SYNKRONE_LIMITS__QUEUE_BYTES": "70000"})


def test_of_what_is_missing_it_is_said_where_it_was_looked_for(empty_directory: Path) -> None:
    def said(error: SettingsError, file: Path | None = None) -> str:
        _, found = read_settings({}, file)
        with pytest.raises(SettingsError) as named, Naming(found):
            raise error
        return str(named.value)

    missing: Any = SettingsError("auth.secret: is required")
    looked = f"(not set; there is no file {empty_directory}/synkrone.toml)"
    assert said(missing) == f"auth.secret: is required {looked}"
    assert said(SettingsError("port: is taken")) == f"port: is taken {looked}"
    other = empty_directory / "other.toml"
    other.touch()
    assert said(missing, other) == f"auth.secret: is required (not set in {other})"


def test_an_option_of_the_command_line_is_named_as_such() -> None:
    assert sources().with_option("workers", "--workers").named("workers: are too many") == "--workers: are too many"
