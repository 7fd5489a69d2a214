"""``synkrone-socket`` with one verifier more: ``auth.verifier = "tokens:///tokens.jsonl"``."""

from __future__ import annotations

import sys

from dependency_injector import providers

from docs.examples.opaque_tokens.opaque_tokens import OpaqueTokens
from entrypoints.cli import main
from entrypoints.container import Container, add_kinds

add_kinds(
    Container.verifier,
    tokens=providers.Singleton(OpaqueTokens, Container.settings.provided.auth.verifier.path, Container.clock),
)
sys.exit(main())
