"""What a receiver is told when it is built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypedDict

from callbell_async.errors import ConfigurationError, SignatureError
from callbell_async.models.events import Event
from callbell_async.webhooks.reports import ErrorHook
from callbell_async.webhooks.signature import verify_signature

__all__ = ["Handler", "ReceiverOptions", "check_seconds", "check_whole", "kept_secret"]

Handler = Callable[[Event], object]
"""Takes an event; a coroutine function, or a plain function that does not block."""


class ReceiverOptions(TypedDict, total=False):
    """What `WebhookReceiver` takes besides the handler and the secret; it says what they mean, and their defaults."""

    answer: Literal["queued", "handled"]
    queue_size: int
    concurrency: int
    max_body: int
    dedupe_size: int
    dedupe_seconds: float
    on_error: ErrorHook | None
    tolerance: float
    drain_timeout: float
    clock: Callable[[], float]


def check_whole(name: str, value: object, *, least: int) -> None:
    """Make sure that it is a whole number, and large enough; raises `ConfigurationError`."""
    if not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name}={value!r}: must be a whole number, {least} or more")


def check_seconds(name: str, value: float) -> None:
    """Make sure that it is a time, `math.inf` perhaps; raises `ConfigurationError`."""
    if not isinstance(value, int | float) or not value >= 0:
        raise ConfigurationError(f"{name}={value!r}: must be 0 seconds or more")


def kept_secret(secret: str | Sequence[str] | None, tolerance: float) -> str | tuple[str, ...] | None:
    """The secret, or all of several, for as long as the receiver lives; raises `ConfigurationError` where no signature can be verified with it.

    Now, and not at the first request. An iterator gives its secrets only once.
    """
    kept = tuple(secret) if isinstance(secret, Iterable) and not isinstance(secret, str) else secret
    if kept is not None:
        with contextlib.suppress(SignatureError):
            verify_signature(b"", None, kept, tolerance=tolerance)
    return kept
