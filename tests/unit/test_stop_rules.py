"""The errors of one message that stop a run."""

from __future__ import annotations

from typing import Any

import pytest

from callbell_async import (
    APIError,
    AuthenticationError,
    ConnectError,
    DuplicateMessageError,
    NotFoundError,
    Outcome,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from callbell_async.bulk.stop_rules import DEFAULT_STOP_ON, StopRules
from callbell_async.http.retry import MAX_PAUSE

SEND: dict[str, Any] = {"method": "POST", "path": "/messages/send"}


def not_from_callbell(status: int = 404) -> APIError:
    """A response of something else than Callbell."""
    return NotFoundError(status=status, **SEND, from_callbell=False)


def test_a_refused_token_and_an_empty_wallet_stop_a_run() -> None:
    """By default a 401 and a 402 stop a run, and no other status."""
    rules = StopRules(DEFAULT_STOP_ON)
    assert rules.stops(AuthenticationError(status=401, **SEND), accepted=5)
    assert rules.stops(PaymentRequiredError(status=402, **SEND), accepted=5)
    assert not rules.stops(PermissionDeniedError(status=403, **SEND), accepted=5)
    assert not rules.stops(ConnectError("refused", **SEND, outcome=Outcome.NEVER_SENT), accepted=5)


def test_a_duplicate_never_stops_a_run() -> None:
    """A duplicate does not stop a run whose `stop_on` names every exception."""
    assert not StopRules((Exception,)).stops(DuplicateMessageError("given twice", key="k", entry=None), accepted=0)
    assert StopRules((Exception,)).stops(OSError(), accepted=0)


@pytest.mark.parametrize(("retry_after", "stops"), [(None, False), (MAX_PAUSE, False), (MAX_PAUSE + 1, True)])
@pytest.mark.parametrize(("error", "status"), [(RateLimitError, 429), (ServerError, 503)])
def test_a_longer_pause_than_the_maximum_stops_a_run(
    error: type[APIError], status: int, retry_after: float | None, stops: bool
) -> None:
    """A response that asks for a longer pause than `MAX_PAUSE` stops a run."""
    rules = StopRules(())
    assert rules.stops(error(status=status, **SEND, retry_after=retry_after), accepted=5) is stops


def test_three_responses_from_elsewhere_stop_a_run() -> None:
    """A run stops with the third response that is not from Callbell, unless there was another one before."""
    rules = StopRules(())
    assert [rules.stops(not_from_callbell(), accepted=0) for _ in range(4)] == [False, False, True, True]


def test_an_accepted_message_shows_that_callbell_is_reached() -> None:
    """A firewall that refuses some messages does not stop a run in which another one was accepted."""
    rules = StopRules(())
    assert not any(rules.stops(not_from_callbell(403), accepted=1) for _ in range(10))


def test_a_refusal_of_callbells_shows_that_it_is_reached() -> None:
    """A run in which Callbell itself refused a message is not stopped, either."""
    rules = StopRules(())
    assert not rules.stops(NotFoundError(status=404, **SEND), accepted=0)
    assert not any(rules.stops(not_from_callbell(403), accepted=0) for _ in range(10))


def test_a_connection_that_fails_shows_nothing() -> None:
    """A request without a response does not count."""
    rules = StopRules(())
    for stops in (False, False, True):
        assert not rules.stops(ConnectError("refused", **SEND, outcome=Outcome.NEVER_SENT), accepted=0)
        assert rules.stops(not_from_callbell(), accepted=0) is stops
