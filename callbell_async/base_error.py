"""The outcome of a message, the base class of every exception, and the exceptions of wrong input."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

__all__ = ["CallbellError", "ConfigurationError", "InvalidMessageError", "Outcome"]


class Outcome(StrEnum):
    """The outcome of a message, as far as it is known.

    Attributes:
        ACCEPTED: Callbell accepted the message for sending (not: delivered it).
        REJECTED: Callbell refused the message, or a gateway that did not reach Callbell did.
        NEVER_SENT: The message did not leave this process: sending it again can't create a duplicate.
        UNKNOWN: The message may have been accepted. It was written to the connection, and no readable response came, or
            a gateway responded without knowing whether Callbell accepted it (502, 504, 520, 522, 524).
        SKIPPED: The message was not attempted: the journal has it already, the recipient has opted out, or the run
            stopped first.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    NEVER_SENT = "never_sent"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"

    @property
    def description(self) -> str:
        """The outcome in words, as the text of an exception has it."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    Outcome.ACCEPTED: "accepted",
    Outcome.REJECTED: "refused",
    Outcome.NEVER_SENT: "never sent",
    Outcome.UNKNOWN: "may have been accepted",
    Outcome.SKIPPED: "not attempted",
}


def _rebuild(cls: type[CallbellError], args: tuple[Any, ...], state: dict[str, Any]) -> CallbellError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CallbellError(Exception):
    """The base class of every exception of this library.

    Attributes:
        outcome: The outcome of the message over all attempts: one whose first attempt may have been accepted stays
            `UNKNOWN`, whatever the response to the second one. It has no meaning where no message is concerned.
        attempts: The number of requests that were attempted; 0 or more.
    """

    outcome: Outcome = Outcome.NEVER_SENT
    attempts: int = 0

    def __reduce__(self) -> tuple[Callable[..., CallbellError], tuple[Any, ...]]:
        # Exception's own __reduce__ calls the class with `args`, which fails for classes with keyword arguments.
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidMessageError(CallbellError, ValueError):
    """A message can't be built, because a field is not valid. Nothing was sent.

    Remedy: correct the field as `reason` describes. In a run, yield the exception in place of the message to have it in the report.

    Attributes:
        field: The name of the field, such as `to` or `values[1]`.
        reason: The fault, and how to correct it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class ConfigurationError(CallbellError, ValueError):
    """An argument, a setting or a call is not valid. Nothing was sent. Remedy: the text names it and its valid values."""
