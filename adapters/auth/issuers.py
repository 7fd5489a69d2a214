"""Whose tokens are believed, and in what: the issuers, checked once at start-up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol, TypeAlias

from joserfc.jwk import Key

from adapters.auth.algorithms import ALGORITHMS
from adapters.auth.compact import MAX_NESTING, CompactToken
from adapters.system.configuration import ConfigurationError
from domain.errors import KeysUnavailable
from domain.policy import is_name

ClaimPath: TypeAlias = str | Sequence[str]
"""Where a claim is: its name, or else a dotted path; or the steps to it, each a name as it is written."""


class KeySource(Protocol):
    """The keys of one issuer."""

    def check(self, algorithms: Collection[str]) -> None:
        """Raises ConfigurationError where these keys cannot verify what is signed with the algorithms."""

    async def find(self, token: CompactToken) -> Sequence[Key]:
        """The keys this token may be signed with, by the header's ``alg`` and ``kid``: none where there never will be.

        Without a ``kid`` there is a public key only where it is the only one that fits. Raises KeysUnavailable where it
        is not known at the moment, so that the token's owner is to come back.
        """

    def are_unavailable(self) -> bool:
        """Whether it is known that there are none at the moment, and that asking now would not help."""

    async def close(self) -> None:
        """End what runs in the background; nothing is fetched from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One issuer: its keys, and all it may assert.

    ``issuer`` is compared with the claim ``iss`` exactly; None takes any or none, for a single shared secret.
    ``roles`` None allows every role. With ``multiple_roles`` a token may give several of them, and the first in their
    order comes first.
    ``services`` gives the client ids that may call the backend API, each with its scopes.
    Raises ConfigurationError.
    """

    keys: KeySource
    algorithms: Sequence[str]
    issuer: str | None = None
    audience: str | None = None
    roles: Collection[str] | None = None
    multiple_roles: bool = False
    user_claim: ClaimPath = "sub"
    role_claim: ClaimPath = "role"
    user_prefix: str = ""
    services: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("issuer", "audience", "user_claim", "role_claim"):
            if getattr(self, name) in ("", [], ()):
                raise ConfigurationError(name, "must not be empty")
        for name in ("user_claim", "role_claim"):
            # What lies deeper than this is in no token that is read.
            if len(path := getattr(self, name)) > MAX_NESTING and not isinstance(path, str):
                raise ConfigurationError(name, f"must have at most {MAX_NESTING} steps")
        self._check_algorithms()
        self.keys.check(self.algorithms)
        if self.roles is not None and not (self.roles and all(is_name(role) for role in self.roles)):
            raise ConfigurationError("roles", "must name roles of 1 to 128 printable characters")
        if self.multiple_roles and self.roles is None:
            raise ConfigurationError("multiple_roles", "needs roles, which say what comes first")
        if self.user_prefix and not is_name(self.user_prefix):
            raise ConfigurationError("user_prefix", "must be at most 128 printable characters")
        if self.services and self.issuer is None:
            raise ConfigurationError("services", "needs issuer")
        if self.services and self.audience is None:
            raise ConfigurationError("services", "needs audience")
        if not all(is_name(client) for client in self.services):
            raise ConfigurationError("services", "a client id must be 1 to 128 printable characters")

    def _check_algorithms(self) -> None:
        if not self.algorithms:
            raise ConfigurationError("algorithms", "must name at least one")
        for name in self.algorithms:
            if name.lower() == "none":
                raise ConfigurationError("algorithms", "'none' would accept tokens without a signature")
            if name not in ALGORITHMS:
                raise ConfigurationError("algorithms", f"{name!r} is not one of {', '.join(ALGORITHMS)}")
        if len({ALGORITHMS[name].is_hmac for name in self.algorithms}) > 1:
            raise ConfigurationError("algorithms", "HMAC and public-key algorithms must not be mixed")


class Issuers:
    """All issuers of a server. The fields of its ConfigurationErrors begin with ``issuers``.

    With several, user ids must not collide: each needs a prefix of its own, none the beginning of another, as any
    issuer could else speak for another's users. ``shared_user_ids`` says that this is wanted.
    """

    def __init__(self, issuers: Iterable[Issuer], *, shared_user_ids: bool = False) -> None:
        self._issuers = tuple(issuers)
        if not self._issuers:
            raise ConfigurationError("issuers", "must name at least one")
        self._by_name = {issuer.issuer: issuer for issuer in self._issuers}
        if len(self._issuers) > 1:
            self._check_names()
            if not shared_user_ids:
                self._check_prefixes()

    def get(self, iss: str | None) -> Issuer | None:
        """The issuer a token claims to be from; None where it is not one of these."""
        anyone = self._by_name.get(None)
        return anyone if anyone is not None or iss is None else self._by_name.get(iss)

    @property
    def fault(self) -> str | None:
        """The code of what is wrong while no token of any issuer could be verified."""
        return KeysUnavailable.code if all(issuer.keys.are_unavailable() for issuer in self._issuers) else None

    @property
    def key_sources(self) -> Sequence[KeySource]:
        return [issuer.keys for issuer in self._issuers]

    async def close(self) -> None:
        for issuer in self._issuers:
            await issuer.keys.close()

    def _check_names(self) -> None:
        seen: set[str] = set()
        for index, issuer in enumerate(self._issuers):
            if issuer.issuer is None:
                raise ConfigurationError(f"issuers[{index}].issuer", "is required where there are several issuers")
            if issuer.issuer in seen:
                raise ConfigurationError(f"issuers[{index}].issuer", f"{issuer.issuer!r} is there twice")
            seen.add(issuer.issuer)

    def _check_prefixes(self) -> None:
        for (_, first), (index, second) in combinations(enumerate(self._issuers), 2):
            one, other = first.user_prefix, second.user_prefix
            if one.startswith(other) or other.startswith(one):
                raise ConfigurationError(
                    f"issuers[{index}].user_prefix",
                    f"{other!r} and {one!r} of {first.issuer!r} let one issuer speak for the other's users: give each "
                    "its own, none the beginning of another, or set shared_user_ids",
                )
