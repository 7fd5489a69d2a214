from __future__ import annotations

import inspect

import pytest

from domain import errors
from domain.errors import InvalidArgument, InvalidPublication, InvalidToken, SynkroneError, TokenExpired
from domain.model import FieldError, Problem, RecoveryReason
from domain.policy import ConnectionPolicy

# What clients compare with and what dashboards count by: a change here breaks somebody.
CODES = {
    "SynkroneError": ("error", False),
    "InvalidToken": ("invalid_token", False),
    "TokenExpired": ("token_expired", True),
    "InvalidArgument": ("invalid_argument", False),
    "TooManyConnections": ("too_many_connections", False),
    "Superseded": ("superseded", False),
    "DisconnectedByOperator": ("disconnected_by_operator", False),
    "TokenRevoked": ("token_revoked", True),
    "UserBlocked": ("blocked", False),
    "UnknownNotification": ("not_found", False),
    "NotificationDeleted": ("deleted", False),
    "NotificationRecalled": ("recalled", False),
    "NotificationSent": ("already_sent", False),
    "NotificationExpired": ("expired", False),
    "TooManyRestrictions": ("too_many_restrictions", False),
    "TooManyScheduled": ("too_many_scheduled", True),
    "TooManyTopics": ("too_many_topics", False),
    "IdentityMismatch": ("identity_mismatch", False),
    "CursorRefused": ("cursor_refused", True),
    "UnknownErasure": ("unknown_erasure", False),
    "UnknownEvent": ("unknown_event", False),
    "RateLimited": ("rate_limited", True),
    "ConnectionGone": ("connection_gone", False),
    "SlowConsumer": ("slow_consumer", True),
    "Unavailable": ("unavailable", True),
    "KeysUnavailable": ("keys_unavailable", True),
    "StoreUnavailable": ("store_unavailable", True),
    "EntriesMissing": ("entries_missing", True),
    "CheckpointMoved": ("checkpoint_moved", True),
    "AtCapacity": ("at_capacity", True),
    "ShuttingDown": ("shutting_down", True),
    "InvalidPublication": ("invalid_notification", False),
    "PublicationTooLarge": ("too_large", False),
    "PublicationConflict": ("conflict", False),
    "Unauthenticated": ("unauthenticated", False),
    "Forbidden": ("forbidden", False),
}

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, SynkroneError)]


def test_codes_and_retryability_are_stable() -> None:
    assert {error.__name__: (error.code, error.retryable) for error in CLASSES} == CODES


@pytest.mark.parametrize(
    "error",
    [
        TokenExpired("exp"),
        errors.TooManyConnections(),
        errors.Superseded(),
        errors.DisconnectedByOperator(reconnect=True),
        errors.CursorRefused(RecoveryReason.TRIMMED),
        errors.SlowConsumer(),
        errors.RateLimited(),
        errors.Unavailable(),
        *(error() for error in errors.Unavailable.__subclasses__()),
    ],
    ids=lambda error: error.code,
)
def test_an_error_that_ends_a_connection_is_a_reason_for_operators(error: SynkroneError) -> None:
    assert ConnectionPolicy().refusal(error).reason.value == error.code


def test_every_error_states_a_code_of_its_own() -> None:
    assert all("code" in vars(error) for error in CLASSES)
    assert len({error.code for error in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_one_sentence_of_its_own_to_show(error: type[SynkroneError]) -> None:
    assert vars(error)["title"].endswith(".")


def test_the_reason_a_token_is_refused_for_is_not_shown() -> None:
    assert InvalidToken("signature").problem == Problem("invalid_token", "The token is not valid.", retryable=False)
    assert TokenExpired("exp").problem == Problem("token_expired", "The token has expired.", retryable=True)
    assert "signature" not in str(InvalidToken("signature"))


def test_details_name_the_field() -> None:
    assert InvalidArgument("auth.device", "is too long").problem.detail == "auth.device: is too long"
    two = InvalidPublication([FieldError("type", "is required"), FieldError("to", "is required")])
    assert two.problem.detail == "type: is required; to: is required"
