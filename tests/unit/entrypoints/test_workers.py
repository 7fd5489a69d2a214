"""What each of several workers is given."""

from __future__ import annotations

import pytest

from entrypoints.checking import check_workers
from entrypoints.settings import Settings, SettingsError, validate_settings
from entrypoints.worker import VARIABLE, Place, settings_of

SHARED = "postgresql://app@db/app"


def settings(**values: object) -> Settings:
    return validate_settings({"store": SHARED, "workers": 4, **values})


def test_a_place_is_read_as_it_was_written_and_taken_away() -> None:
    place = Place(3, 17, [5, 6])
    environ = {VARIABLE: place.written(), "PATH": "/bin"}
    assert Place.take(environ) == place
    assert environ == {"PATH": "/bin"}
    assert Place.take(environ) is None


def test_without_an_internal_port_workers_have_free_ones_for_this_machine_alone() -> None:
    for internal in ({}, {"host": "10.0.0.5"}):
        given = settings_of(settings(internal=internal), 2).internal
        assert (given.host, given.port) == ("127.0.0.1", 0)


def test_an_internal_port_is_the_first_of_as_many_as_there_are_workers() -> None:
    shared = settings(internal={"host": "10.0.0.5", "port": 8001}, node={"address": "http://[fd00::5]:9001"})
    given = [settings_of(shared, number) for number in (1, 2, 5)]
    assert [each.internal.port for each in given] == [8001, 8002, 8005]
    assert [each.node.address for each in given] == [f"http://[fd00::5]:{port}" for port in (9001, 9002, 9005)]
    assert {each.internal.host for each in given} == {"10.0.0.5"}


def test_a_free_internal_port_stays_one() -> None:
    shared = settings(internal={"port": 0, "host": "10.0.0.5"})
    assert settings_of(shared, 2) == shared


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"store": "memory://"}, "workers: 4 of them need a store that they can share: postgresql://"),
        (
            {"internal": {"port": 0}, "node": {"address": "http://10.0.0.5:8001"}},
            "internal.port: must be a port, as node.address is one with workers",
        ),
        ({"internal": {"port": 65_532}}, "internal.port: must be at most 65531, as workers have those behind it"),
    ],
)
def test_what_several_workers_cannot_have(values: dict[str, object], wrong: str) -> None:
    with pytest.raises(SettingsError) as error:
        check_workers(settings(**values))
    assert str(error.value) == wrong
    check_workers(settings(**values | {"workers": 1}))


def test_the_highest_internal_port_of_several_workers_is_one() -> None:
    check_workers(settings(internal={"port": 65_531}))
