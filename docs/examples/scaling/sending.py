"""The parts that all processes share: the client, the journal, the messages, and the rule for retries."""

import os

from callbell_async import (
    BulkSendError,
    CallbellClient,
    CallbellError,
    ConfigurationError,
    DuplicateMessageError,
    InvalidMessageError,
    Journal,
    Outcome,
    RateLimitError,
    ServerError,
    TextMessage,
)
from callbell_async.limits import from_url


def open_client() -> CallbellClient:
    """Return a client that shares Callbell's limit with the other processes. Its token is in CALLBELL_TOKEN."""
    return CallbellClient(rate_limit=from_url(os.environ["RATE_LIMITER_URL"]))


def open_journal() -> Journal:
    """Return the journal of all processes. The client opens it at its first use."""
    return Journal.connect(os.environ["DATABASE_URL"], name="orders")


def confirmation(order: str, phone: str) -> TextMessage:
    """Return the message for an order. Its key identifies it in the journal."""
    return TextMessage(to=phone, text=f"We have your order {order}.", key=f"confirm-{order}")


def may_retry(error: Exception) -> bool:
    """Return whether a later attempt may succeed, and can't create a duplicate."""
    match error:
        case DuplicateMessageError():
            # Another process is sending it now. Otherwise nothing may send it again without a person's decision.
            return bool(error.entry.in_flight)
        case BulkSendError():
            return any(may_retry(result.error) for result in error.report.results if result.error)
        case InvalidMessageError() | ConfigurationError():
            return False
        case CallbellError(outcome=Outcome.UNKNOWN):
            return False
        case RateLimitError() | ServerError():
            return True
        case CallbellError():
            return error.outcome in (Outcome.NEVER_SENT, Outcome.SKIPPED)
        case _:
            return False
