"""``synkrone-socket doctor``."""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta

from adapters.http.peer import PeerPolicy
from entrypoints.commands.options import (
    DONE,
    FAILED,
    Commands,
    a_text,
    a_url,
    add_command,
    add_config,
    an_origin,
    own_url,
    settings_of,
)
from entrypoints.doctor.asking import Asked
from entrypoints.doctor.here import look_here
from entrypoints.doctor.through import look_through
from entrypoints.settings import Settings, SettingsError
from entrypoints.tokens import mint

USER, ROLE = "synkrone-doctor", "doctor"
LIFE = timedelta(minutes=1)


def add_to(commands: Commands) -> None:
    about = "look for what is not well, here and through an address that clients use, and say how to mend it"
    examples = (
        "doctor",
        "doctor --url https://notifications.example --origin https://app.example",
        "doctor --json",
    )
    command = add_command(commands, "doctor", about, examples=examples)
    add_config(command)
    command.add_argument(
        "--url", type=a_url, help="where clients reach the server (default: only this machine is looked at)"
    )
    command.add_argument("--origin", type=an_origin, help="of a page that is to connect there, as https://app.example")
    command.add_argument(
        "--token", type=a_text, help="a user's JWT to connect with (default: one signed with auth.secret)"
    )
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.url is None and (options.origin or options.token):
        raise SettingsError("--url: is needed for --origin and --token")
    with settings_of(options) as (settings, sources):
        findings = look_here(settings, sources)
        if options.url is not None:
            seen = asyncio.run(look_through(_asked(options, settings)))
            findings.found += seen.found
            findings.untried += seen.untried
        else:
            findings.untried.append("what clients meet, proxies above all: give --url")
    print(findings.as_json() if options.json else findings.as_text())
    return DONE if findings.is_well else FAILED


def _asked(options: argparse.Namespace, settings: Settings) -> Asked:
    policy = PeerPolicy(trusted_proxies=settings.trusted_proxies)
    return Asked(
        options.url,
        settings.auth.leeway,
        policy.trusts,
        options.origin,
        options.token or _own_token(settings),
        settings.api.key.get_secret_value() if settings.api.key is not None else None,
        own_url(settings) if not settings.is_unix and settings.port else None,
    )


def _own_token(settings: Settings) -> str | None:
    """For a user of a name of its own. None where the settings sign no tokens."""
    if not settings.auth.secret:
        return None
    role = settings.auth.roles[0] if settings.auth.roles else ROLE
    return mint(settings.auth, user=USER, role=role, ttl=LIFE)
