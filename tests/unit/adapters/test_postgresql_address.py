"""Where a database is: read from a URL, and shown without what is secret."""

from __future__ import annotations

import pytest

from adapters.store.postgresql.connecting import Address
from adapters.system.configuration import ConfigurationError

SECRET = "hush-hush"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgresql://app:{SECRET}@db.example:5433/inbox?sslmode=require", "postgresql://db.example:5433/inbox"),
        (f"postgresql://app:{SECRET}%40%2F@db.example/inbox", "postgresql://db.example/inbox"),
        (f"postgresql://app:{SECRET}@[::1]:5432/inbox", "postgresql://[::1]:5432/inbox"),
        ("postgresql://one,two:5433/inbox", "postgresql://one,two:5433/inbox"),
        ("postgresql:///inbox?host=/var/run/postgresql", "postgresql://%2Fvar%2Frun%2Fpostgresql/inbox"),
        (f"postgresql:///inbox?passfile=/{SECRET}&user=app&password={SECRET}", "postgresql:///inbox"),
    ],
)
def test_a_place_is_shown_without_what_is_secret(url: str, place: str) -> None:
    assert Address(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://app:{SECRET}/x@db.example/inbox",
        f"postgresql://app:123/{SECRET}@db.example/inbox",
        f"postgresql://app:x@{SECRET}@db.example/inbox",
        f"postgresql://app:{SECRET}%@db.example/inbox",
        f"postgresql://app:{SECRET}@db.example/inbox?sslmod=require",
        f"postgresql://app:{SECRET}@db.example:port/inbox",
        "postgresql://app@[db.example/inbox",
        "postgresql:",
        "postgresql://\0",
    ],
)
def test_what_is_no_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Address(url)
    assert SECRET not in str(refused.value)


def test_a_password_is_given_once() -> None:
    Address("postgresql://app@db.example/inbox", SECRET)
    with pytest.raises(ConfigurationError) as refused:
        Address(f"postgresql://app:{SECRET}@db.example/inbox", "another")
    assert SECRET not in str(refused.value)
